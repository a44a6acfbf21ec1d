"""A log that was damaged while nobody worked: recognised and named when a gate begins, never silently begun anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from akkafka.broker.base import Broker, Record, TopicPartition, TopicSpec
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.reading import read_to_end, reading
from akkafka.errors import LogLostError
from akkafka.gate.fingerprint import fingerprint
from akkafka.gate.model import Model
from akkafka.gate.restore import Restored, place_gate
from akkafka.gate.shell import Gate
from akkafka.gate.snapshot import chunk_key, manifest_key
from akkafka.gate.state import GateState
from akkafka.protocol import wire
from akkafka.protocol.messages import Run as RunOf
from akkafka.protocol.messages import SnapshotChunk, SnapshotManifest
from akkafka.protocol.topics import edge_settings, journal_settings
from tests.pipeline.fleet import small_definition, train_through

from ..conftest import Run

GATE = 1
BATCHES = 12


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest, run: Run) -> Iterator[Broker]:
    """Both brokers in turn."""
    if request.param == "memory":
        yield MemoryBroker()
        return
    kafka = KafkaBroker(Connection(bootstrap_servers=request.getfixturevalue("kafka_bootstrap")))
    yield kafka
    run(kafka.close())


class Damaged:
    """A trained network whose log is at the test's mercy."""

    def __init__(self, broker: Broker, run: Run, name: str) -> None:
        self.broker, self.run = broker, run
        definition = small_definition("snapshots.every_bytes=1024")
        self.network, states = run(train_through(broker, definition, name, epochs=2))
        self.state: GateState = states[GATE]

    @property
    def snapshots(self) -> TopicPartition:
        return TopicPartition(self.network.topics.snapshot(GATE), 0)

    @property
    def journal(self) -> TopicPartition:
        return TopicPartition(self.network.topics.journal(GATE), 0)

    def records(self, where: TopicPartition) -> list[Record]:
        async def work() -> list[Record]:
            async with reading(self.broker, "test") as reader:
                return [record async for record in read_to_end(self.broker, reader, where)]

        return self.run(work())

    def write(self, where: TopicPartition, *records: tuple[bytes | None, bytes | None]) -> None:
        async def work() -> None:
            producer = await self.broker.producer("test")
            for key, value in records:
                await producer.send(where, value, key=key)
            await producer.close()

        self.run(work())

    def manifests(self) -> list[SnapshotManifest]:
        """Of the snapshots that are there, newest first."""
        held = {record.key: record.value for record in self.records(self.snapshots)}
        found = [wire.decode(value) for value in held.values() if value is not None]
        return sorted((m for m in found if isinstance(m, SnapshotManifest)), key=lambda m: -m.version)

    def chunk(self, manifest: SnapshotManifest) -> tuple[bytes, SnapshotChunk]:
        key = chunk_key(manifest.version, manifest.writer, 0)
        value = next(r.value for r in reversed(self.records(self.snapshots)) if r.key == key)
        chunk = wire.decode(value)
        assert isinstance(chunk, SnapshotChunk)
        return key, chunk

    def shorten(self, where: TopicPartition, count: int, settings: dict[str, str]) -> None:
        """As a broker comes back that has lost its end: the topic with its first records only."""
        kept = self.records(where)[:count]
        self.run(self.broker.delete([where.topic]))
        self.run(self.broker.create([TopicSpec(where.topic, where.partition + 1, settings)]))
        self.write(where, *((record.key, record.value) for record in kept))

    def begun(self) -> Restored:
        """What a gate begins with."""
        model = Model(self.network.definition, GATE, self.network.run, "test")
        return self.run(place_gate(self.broker, self.network, GATE, model))[0]


@pytest.fixture
def damaged(broker: Broker, run: Run, unique: Callable[[], str]) -> Damaged:
    return Damaged(broker, run, unique())


def assert_same(found: Restored, state: GateState) -> None:
    assert (found.state.version, fingerprint(found.state)) == (state.version, fingerprint(state))
    assert found.state.sums == state.sums


def test_an_undamaged_log_has_no_faults(damaged: Damaged) -> None:
    found = damaged.begun()
    assert_same(found, damaged.state)
    assert not found.faults
    assert len(damaged.manifests()) >= 2


def test_a_torn_snapshot_is_named_and_an_older_one_is_used(damaged: Damaged) -> None:
    newest = damaged.manifests()[0]
    damaged.write(damaged.snapshots, (chunk_key(newest.version, newest.writer, 0), None))
    found = damaged.begun()
    assert found.faults == [f"snapshot of version {BATCHES} by {newest.writer}: chunk 0 of 1 is missing"]
    assert_same(found, damaged.state)


def test_a_flipped_bit_in_a_chunk_is_named_and_an_older_snapshot_is_used(damaged: Damaged) -> None:
    key, chunk = damaged.chunk(damaged.manifests()[0])
    data = chunk.data[:-1] + bytes((chunk.data[-1] ^ 1,))
    damaged.write(damaged.snapshots, (key, wire.encode(replace(chunk, data=data))))
    found = damaged.begun()
    assert len(found.faults) == 1 and "another hash than the manifest says" in found.faults[0]
    assert_same(found, damaged.state)


def test_a_snapshot_of_another_run_is_named_and_not_used(damaged: Damaged) -> None:
    newest = damaged.manifests()[0]
    other = RunOf(newest.run.definition, b"another.")
    foreign = replace(newest, run=other, version=900, chunks=(), size=0)
    damaged.write(damaged.snapshots, (manifest_key(900, "other"), wire.encode(foreign)))
    found = damaged.begun()
    assert len(found.faults) == 1 and f"of run {other}" in found.faults[0]
    assert_same(found, damaged.state)


def test_a_journal_whose_head_was_deleted_too_early_is_named(damaged: Damaged) -> None:
    newest, *_ = damaged.manifests()
    for manifest in damaged.manifests():
        damaged.write(damaged.snapshots, (chunk_key(manifest.version, manifest.writer, 0), None))
    damaged.run(damaged.broker.trim({damaged.journal: 3}))
    with pytest.raises(
        LogLostError, match="the journal begins at offset 3, no whole snapshot reaches that far"
    ) as lost:
        damaged.begun()
    assert f"version {newest.version}" in str(lost.value) and "reset" in lost.value.hint


def test_a_head_that_only_an_older_snapshot_needed_is_no_obstacle(damaged: Damaged) -> None:
    damaged.run(damaged.broker.trim({damaged.journal: damaged.manifests()[0].next_offset}))
    assert_same(damaged.begun(), damaged.state)


@pytest.mark.parametrize("count", [0, 7])
def test_a_journal_that_came_back_shorter_is_named(damaged: Damaged, count: int) -> None:
    damaged.shorten(damaged.journal, count, journal_settings())
    with pytest.raises(LogLostError, match=f"the journal ends at offset {count}, the snapshot of version {BATCHES}"):
        damaged.begun()


def test_a_journal_that_is_empty_where_no_snapshot_is_left_is_not_taken_for_a_beginning(damaged: Damaged) -> None:
    for manifest in damaged.manifests():
        damaged.write(damaged.snapshots, (manifest_key(manifest.version, manifest.writer), None))
    damaged.shorten(damaged.journal, 0, journal_settings())
    with pytest.raises(LogLostError, match=r"batches were forwarded with version \d+, the journal holds 0 versions"):
        damaged.begun()


def test_an_edge_that_came_back_shorter_stops_the_gate_by_name(damaged: Damaged) -> None:
    lane = TopicPartition(damaged.network.topics.backward(GATE + 1), 0)
    partitions = damaged.network.lane_count
    kept = damaged.records(lane)[:4]
    damaged.run(damaged.broker.delete([lane.topic]))
    damaged.run(damaged.broker.create([TopicSpec(lane.topic, partitions, edge_settings())]))
    damaged.write(lane, *((record.key, record.value) for record in kept))

    async def work() -> None:
        async with asyncio.timeout(30):
            await Gate(damaged.broker, damaged.network, GATE, "woken").run(asyncio.Event())

    with pytest.raises(LogLostError, match=r"backward\.2.*offset 12 is gone, the log holds 0 to 4"):
        damaged.run(work())


def test_a_gate_says_what_it_passed_over(damaged: Damaged, capsys: pytest.CaptureFixture[str]) -> None:
    newest = damaged.manifests()[0]
    damaged.write(damaged.snapshots, (chunk_key(newest.version, newest.writer, 0), None))

    async def work() -> None:
        leave = asyncio.Event()
        leave.set()
        await Gate(damaged.broker, damaged.network, GATE, "again").run(leave)

    damaged.run(work())
    said = capsys.readouterr().out
    assert f"gate 1 (fc2): snapshot of version {BATCHES}" in said and "passed over" in said
    assert f"working from version {BATCHES}" in said
