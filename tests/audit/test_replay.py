"""A gate's weights are rebuilt from the log, bit for bit; what is not what the log makes of it is found and named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from akkafka.audit import replay as module
from akkafka.audit.replay import Check, Replayed, differences, image_of, replay
from akkafka.audit.told import told_in
from akkafka.broker.base import Broker, TopicPartition
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.network import Network
from akkafka.broker.reading import reading
from akkafka.errors import LogLostError, ReplayError
from akkafka.gate.fingerprint import fingerprint
from akkafka.gate.restore import read_shelf, restore
from akkafka.gate.snapshot import Snapshot, to_records
from akkafka.gate.state import GateState
from akkafka.protocol import wire
from akkafka.protocol.figures import GateFigures, to_message
from akkafka.protocol.messages import JournalRecord
from akkafka.protocol.narrow import wide
from tests.pipeline.fleet import small_definition, train_through

from ..conftest import Run
from ..gate.bench import zero

OFTEN = "snapshots.every_bytes=1024"  # a snapshot whenever anything has changed
STALE = ("schedule.window=3", "lanes.train=2", "optimizer={type='dc-asgd-a', lr=0.2}")


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest, run: Run) -> Iterator[Broker]:
    """Both brokers in turn."""
    if request.param == "memory":
        yield MemoryBroker()
        return
    kafka = KafkaBroker(Connection(bootstrap_servers=request.getfixturevalue("kafka_bootstrap")))
    yield kafka
    run(kafka.close())


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_RECORDS", 3)


def trained(broker: Broker, run: Run, unique: Callable[[], str], *overrides: str) -> tuple[Network, list[GateState]]:
    return run(train_through(broker, small_definition(*overrides), unique(), epochs=2, sentinels=2, jitter=3))


def journal_of(network: Network, gate: int) -> TopicPartition:
    return TopicPartition(network.topics.journal(gate), 0)


def assert_equal(found: Replayed, state: GateState) -> None:
    assert found.equal, found.checks
    assert found.state.version == state.version
    assert fingerprint(found.state) == fingerprint(state)


def test_every_gates_weights_are_rebuilt_from_the_definition_and_equal_snapshot_and_memory(
    broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    network, states = trained(broker, run, unique, *STALE)
    for gate, state in enumerate(states):
        found = run(replay(broker, network, gate, from_zero=True))
        assert_equal(found, state)
        assert (found.began, found.first_offset) == ("the definition", 0)
        assert {check.what.split()[0] for check in found.checks} == {"snapshot", "memory"}


def test_without_from_zero_a_replay_begins_with_the_older_snapshot(run: Run, unique: Callable[[], str]) -> None:
    broker = MemoryBroker()
    network, states = trained(broker, run, unique, OFTEN, *STALE)
    found = run(replay(broker, network, 0))
    assert_equal(found, states[0])
    assert 0 < found.first_version < found.state.version
    assert found.began == f"the snapshot of version {found.first_version}"
    assert found.checks[-1].version == found.state.version


def test_a_replay_stops_at_the_version_asked_for(run: Run, unique: Callable[[], str]) -> None:
    broker = MemoryBroker()
    network, _ = trained(broker, run, unique, *STALE)
    found = run(replay(broker, network, 1, to=5))
    expected = run(restore(broker, network, 1, until=5)).state
    assert fingerprint(found.state) == fingerprint(expected) and found.state.version == 5
    assert all(check.version <= 5 for check in found.checks)


def test_where_nothing_could_be_compared_nothing_is_proved() -> None:
    nothing = Replayed("the definition", 0, 0, zero(), (), ())
    assert not nothing.equal
    assert replace(nothing, checks=(Check("a snapshot", 1, ()),)).equal
    assert not replace(nothing, checks=(Check("a snapshot", 1, ()), Check("another", 2, ("weights",)))).equal


def test_a_version_that_does_not_exist_yet_is_refused(run: Run, unique: Callable[[], str]) -> None:
    broker = MemoryBroker()
    network, states = trained(broker, run, unique)
    with pytest.raises(ReplayError, match=f"holds {states[0].version} versions, --to 1000"):
        run(replay(broker, network, 0, to=1000))


def test_from_zero_is_refused_with_advice_once_the_journal_was_trimmed(
    broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    network, states = trained(broker, run, unique, OFTEN)
    run(broker.trim({journal_of(network, 0): 3}))
    with pytest.raises(ReplayError, match="begins at offset 3") as refused:
        run(replay(broker, network, 0, from_zero=True))
    assert "--keep-log" in refused.value.hint
    assert_equal(run(replay(broker, network, 0)), states[0])


def test_a_journal_trimmed_too_far_is_named(run: Run, unique: Callable[[], str]) -> None:
    broker = MemoryBroker()
    network, states = trained(broker, run, unique)
    end = states[0].next_offset
    broker.log.trim(journal_of(network, 0), end)
    broker.log.append(journal_of(network, 0), b"x")
    broker.log.trim(journal_of(network, 0), end + 1)
    with pytest.raises(LogLostError, match="no whole snapshot reaches that far"):
        run(replay(broker, network, 0))


def test_a_snapshot_that_is_not_what_the_journal_makes_is_named(run: Run, unique: Callable[[], str]) -> None:
    broker = MemoryBroker()
    network, states = trained(broker, run, unique)
    name = next(iter(states[0].params))
    forged = {**states[0].params, name: np.nextafter(states[0].params[name], np.float32(2))}
    for key, value in to_records(network.run, 0, "zz", replace(states[0], params=forged), {}):
        broker.log.append(TopicPartition(network.topics.snapshot(0), 0), value, key)
    found = run(replay(broker, network, 0, from_zero=True))
    (bad,) = [check for check in found.checks if check.differs]
    assert not found.equal and "by zz" in bad.what and "weights and optimizer state" in bad.differs[0]


def test_a_gate_that_serves_other_weights_than_the_log_explains_is_named(run: Run, unique: Callable[[], str]) -> None:
    broker = MemoryBroker()
    network, states = trained(broker, run, unique)
    figures = GateFigures(gate=0, name="x", state="working", saved_version=states[0].version, saved_hash="00ff")
    where = TopicPartition(network.topics.metrics, 0)
    broker.log.append(where, wire.encode(to_message(network.run, "liar", 0, figures)))
    found = run(replay(broker, network, 0))
    assert [check.what for check in found.checks if check.differs] == [f"memory of liar at version {states[0].version}"]


def test_one_changed_gradient_in_the_journal_is_found(run: Run, unique: Callable[[], str]) -> None:
    broker = MemoryBroker()
    network, _ = trained(broker, run, unique)  # window 1: no trail is checked between, all rests on the comparison
    records = broker.log.read(journal_of(network, 0), 0)
    last = wire.decode(records[-1].value)
    assert isinstance(last, JournalRecord)
    grads = {name: wide(grad) * np.float32(1.01) for name, grad in last.grads.items()}
    broker.log.lose(journal_of(network, 0), len(records) - 1)
    broker.log.append(journal_of(network, 0), wire.encode(replace(last, grads=grads)))
    found = run(replay(broker, network, 0))
    assert not found.equal
    assert {d.split(":")[0] for check in found.checks for d in check.differs} == {
        "history",
        "weights and optimizer state",
    }


def test_equal_states_have_equal_images_and_other_histories_are_told(run: Run, unique: Callable[[], str]) -> None:
    broker = MemoryBroker()
    network, states = trained(broker, run, unique)
    snapshot = run(_newest(broker, network))
    assert differences(states[0], image_of(snapshot)) == ()
    assert "history" in differences(replace(states[0], chain=b"another history."), image_of(snapshot))[0]
    assert "applied" in differences(replace(states[0], applied=(9,) * 5), image_of(snapshot))[0]


async def _newest(broker: Broker, network: Network) -> Snapshot:
    async with reading(broker, "test") as reader:
        found = (await read_shelf(broker, reader, network, 0)).newest()
    assert found is not None
    return found


def test_figures_without_a_hash_of_another_gate_or_run_tell_nothing(run: Run, unique: Callable[[], str]) -> None:
    broker = MemoryBroker()
    network, _ = trained(broker, run, unique)
    figures = GateFigures(gate=1, name="x", state="working", saved_version=3, saved_hash="ab")
    value = wire.encode(to_message(network.run, "me", 0, figures))
    told = told_in(network.run, 1, value)
    assert told is not None and (told.process, told.version, told.hash) == ("me", 3, "ab")
    assert told_in(network.run, 0, value) is None
    assert told_in(replace(network.run, incarnation=b"another."), 1, value) is None
    assert told_in(network.run, 1, wire.encode(to_message(network.run, "me", 0, figures.model_copy(
        update={"saved_hash": ""})))) is None  # fmt: skip
    assert told_in(network.run, 1, b"x") is None
