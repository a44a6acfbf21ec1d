"""What every akkafka process does alike: signals, event loop, connection, plain lines, exit codes."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from akkafka.broker.base import BrokerUnavailableError
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.errors import AkkafkaError

INTERNAL_ERROR = 70  # sysexits.h: EX_SOFTWARE
_WAIT_TOLD_S = 5.0
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD, _M_ARENA_MAX = -3, -1, -8


def process_name(role: str) -> str:
    """Unique, and ordered by age for processes of one role: older ones sort first."""
    return f"{role}-{time.time_ns():020d}-{socket.gethostname()}-{os.getpid()}"


def say(line: str) -> None:
    """A plain line with the time of day, at once."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


@dataclass(slots=True)
class Host:
    """What a process's main coroutine gets."""

    connection: Connection
    leave: asyncio.Event = field(default_factory=asyncio.Event)  # set by the first SIGINT or SIGTERM
    now: asyncio.Event = field(default_factory=asyncio.Event)  # set by SIGUSR1
    broker: KafkaBroker | None = None

    async def reach(self) -> KafkaBroker:
        """The broker, once it answers; says every 5 s that it is waited for."""
        broker = self.broker = KafkaBroker(self.connection)
        started = told = time.monotonic()
        while True:
            try:
                await broker.cluster()
                return broker
            except BrokerUnavailableError as error:
                now = time.monotonic()
                if now - told >= _WAIT_TOLD_S or told == started:
                    told = now
                    say(f"waiting for the broker at {self.connection.bootstrap_servers} ({error})")
                await asyncio.sleep(0.2)


Main = Callable[[Host], Awaitable[int]]


def run_process(connection: Connection, main: Main) -> int:
    """Run `main` to its end; returns the exit code. The first SIGINT or SIGTERM asks to leave, the second quits."""
    logging.basicConfig(
        level=os.environ.get("AKKAFKA_LOG", "WARNING").upper(), format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    _keep_large_blocks()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_hosted(connection, main))
    except AkkafkaError as error:
        return tell(error)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return tell_internal(error)


def tell(error: AkkafkaError) -> int:
    """Print what happened and what to do next; returns the exit code."""
    print(f"error: {error}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr, flush=True)
    return error.exit_code


def tell_internal(error: BaseException) -> int:
    """A fault of akkafka's own."""
    print(f"internal error: {type(error).__name__}: {error}; please report it", file=sys.stderr)
    if os.environ.get("AKKAFKA_DEBUG"):
        traceback.print_exception(error)
    else:
        print("hint: AKKAFKA_DEBUG=1 shows where.", file=sys.stderr, flush=True)
    return INTERNAL_ERROR


async def _hosted(connection: Connection, main: Main) -> int:
    host = Host(connection)
    loop = asyncio.get_running_loop()
    task = loop.create_task(_main(main, host))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _asked_to_leave, host, task)
    loop.add_signal_handler(signal.SIGUSR1, host.now.set)
    try:
        return await task
    except asyncio.CancelledError:
        return 130
    finally:
        if host.broker is not None:
            await host.broker.close()


async def _main(main: Main, host: Host) -> int:
    """`main`, ended early if it is asked to leave before it looks."""
    return await main(host)


def _asked_to_leave(host: Host, task: asyncio.Task[int]) -> None:
    if host.leave.is_set():
        os._exit(130)  # a second signal: at once, whatever hangs
    host.leave.set()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _keep_large_blocks() -> None:
    """Let glibc keep freed blocks of some MB: handing every array back to the kernel costs more than using it."""
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 256 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 256 << 20)
        libc.mallopt(_M_ARENA_MAX, 1)
    except (OSError, AttributeError):
        return  # another libc: slower, not wrong


def give_back_memory() -> None:
    """Hand blocks that were needed for once, such as while loading, back to the kernel."""
    gc.collect()  # a reader that was closed a moment ago holds its last answers in a cycle
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return  # another libc


async def until(event: asyncio.Event, *tasks: asyncio.Task[object]) -> None:
    """Wait for the event, or for the first of the tasks to end; raises what that task raised."""
    waiting: asyncio.Task[object] = asyncio.create_task(_wait(event))
    try:
        done, _ = await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        waiting.cancel()


async def _wait(event: asyncio.Event) -> object:
    return await event.wait()
