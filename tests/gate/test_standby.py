"""Who is believed to work on a gate: by beats, by their age, and by what this machine can see."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from akkafka.broker.base import Headers, TopicPartition
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.network import Network, define
from akkafka.gate import standby
from akkafka.gate.standby import Watch
from akkafka.protocol import wire
from akkafka.protocol.figures import GateFigures, to_message

from ..conftest import Run
from ..pipeline.fleet import small_definition


class Clock:
    """Stands still, for whoever watches, unless it is moved: however slow the machine, nobody falls silent by that."""

    def __init__(self) -> None:
        self.moved_s = 0.0
        self._monotonic, self._time = time.monotonic(), time.time()

    def monotonic(self) -> float:
        return self._monotonic + self.moved_s

    def time(self) -> float:
        return self._time + self.moved_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(standby, "time", made)
    return made


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this machine that lives until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


async def beat(broker: MemoryBroker, network: Network, pid: int, headers: Headers | None = None, **facts: Any) -> None:
    """A beat of an older process; `headers`: in place of those that belong to it."""
    given: dict[str, Any] = {"gate": 0, "name": "fc1", "state": "working", "host": socket.gethostname()} | facts
    producer = await broker.producer("beat")
    message = to_message(network.run, "gate-0-older", 0, GateFigures(pid=pid, **given))
    where = TopicPartition(network.topics.metrics, 0)
    await producer.send(where, wire.encode(message), headers=wire.headers(message) if headers is None else headers)
    await producer.close()


async def watching(broker: MemoryBroker, network: Network) -> Watch:
    watch = Watch(broker, network, 0, "gate-0-younger")
    await watch.open()
    return watch


async def opened() -> tuple[MemoryBroker, Network, Watch]:
    """Of whom nobody else has been heard yet."""
    broker = MemoryBroker()
    network = await define(broker, small_definition(), "net")
    return broker, network, await watching(broker, network)


def silent(watch: Watch) -> bool:
    """Asked anew each time, also in the eyes of a type checker."""
    return watch.silent


def test_a_worker_is_heard_and_its_death_on_this_machine_seen_at_once(
    run: Run, worker: subprocess.Popen[bytes], clock: Clock
) -> None:
    async def scene() -> None:
        broker, network, watch = await opened()
        assert silent(watch), "nobody was ever heard"
        await beat(broker, network, worker.pid)
        await watch.follow(1.0)
        assert not silent(watch)
        assert watch.worker == "gate-0-older"
        worker.kill()
        worker.wait()
        assert silent(watch), "no need to wait for three beats"
        await watch.close()

    run(scene())


def test_a_neighbour_that_is_slow_is_given_more_time_than_one_that_is_stopped(
    run: Run, worker: subprocess.Popen[bytes], clock: Clock
) -> None:
    async def scene() -> None:
        broker, network, watch = await opened()
        await beat(broker, network, worker.pid)
        await watch.follow(1.0)
        clock.moved_s = 1.0
        assert not silent(watch), "it lives, and may be slow"
        worker.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, worker.pid, os.WSTOPPED)
        assert silent(watch), "stopped, and silent for a second"
        worker.send_signal(signal.SIGCONT)
        clock.moved_s = 5.0
        assert silent(watch), "too slow"
        await watch.close()

    run(scene())


def test_of_a_worker_on_another_machine_only_silence_tells(
    run: Run, worker: subprocess.Popen[bytes], clock: Clock
) -> None:
    async def scene() -> None:
        broker, network, watch = await opened()
        await beat(broker, network, worker.pid, host="elsewhere")
        await watch.follow(1.0)
        worker.kill()
        worker.wait()
        assert not silent(watch), "a pid of another machine says nothing"
        await beat(broker, network, worker.pid, host="elsewhere", state="leaving")
        await watch.follow(1.0)
        assert silent(watch)
        await watch.close()

    run(scene())


def test_who_is_started_again_does_not_wait_for_the_beats_of_the_one_that_died(
    run: Run, worker: subprocess.Popen[bytes], clock: Clock
) -> None:
    async def scene() -> None:
        broker = MemoryBroker()
        network = await define(broker, small_definition(), "net")
        await beat(broker, network, worker.pid, host="elsewhere")
        fresh = await watching(broker, network)
        assert not silent(fresh), "a beat of this moment"
        clock.moved_s = 1.5
        late = await watching(broker, network)
        assert late.worker == "gate-0-older"
        assert silent(late), "its last beat is older than a late one could be"
        await fresh.close()
        await late.close()

    run(scene())


@pytest.mark.parametrize(
    ("headers", "heard"),
    [
        ((), True),  # of an akkafka that wrote none
        ((("kind", b"gate"), ("process", b"gate-0-older")), True),
        ((("kind", b"train"), ("process", b"train-a")), False),
        ((("kind", b"gate"), ("process", b"gate-0-younger")), False),
    ],
)
def test_figures_that_are_said_to_be_of_no_interest_are_not_looked_into(
    run: Run, worker: subprocess.Popen[bytes], clock: Clock, headers: Headers, heard: bool
) -> None:
    async def scene() -> str:
        broker, network, watch = await opened()
        await beat(broker, network, worker.pid, headers)
        await watch.follow(1.0)
        await watch.close()
        return watch.worker

    assert run(scene()) == ("gate-0-older" if heard else "")


def test_who_works_glances_at_the_beats_that_are_new_whatever_clocks_say(
    run: Run, worker: subprocess.Popen[bytes], clock: Clock
) -> None:
    async def scene() -> None:
        broker = MemoryBroker()
        network = await define(broker, small_definition(), "net")
        await beat(broker, network, worker.pid, host="elsewhere")
        clock.moved_s = 3600.0
        watch = await watching(broker, network)
        await watch.glance()
        assert silent(watch), "that beat was there before"
        await beat(broker, network, worker.pid, host="elsewhere")
        await watch.glance()
        assert not silent(watch) and watch.worker == "gate-0-older"
        clock.moved_s += 2.0
        await watch.glance()
        assert silent(watch), "nothing since the last look"
        await beat(broker, network, worker.pid, host="elsewhere")
        await beat(broker, network, worker.pid, host="elsewhere", state="leaving")
        await watch.glance()
        assert silent(watch), "the newest says that it leaves"
        await watch.close()

    run(scene())


def test_who_works_finds_the_other_among_the_beats_of_a_large_network(
    run: Run, worker: subprocess.Popen[bytes], clock: Clock
) -> None:
    async def scene() -> None:
        broker, network, watch = await opened()
        for _ in range(3):
            await beat(broker, network, worker.pid)
            for gate in range(1, 60):
                await beat(broker, network, worker.pid, gate=gate)
        await watch.glance()
        assert not silent(watch) and watch.worker == "gate-0-older"
        await watch.close()

    run(scene())


def test_the_younger_of_two_workers_steps_down_and_the_older_does_not(
    run: Run, worker: subprocess.Popen[bytes], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby, "GLANCE_S", 0.0)

    async def leaves(process: str) -> bool:
        broker = MemoryBroker()
        network = await define(broker, small_definition(), "net")
        watch = Watch(broker, network, 0, process)
        await watch.open()
        leave = asyncio.Event()
        stepping = asyncio.create_task(standby.step_down(watch, process, leave))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not leave.is_set()
        await beat(broker, network, worker.pid)
        await asyncio.wait({stepping}, timeout=0.5)
        stepping.cancel()
        await asyncio.gather(stepping, return_exceptions=True)
        await watch.close()
        return leave.is_set()

    assert run(leaves("gate-0-younger"))
    assert not run(leaves("gate-0-elder"))
