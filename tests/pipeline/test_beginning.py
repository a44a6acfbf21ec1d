"""Networks that begin with somebody's weights, and gates that stay as they are: over both brokers, by the log alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from akkafka.audit.examine import examine
from akkafka.audit.replay import replay
from akkafka.broker.base import Broker, TopicPartition
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.library import Catalogue, publish
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.network import define
from akkafka.errors import ConfigError, NetworkError
from akkafka.gate.beginning import beginning_with, publish_weights, wait_for_weights, weights_name
from akkafka.gate.restore import restore
from akkafka.nn.layer import Params
from akkafka.protocol.definition import Definition

from ..conftest import Run
from .fleet import Fleet, fleet, journal, small_definition
from .reference import Reference, fixed_schedule, same_bits
from .test_exactness import WITH_CHANCE, WITH_STATISTICS

FIXED = ("schedule.kind=fixed", "schedule.window=3")
MOMENTUM = "optimizer={type='momentum', lr=0.3, beta=0.8}"
Flats = Mapping[str, Any]


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest, run: Run) -> Iterator[Broker]:
    """Both brokers in turn."""
    if request.param == "memory":
        yield MemoryBroker()
        return
    kafka = KafkaBroker(Connection(bootstrap_servers=request.getfixturevalue("kafka_bootstrap")))
    yield kafka
    run(kafka.close())


def drawn(definition: Definition, *gates: str, seed: int = 99) -> dict[str, Params]:
    """Weights that no seed of a definition gives."""
    rng = np.random.default_rng(seed)
    return {
        spec.name: layer.init(rng)
        for spec, layer in zip(definition.gates, definition.layers, strict=True)
        if spec.name in gates
    }


async def trained(running: Fleet, epochs: int) -> list[Params]:
    """Weights after so many epochs in all; every process has left."""
    gates = [running.start_gate(gate) for gate in range(running.network.gate_count)]
    await running.ended(running.start_training(epochs))
    await running.stop(*gates)
    return [(await restore(running.broker, running.network, g)).state.params for g in range(len(gates))]


def quiet(_: str) -> None:
    return


def test_training_begins_with_the_weights_and_every_reader_of_the_log_finds_them(
    broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    plain = small_definition(*FIXED, MOMENTUM)
    given = drawn(plain, "fc1", "fc3")
    definition, flats = beginning_with(plain, given)
    assert definition.hash != plain.hash
    assert [gate.weights is None for gate in definition.gates] == [False, True, False]

    async def scene() -> list[Params]:
        async with fleet(broker, definition, unique(), keep_log=True) as running:
            await publish_weights(broker, running.network, flats, quiet)
            found = await trained(running, 2)
            for gate in range(3):
                replayed = await replay(broker, running.network, gate, from_zero=True)
                assert replayed.equal and replayed.began == "the definition"
            assert not (await examine(broker, running.network)).findings.told
            expected.extend(_reference(running, given))
            return found

    expected: list[Params] = []
    found = run(scene())
    assert all(same_bits(a, b) for a, b in zip(found, expected, strict=True))


def _reference(running: Fleet, given: Mapping[str, Params], delay: int = 2, epochs: int = 2) -> list[Params]:
    reference = Reference(running.network, given)
    return reference.run(fixed_schedule(reference, epochs=epochs, delay=delay))


def test_a_gate_waits_for_its_weights_and_one_that_comes_again_without_a_snapshot_finds_them(
    broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    """The network is defined first, as what is published belongs to its run; and nothing but the log is needed."""
    plain = small_definition(*FIXED, "snapshots.every_seconds=1e6")
    given = drawn(plain, "fc2")
    definition, flats = beginning_with(plain, given)

    async def scene() -> None:
        async with fleet(broker, definition, unique()) as running:
            early = running.start_gate(1)
            said: asyncio.Queue[str] = asyncio.Queue()
            waits = wait_for_weights(broker, running.network, 1, asyncio.Event(), said.put_nowait)
            waiting = asyncio.ensure_future(waits)
            assert "waiting for weights: gate 1 (fc2)" in await said.get()
            await publish_weights(broker, running.network, flats, quiet)
            others = [running.start_gate(gate) for gate in (0, 2)]
            assert await waiting
            await running.ended(running.start_training(1))
            await running.kill(early)  # it has saved nothing
            again = running.start_gate(1)
            await running.ended(running.start_training(2))
            await running.stop(again, *others)
            found = [(await restore(broker, running.network, g)).state.params for g in range(3)]
            expected = _reference(running, given)
            assert all(same_bits(a, b) for a, b in zip(found, expected, strict=True))

    run(scene())


def test_a_gate_that_waits_for_its_weights_leaves_when_it_is_asked_to(run: Run, unique: Callable[[], str]) -> None:
    definition, _ = beginning_with(small_definition(), drawn(small_definition(), "fc1"))

    async def scene() -> None:
        async with fleet(MemoryBroker(), definition, unique()) as running:
            await running.stop(running.start_gate(0), timeout=10)

    run(scene())


def test_weights_that_are_missing_or_no_weights_are_told_to_who_reads_the_log(
    run: Run, unique: Callable[[], str]
) -> None:
    broker = MemoryBroker()
    definition, flats = beginning_with(small_definition(), drawn(small_definition(), "fc1"))
    network = run(define(broker, definition, unique()))
    with pytest.raises(NetworkError, match=r"gate 0 \(fc1\) .*is not in topic") as error:
        run(restore(broker, network, 0))
    assert f"--network {network.name}" in error.value.hint
    run(publish_weights(broker, network, flats, quiet))
    assert run(restore(broker, network, 0)).state.version == 0
    assert run(Catalogue(broker, network, "look").all()) == [bytes.fromhex(definition.gates[0].weights or "")]


def test_weights_of_another_network_are_told(run: Run, unique: Callable[[], str]) -> None:
    broker, other = MemoryBroker(), np.zeros(7, np.float32)
    network = run(define(broker, small_definition(f"gate.fc1.weights='{weights_name(other)}'"), unique()))
    run(publish(broker, network, other, "test", quiet))
    with pytest.raises(NetworkError, match=r"gate 0 \(fc1\) .*float32 \(7,\), it takes float32 \(3120,\)"):
        run(restore(broker, network, 0))


def test_published_once_whoever_tries_again(run: Run, unique: Callable[[], str]) -> None:
    broker = MemoryBroker()
    definition, flats = beginning_with(small_definition(), drawn(small_definition(), "fc1", "fc2"))
    network = run(define(broker, definition, unique()))
    for _ in range(2):
        run(publish_weights(broker, network, flats, quiet))
    where = TopicPartition(network.topics.data, 0)
    assert run(broker.bounds([where]))[where] == (0, 2)


# --- frozen gates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", ["fc1", "fc2", "fc3"])
@pytest.mark.parametrize("first", [WITH_CHANCE, WITH_STATISTICS], ids=["chance", "statistics"])
def test_a_frozen_gate_stays_as_it_is_and_the_others_learn_as_in_plain_loops(
    frozen: str, first: str, broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    last = "gate.fc3.layers=[{type='linear', out=10}]"  # no zeros, through which no gradient would come
    definition = small_definition(*FIXED, MOMENTUM, first, last, f"gate.{frozen}.trainable=false")
    place = [gate.name for gate in definition.gates].index(frozen)

    async def scene() -> None:
        async with fleet(broker, definition, unique(), keep_log=True) as running:
            found = await trained(running, 2)
            reference = Reference(running.network)
            expected = reference.run(fixed_schedule(reference, epochs=2, delay=2))
            assert all(same_bits(a, b) for a, b in zip(found, expected, strict=True))
            moved = [not same_bits(found[g], reference.weights[g][0]) for g in range(3)]
            assert moved == [g != place and bool(found[g]) for g in range(3)]
            assert not (await examine(broker, running.network)).findings.told  # every batch counted there, too
            states = [(await restore(broker, running.network, g)).state for g in range(3)]
            assert [state.version for state in states] == [12, 12, 12]
            assert not states[place].optimizer
            assert (await replay(broker, running.network, place, from_zero=True)).equal
            records = await journal(broker, running.network, place)
            assert len(records) == 12 and not any(record.grads or record.void for record in records)

    run(scene())


def test_a_network_of_frozen_gates_is_refused() -> None:
    changes = [f"gate.{name}.trainable=false" for name in ("fc1", "fc2", "fc3")]
    with pytest.raises(ConfigError, match="nothing would be trained"):
        small_definition(*changes)


def test_weights_are_named_by_their_hash_and_belong_to_gates_that_have_some() -> None:
    with pytest.raises(ConfigError, match="weights"):
        small_definition("gate.fc1.weights='weights.npz'")
    with pytest.raises(ConfigError, match="'fc2': has no weights to begin with"):
        small_definition("gate.fc2.layers=[{type='relu'}]", f"gate.fc2.weights='{'0' * 32}'")
