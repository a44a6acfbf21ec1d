"""Real gates and sentinels as tasks of one event loop, over whichever broker: the whole without processes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from akkafka.broker import trimming
from akkafka.broker.base import Broker, Reader, Record, TopicPartition
from akkafka.broker.network import Network, define
from akkafka.broker.process import process_name
from akkafka.broker.reading import read_to_end, reading
from akkafka.cli.training.tail import figures_of
from akkafka.gate.recovery import read_entry
from akkafka.gate.restore import counting_rule, restore
from akkafka.gate.shell import Gate
from akkafka.gate.state import GateState, initial_state, pass_over
from akkafka.protocol.config import load_config
from akkafka.protocol.definition import Definition
from akkafka.protocol.figures import GateFigures
from akkafka.protocol.messages import JournalRecord
from akkafka.sentinel.source import Wanted
from akkafka.sentinel.train import TrainSentinel

from .reference import Update

SMALL = (
    "batch_size=256",
    "lanes.train=1",
    "schedule.window=1",
    "lanes.validate=1",
    "lanes.test=0",
    "lanes.predict=1",
    "lanes.spare=1",
)


def small_definition(*overrides: str) -> Definition:
    """The digits network with few lanes and large batches: an epoch has 6 batches."""
    return load_config(None, (*SMALL, *overrides)).definition


async def versions_told(broker: Broker, network: Network) -> list[int]:
    """What gates tell of themselves, as the log has it."""
    where = TopicPartition(network.topics.metrics, 0)
    async with reading(broker, "told") as reader:
        found = [figures_of(network, record) async for record in read_to_end(broker, reader, where)]
    return [body.version for _, _, body in filter(None, found) if isinstance(body, GateFigures)]


class Fleet:
    """A network whose processes are tasks here."""

    def __init__(self, broker: Broker, network: Network) -> None:
        self.broker, self.network = broker, network
        self.leave: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def start_gate(self, gate: int, broker: Broker | None = None, threads: int = 1) -> str:
        """Host a gate; returns the process's name."""
        process = process_name(f"gate-{gate}")
        work = Gate(broker or self.broker, self.network, gate, process, threads=threads)
        return self._start(process, work.run)

    def start_training(self, epochs: int | None, wanted: Wanted | None = None, broker: Broker | None = None) -> str:
        """Start a training sentinel; returns the process's name."""
        process = process_name("train")
        sentinel = TrainSentinel(
            broker or self.broker, self.network, wanted or Wanted(), process, epochs=epochs, window=None
        )
        return self._start(process, sentinel.run)

    def _start(self, process: str, run: Any) -> str:
        self.leave[process] = asyncio.Event()
        self.tasks[process] = asyncio.ensure_future(run(self.leave[process]))
        return process

    async def ended(self, *processes: str, timeout: float = 60.0) -> None:
        """Wait until these end by themselves; raises what they raise, or what any other process fails with."""
        wanted = {self.tasks[process] for process in processes}
        async with asyncio.timeout(timeout):
            while not all(task.done() for task in wanted):
                running = [task for task in self.tasks.values() if not task.done()]
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()

    async def stop(self, *processes: str, timeout: float = 60.0) -> None:
        """Ask these to leave and wait until they have."""
        for process in processes:
            self.leave[process].set()
        await self.ended(*processes, timeout=timeout)

    async def kill(self, process: str) -> None:
        """End a process as it stands: nothing is finished, nothing is saved."""
        task = self.tasks.pop(process)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """Kill what still runs."""
        for process in list(self.tasks):
            await self.kill(process)


@asynccontextmanager
async def fleet(broker: Broker, definition: Definition, name: str, *, keep_log: bool = False) -> AsyncIterator[Fleet]:
    """A defined network with nobody at work yet."""
    found = Fleet(broker, await define(broker, definition, name, keep_log=keep_log))
    try:
        yield found
    finally:
        await found.close()


async def train_through(
    broker: Broker,
    definition: Definition,
    name: str,
    epochs: int,
    *,
    sentinels: int = 1,
    jitter: int | None = None,
    threads: int = 1,
) -> tuple[Network, list[GateState]]:
    """Train for some epochs, stop everything; the gates' states from the log alone, which is whole afterwards."""
    used = broker if jitter is None else cast("Broker", JitterBroker(broker, jitter))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trimming, "EVERY_S", 3600.0)  # else the log of a slow machine would have been trimmed by then
        return await _trained(broker, used, definition, name, epochs, sentinels, threads)


async def _trained(
    broker: Broker, used: Broker, definition: Definition, name: str, epochs: int, sentinels: int, threads: int
) -> tuple[Network, list[GateState]]:
    async with fleet(broker, definition, name) as running:
        gates = [running.start_gate(gate, used, threads) for gate in range(running.network.gate_count)]
        trainers = [running.start_training(epochs, broker=used) for _ in range(sentinels)]
        await running.ended(*trainers)
        await running.stop(*gates)
        return running.network, [(await restore(broker, running.network, g)).state for g in range(len(gates))]


async def journal(broker: Broker, network: Network, gate: int) -> list[JournalRecord]:
    """All records of a gate's journal that count, from zero."""
    rule, counted = counting_rule(network, gate), []
    state = initial_state({}, {}, network.lane_count)
    async with reading(broker, "test-journal") as reader:
        async for record in read_to_end(broker, reader, TopicPartition(network.topics.journal(gate), 0)):
            entry, _ = read_entry(network.run, record.value)
            if entry is None or not rule.counts(state, entry):
                state = pass_over(state)
                continue
            counted.append(entry)
            applied = list(state.applied)
            applied[entry.lane] += 1
            state = GateState(
                state.version + 1, state.chain, {}, {}, tuple(applied), state.sources, state.next_offset + 1
            )
    return counted


def updates(records: Sequence[JournalRecord]) -> list[Update]:
    """The recorded schedule of one gate."""
    return [Update((record.lane, record.seq), record.hop.version) for record in records]


class JitterBroker:
    """A broker whose readers hand things over late, at random: other interleavings, same messages."""

    def __init__(self, broker: Broker, seed: int) -> None:
        self._broker, self._random = broker, random.Random(seed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def reader(self, name: str, **settings: int) -> Reader:
        """A reader that dawdles."""
        reader = await self._broker.reader(name, **settings)
        return cast("Reader", _JitterReader(reader, random.Random(self._random.random())))


class _JitterReader:
    def __init__(self, reader: Reader, rng: random.Random) -> None:
        self._reader, self._random = reader, rng

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def poll(self, *, timeout: float, max_records: int = 500) -> Sequence[Record]:
        records = await self._reader.poll(timeout=timeout, max_records=self._random.randint(1, 3))
        if self._random.random() < 0.5:
            await asyncio.sleep(self._random.random() * 0.004)  # the delay is what is tested, nothing waits for it
        return records

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._reader.assign(positions)
