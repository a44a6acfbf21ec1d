"""A network whose log is trimmed all the time trains on, begins anew, and equals one whose log is kept, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from akkafka.audit.examine import examine
from akkafka.audit.replay import replay
from akkafka.broker import trimming
from akkafka.broker.base import Broker, TopicPartition
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.network import Network, define, load
from akkafka.errors import NetworkError
from akkafka.gate.fingerprint import fingerprint
from akkafka.gate.restore import restore
from akkafka.protocol.messages import Mode
from akkafka.sentinel.predict import predict

from ..conftest import Run
from .fleet import Fleet, small_definition

SMALL = ("schedule.kind=fixed", "schedule.window=3", "snapshots.every_bytes=40000")


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
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimming, "EVERY_S", 0.001)  # less than any part of a training takes


async def trained(broker: Broker, network: Network, parts: tuple[int, ...]) -> list[str]:
    """Train for so many epochs in all, everybody ended and begun anew in between; the weights' hashes."""
    running = Fleet(broker, network)
    try:
        for epochs in parts:
            gates = [running.start_gate(gate) for gate in range(network.gate_count)]
            trainer = running.start_training(epochs)
            await running.ended(trainer)
            for gate in gates:
                await running.kill(gate)
        return [fingerprint((await restore(broker, network, gate)).state) for gate in range(network.gate_count)]
    finally:
        await running.close()


async def held(broker: Broker, network: Network, *topics: str) -> list[tuple[int, int]]:
    """(first offset, end) of lane 0 of each."""
    parts = [TopicPartition(topic, 0) for topic in topics]
    bounds = await broker.bounds(parts)
    return [bounds[where] for where in parts]


def edges(network: Network) -> list[str]:
    gates = range(network.gate_count)
    return [network.topics.forward(gate) for gate in gates] + [network.topics.backward(gate + 1) for gate in gates]


def test_a_log_that_is_trimmed_all_the_time_gives_the_same_bits(
    broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    definition = small_definition(*SMALL)
    kept = run(define(broker, definition, unique(), keep_log=True))
    cut = run(define(broker, definition, unique()))
    whole = run(trained(broker, kept, (6,)))
    assert run(trained(broker, cut, (2, 4, 6))) == whole

    assert all(low == 0 for low, _ in run(held(broker, kept, *edges(kept), kept.topics.journal(0))))
    for low, high in run(held(broker, cut, *edges(cut))):
        assert 0 < low < high, "trimmed, and the last message is there"
    (low, high), *_ = run(held(broker, cut, cut.topics.journal(0)))
    assert 0 < low < high

    for network in (kept, cut):
        judge = run(examine(broker, network))
        assert not judge.findings.told, judge.findings.told
    assert run(replay(broker, kept, 1, from_zero=True)).equal
    assert run(replay(broker, cut, 1)).equal


def test_a_log_that_was_trimmed_is_not_promised_whole_afterwards(
    broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    definition, name = small_definition(), unique()
    assert not run(define(broker, definition, name)).keep_log
    with pytest.raises(NetworkError, match="defined without --keep-log"):
        run(define(broker, definition, name, keep_log=True))
    kept = unique()
    run(define(broker, definition, kept, keep_log=True))
    found = run(load(broker, kept))
    assert found is not None and found.keep_log
    assert run(define(broker, definition, kept)).keep_log, "who does not ask takes it as it is"
    assert found.run.definition == run(define(broker, definition, name)).run.definition, "masks and seeds are the same"


def test_what_short_passes_leave_behind_is_trimmed_too(
    broker: Broker, run: Run, unique: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> list[tuple[int, int]]:
        network = await define(broker, small_definition(), unique())
        running = Fleet(broker, network)
        (lane,) = network.definition.plan.of(Mode.PREDICT)
        where = TopicPartition(network.topics.forward(network.gate_count), lane)
        first = network.definition.layers[0]
        x = np.zeros((20, *first.in_shape), first.in_dtype)
        monkeypatch.setattr(trimming, "EVERY_S", 3600.0)  # they are over before
        found = []
        try:
            for gate in range(network.gate_count):
                running.start_gate(gate)
            for _ in range(3):
                await predict(broker, network, x)
                found.append((await broker.bounds([where]))[where])
        finally:
            await running.close()
        return found

    found = run(work())
    assert all(high - low == 1 for low, high in found), found
    assert [high for _, high in found] == [1, 2, 3]
