"""Snapshots are written, read back, and let older ones go; whoever else writes meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import pytest

from akkafka.broker.base import TopicPartition
from akkafka.broker.memory import MemoryBroker, MemoryProducer
from akkafka.broker.network import Network, define
from akkafka.gate.keeper import SnapshotKeeper
from akkafka.gate.ledger import Ledger
from akkafka.gate.model import Model
from akkafka.gate.snapshot import Shelf, to_records
from akkafka.gate.state import GateState

from ..conftest import Run
from ..pipeline.fleet import small_definition


def made(run: Run, unique: Callable[[], str], *, keep_log: bool = False) -> tuple[MemoryBroker, Network, GateState]:
    broker = MemoryBroker()
    network = run(define(broker, small_definition(), unique(), keep_log=keep_log))
    return broker, network, Model(network.definition, 0, network.run, "").initial()


def held(broker: MemoryBroker, network: Network) -> Shelf:
    shelf = Shelf(network.run, 0, network.lane_count)
    where = TopicPartition(network.topics.snapshot(0), 0)
    for record in broker.log.read(where, 0, 1000):
        shelf.put(record.key, record.value)
    return shelf


@pytest.mark.parametrize("other", ["a-other", "z-other"])
def test_another_processs_snapshot_of_the_same_version_in_between_does_no_harm(
    run: Run, unique: Callable[[], str], monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    # Past fault: of two active processes the one whose name came first could not find its own snapshot again.
    broker, network, state = made(run, unique)
    where = TopicPartition(network.topics.snapshot(0), 0)
    theirs = to_records(network.run, 0, other, state, {})
    honest = MemoryProducer.send

    def send(self: MemoryProducer, *args: object, **named: object) -> object:
        sent = honest(self, *args, **named)  # type: ignore[arg-type]
        while theirs:
            key, value = theirs.pop(0)
            broker.log.append(where, value, key)
        return sent

    monkeypatch.setattr(MemoryProducer, "send", send)
    keeper = SnapshotKeeper(broker, network, 0, "m-self", Ledger())
    assert run(keeper.take(state, {}, deque()))
    assert {m.writer for m in held(broker, network).manifests()} == {other, "m-self"}


@pytest.mark.parametrize("keep_log", [False, True])
def test_what_is_let_go_is_forgotten_too_and_the_journal_goes_unless_it_is_kept(
    run: Run, unique: Callable[[], str], keep_log: bool
) -> None:
    broker, network, state = made(run, unique, keep_log=keep_log)
    journal = TopicPartition(network.topics.journal(0), 0)
    reach = network.definition.reach
    for _ in range(4 * reach):
        broker.log.append(journal, b"record")
    keeper, named = SnapshotKeeper(broker, network, 0, "me", Ledger()), deque[tuple[int, int]]()
    for at in range(1, 5):
        version = at * reach
        named.extend((made_, made_ - 1) for made_ in range(version - reach + 1, version + 1))
        assert run(keeper.take(replace(state, version=version, next_offset=version), {}, named))
        assert keeper.saved[0] == version
    assert [m.version for m in held(broker, network).manifests()] == [4 * reach, 3 * reach]
    assert broker.log.bounds(journal)[0] == (0 if keep_log else 3 * reach)
    assert named[0][0] == 3 * reach + 1


def test_a_snapshot_that_cannot_be_written_leaves_all_as_it_was(run: Run, unique: Callable[[], str]) -> None:
    broker, network, state = made(run, unique)
    keeper = SnapshotKeeper(broker, network, 0, "me", Ledger())
    broker.faults.refuse(network.topics.snapshot(0))
    assert not run(keeper.take(state, {}, deque()))
    assert keeper.saved == (0, "")
    assert run(keeper.take(state, {}, deque()))
