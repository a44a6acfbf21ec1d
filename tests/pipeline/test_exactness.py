"""The pipeline's weights are what plain loops give, bit for bit: over the memory broker, and over Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from akkafka.broker.base import Broker
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.memory import MemoryBroker
from akkafka.nn import divided
from akkafka.protocol.messages import Mode, Narrow

from ..conftest import Run
from .fleet import journal, small_definition, train_through, updates
from .reference import Reference, fixed_schedule, same_bits

OPTIMIZERS = {
    "sgd": "optimizer={type='sgd', lr=0.3}",
    "momentum": "optimizer={type='momentum', lr=0.3, beta=0.8}",
    "dc-asgd-c": "optimizer={type='dc-asgd-c', lr=0.3}",
    "dc-asgd-a": "optimizer={type='dc-asgd-a', lr=0.2}",
    "nadam": "optimizer={type='nadam', lr=0.01, clip_norm=1.0, gap_aware=true}",
    "spectrain": "optimizer={type='spectrain', lr=0.3, accumulate=2, pipemare=10}",
}
WITH_CHANCE = (
    "gate.fc1.layers=[{type='scale', scale=0.0625}, {type='dropout', p=0.2}, {type='linear', out=48}, {type='relu'}, "
    "{type='dropout', p=0.3}]"
)
WITH_STATISTICS = (
    "gate.fc1.layers=[{type='reshape', shape=[1, 8, 8]}, {type='scale', scale=0.0625}, "
    "{type='conv2d', out=6, kernel=3}, {type='batch-norm'}, {type='relu'}, {type='max-pool2d', kernel=2}, "
    "{type='flatten'}]"
)
A_CLASS_FOR_EACH_POSITION = (
    "data.name=topics:16",
    "gate.fc1.layers=[{type='embedding', count=97, out=6}, {type='lstm', out=8}]",
    "gate.fc2.layers=[{type='residual', layers=[{type='attention', heads=2, causal=true}]}]",
    "gate.fc3.layers=[{type='each', layers=[{type='linear', out=97}]}]",
)
A_NUMBER = (
    "data.name=diabetes",
    "loss=mse",
    "batch_size=64",
    "gate.fc1.layers=[{type='linear', out=8}, {type='tanh'}]",
    "gate.fc2.layers=[{type='linear', out=4}, {type='tanh'}]",
    "gate.fc3.layers=[{type='linear', out=1}]",
)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest, run: Run) -> Iterator[Broker]:
    """Both brokers in turn."""
    if request.param == "memory":
        yield MemoryBroker()
        return
    kafka = KafkaBroker(Connection(bootstrap_servers=request.getfixturevalue("kafka_bootstrap")))
    yield kafka
    run(kafka.close())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_window_one_on_one_lane_is_ordinary_training(
    optimizer: str, broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    definition = small_definition(OPTIMIZERS[optimizer])
    network, states = run(train_through(broker, definition, unique(), epochs=2))
    reference = Reference(network)
    expected = reference.run(fixed_schedule(reference, epochs=2, delay=0))
    assert [state.version for state in states] == [12, 12, 12]
    assert all(same_bits(state.params, wanted) for state, wanted in zip(states, expected, strict=True))


@pytest.mark.parametrize(
    ("changes", "batches"), [(A_CLASS_FOR_EACH_POSITION, 83), (A_NUMBER, 5)], ids=["text", "regression"]
)
def test_targets_of_other_kinds_than_one_class_a_sample_are_learned_as_in_plain_loops(
    changes: tuple[str, ...], batches: int, broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    network, states = run(train_through(broker, small_definition(*changes), unique(), epochs=1))
    reference = Reference(network)
    expected = reference.run(fixed_schedule(reference, epochs=1, delay=0))
    assert [state.version for state in states] == [batches] * 3
    assert all(same_bits(state.params, wanted) for state, wanted in zip(states, expected, strict=True))
    assert all(not same_bits(state.params, first[0]) for state, first in zip(states, reference.weights, strict=True))


def test_the_fixed_schedule_gives_the_same_bits_whatever_the_timing(
    broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    definition = small_definition("schedule.kind=fixed", "schedule.window=5", OPTIMIZERS["dc-asgd-a"])
    runs = [run(train_through(broker, definition, unique(), epochs=3, jitter=jitter)) for jitter in (None, 1, 2)]
    reference = Reference(runs[0][0])
    expected = reference.run(fixed_schedule(reference, epochs=3, delay=4))
    for _, states in runs:
        assert all(same_bits(state.params, wanted) for state, wanted in zip(states, expected, strict=True))


def test_bursts_change_no_bit_of_the_fixed_schedule(broker: Broker, run: Run, unique: Callable[[], str]) -> None:
    definition = small_definition("schedule.kind=fixed", "schedule.window=5", "schedule.burst=3")
    network, states = run(train_through(broker, definition, unique(), epochs=3, jitter=1))
    expected = Reference(network).run(fixed_schedule(Reference(network), epochs=3, delay=4))
    assert all(same_bits(state.params, wanted) for state, wanted in zip(states, expected, strict=True))


def test_the_fixed_schedule_over_two_lanes_and_two_sentinels_gives_the_same_bits(
    broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    definition = small_definition("schedule.kind=fixed", "schedule.window=2", "lanes.train=2", "schedule.delay=2")
    runs = [run(train_through(broker, definition, unique(), epochs=3, sentinels=n, jitter=n)) for n in (1, 2)]
    reference = Reference(runs[0][0])
    expected = reference.run(fixed_schedule(reference, epochs=3, delay=2))
    for _, states in runs:
        assert all(same_bits(state.params, wanted) for state, wanted in zip(states, expected, strict=True))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_recorded_staleness_fed_to_a_plain_simulation_gives_the_pipelines_weights(
    optimizer: str, broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    definition = small_definition("schedule.window=3", "lanes.train=2", OPTIMIZERS[optimizer], WITH_CHANCE)
    network, states = run(train_through(broker, definition, unique(), epochs=3, sentinels=2, jitter=5))
    recorded = [updates(run(journal(broker, network, gate))) for gate in range(network.gate_count)]
    staleness = [n - update.forward_version for n, update in enumerate(recorded[0])]
    assert max(staleness) > 0, "nothing was stale: the test has not tested what it is for"
    expected = Reference(network).run(recorded)
    assert all(same_bits(state.params, wanted) for state, wanted in zip(states, expected, strict=True))


def test_running_statistics_are_part_of_the_state_and_equal_those_of_plain_loops(
    broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    definition = small_definition("schedule.window=3", OPTIMIZERS["momentum"], WITH_STATISTICS)
    network, states = run(train_through(broker, definition, unique(), epochs=2, jitter=5))
    reference = Reference(network)
    expected = reference.run([updates(run(journal(broker, network, gate))) for gate in range(network.gate_count)])
    assert all(same_bits(state.params, wanted) for state, wanted in zip(states, expected, strict=True))
    for name in ("3.mean", "3.var"):
        assert not (states[0].params[name] == reference.weights[0][0][name]).all()


@pytest.mark.parametrize(
    "edges",
    ["{forward='bfloat16', backward='float16'}", "float16", "bfloat16", "int8"],
)
def test_narrow_edges_give_the_bits_of_plain_loops_that_round_where_messages_do(
    edges: str, broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    """The last gate's own setting is for the open end: logits and their gradients."""
    definition = small_definition(
        "schedule.kind=fixed", "schedule.window=4", f"wire.edges={edges}", "gate.2.wire=bfloat16", WITH_CHANCE
    )
    runs = [run(train_through(broker, definition, unique(), epochs=2, jitter=jitter)) for jitter in (None, 3)]
    reference = Reference(runs[0][0])
    expected = reference.run(fixed_schedule(reference, epochs=2, delay=3))
    for _, states in runs:
        assert all(same_bits(state.params, wanted) for state, wanted in zip(states, expected, strict=True))
    exact = Reference(
        replace(runs[0][0], definition=small_definition("schedule.kind=fixed", "schedule.window=4", WITH_CHANCE))
    )
    assert not same_bits(expected[0], exact.run(fixed_schedule(exact, epochs=2, delay=3))[0])


def test_a_narrow_journal_gives_the_bits_of_plain_loops_that_round_gradients_but_no_statistics(
    broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    settings = ("schedule.window=3", OPTIMIZERS["momentum"], WITH_STATISTICS)
    network, states = run(
        train_through(broker, small_definition(*settings, "wire.journal=bfloat16"), unique(), epochs=2, jitter=3)
    )
    recorded = [run(journal(broker, network, gate)) for gate in range(network.gate_count)]
    schedule = [updates(records) for records in recorded]
    expected = Reference(network).run(schedule)
    assert all(same_bits(state.params, wanted) for state, wanted in zip(states, expected, strict=True))
    exact = Reference(replace(network, definition=small_definition(*settings)))
    full = exact.run(schedule)
    assert all(not same_bits(rounded, wanted) for rounded, wanted in zip(expected, full, strict=True))
    sizes = [sum(isinstance(grad, Narrow) for grad in record.grads.values()) for record in recorded[0]]
    assert sizes == [4] * 12, "weight and bias of two layers, but not mean and variance"


@pytest.mark.parametrize("threads", [2, 3])
def test_rows_divided_among_threads_give_the_same_bits_whatever_the_timing(
    threads: int, broker: Broker, run: Run, unique: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And but for rounding those of one thread; a part is summed up by itself."""
    monkeypatch.setattr(divided, "WORTH", 1 << 12)
    definition = small_definition("schedule.kind=fixed", "schedule.window=4", OPTIMIZERS["dc-asgd-c"])
    runs = [
        run(train_through(broker, definition, unique(), epochs=2, jitter=jitter, threads=threads))
        for jitter in (None, 7)
    ]
    for one, other in zip(runs[0][1], runs[1][1], strict=True):
        assert same_bits(one.params, other.params)
    reference = Reference(runs[0][0])
    expected = reference.run(fixed_schedule(reference, epochs=2, delay=3))
    for state, wanted in zip(runs[0][1], expected, strict=True):
        assert any(not np.array_equal(state.params[name], w) for name, w in wanted.items()), "nothing was divided"
        for name, w in wanted.items():
            np.testing.assert_allclose(state.params[name], w, atol=1e-4)


def test_two_sentinels_share_an_epoch_without_losing_or_doubling_a_sample(
    broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    definition = small_definition("batch_size=100", "lanes.train=2", "schedule.window=2")
    network, states = run(train_through(broker, definition, unique(), epochs=2, sentinels=2, jitter=3))
    batches = 2 * -(-1437 // 100)
    assert [state.version for state in states] == [batches] * 3
    lanes = network.definition.plan.of(Mode.TRAIN)
    for gate in range(network.gate_count):
        seen = [(record.lane, record.seq) for record in run(journal(broker, network, gate))]
        assert sorted(seen) == [(lane, seq) for lane in lanes for seq in range(batches // 2)]
