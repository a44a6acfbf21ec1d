"""A broker for a training: the one that is there, or our own by lease; its address is told before it answers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from akkafka.broker.connection import Connection
from akkafka.cli.locating import Say, answering, broker_home, embedded, named, on_default_port
from akkafka.cli.options import Where
from akkafka.errors import AkkafkaError
from akkafka.protocol.topics import Topics

if TYPE_CHECKING:
    from akkafka.broker.embedded import Lease

T = TypeVar("T")
LINGER_S = 0.5  # our broker ends soon after the last training: what it knows is on disk
END_S = 90.0  # more than its supervisor gives it
LOOK_S = 0.02
GIVE_UP_S = 1.0


@dataclass(slots=True)
class Opening:
    """The way to a broker; `close` gives back what was taken."""

    where: Where
    say: Say
    lasting: bool = True  # whether our own broker, if it is needed, should be tuned for a long life
    kind: str = ""  # given, local or embedded
    launched: bool = False  # it was not running before
    _acquiring: asyncio.Future[Lease] | None = field(default=None, repr=False)
    _give_up: threading.Event = field(default_factory=threading.Event, repr=False)

    async def begin(self) -> Connection | None:
        """The connection if a broker is there already; None: our own is being started, ask `early` and `ready`."""
        connection = named(self.where)
        if connection is not None:
            self.kind = "given"
            say = self._threadsafe(self.say)
            return await in_thread(lambda: answering(connection, say))
        local = on_default_port(self.where)
        if local is not None:
            self.kind = "local"
            return local
        self.kind = "embedded"
        self._acquire()
        return None

    def _acquire(self) -> None:
        from akkafka.broker.embedded import BrokerSettings, acquire, status

        home = broker_home(self.where.state_dir)
        self.launched = not status(home).running
        settings = BrokerSettings(home, linger_s=LINGER_S, lasting=self.lasting)
        progress = self._threadsafe(self.say)
        self._acquiring = asyncio.ensure_future(
            in_thread(lambda: acquire(settings, progress=progress, give_up=self._give_up))
        )

    async def early(self) -> Connection | None:
        """The address that our broker will have, as soon as it is known; None if starting it failed before that."""
        from akkafka.broker.embedded import status

        assert self._acquiring is not None, "begin() started it"
        while not self._acquiring.done():
            bootstrap = status(broker_home(self.where.state_dir)).bootstrap
            if bootstrap:
                return embedded(self.where, bootstrap)
            await asyncio.sleep(LOOK_S)
        return None

    async def ready(self) -> Connection:
        """Our broker, once it takes requests. Raises BrokerError if it cannot be started."""
        assert self._acquiring is not None, "begin() started it"
        lease = await asyncio.shield(self._acquiring)  # who is interrupted still has to give it back
        return embedded(self.where, lease.bootstrap)

    def on_disk(self, network: str) -> bool:
        """Whether our broker, not yet up, will know that network: its definition's partition has a directory."""
        data: Path = broker_home(self.where.state_dir) / "data"
        return any(data.rglob(f"{Topics(network).definition}-0"))

    async def close(self) -> None:
        """Give the lease back, and wait until the broker has ended if nobody else needs it."""
        if self._acquiring is None:
            return
        from akkafka.broker.embedded import status

        self._give_up.set()
        with suppress(AkkafkaError, TimeoutError):  # a download goes on, and ends with this process
            async with asyncio.timeout(GIVE_UP_S):
                (await asyncio.shield(self._acquiring)).release()
        home = broker_home(self.where.state_dir)
        begun, told = time.monotonic(), False
        while time.monotonic() - begun < END_S:
            found = status(home)
            over = found.pid is None and not found.running  # one that was launched a moment ago has not told its pid
            if over or found.held or found.leases:
                return
            if not told and time.monotonic() - begun > 2.0:
                told = True
                archiving = found.phase == "archiving"
                writes = "; it writes an archive, once, from which the next one starts in half the time"
                self.say(f"waiting for the broker to end{writes if archiving else ''}")
            await asyncio.sleep(0.05)
        self.say(f"the broker is still ending; see {home / 'logs'}")

    def _threadsafe(self, say: Say) -> Say:
        loop = asyncio.get_running_loop()
        return lambda line: _call(loop, say, line)


def _call(loop: asyncio.AbstractEventLoop, work: Callable[..., object], *arguments: object) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody listens any more
        loop.call_soon_threadsafe(work, *arguments)


async def in_thread(work: Callable[[], T]) -> T:
    """Like asyncio.to_thread, but whoever is interrupted does not have to wait for the thread's end."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if answer.cancelled():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]  # None only where T allows it

    def run() -> None:
        try:
            result, error = work(), None
        except BaseException as raised:
            result, error = None, raised
        _call(loop, settle, result, error)

    threading.Thread(target=run, daemon=True).start()
    return await answer
