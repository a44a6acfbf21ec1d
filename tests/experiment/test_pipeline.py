"""Behind a slow sentinel every gate is equally late, and the real pipeline gives what the experiment's chain gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean
from typing import Any, cast

import pytest

from akkafka.broker.base import Broker, Reader, Record, TopicPartition
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.memory import MemoryBroker
from akkafka.data.dataset import DataSpec, load
from akkafka.data.epochs import Plan
from akkafka.experiment.chain import Chain
from akkafka.experiment.tables import experiment
from akkafka.experiment.trial import Method, Trial, perform
from akkafka.gate.restore import restore
from akkafka.protocol.definition import Definition
from akkafka.protocol.settings import LaneSpec, ScheduleSpec, TrainLanes

from ..conftest import Run
from ..pipeline.fleet import fleet, journal
from ..pipeline.reference import Reference, same_bits

TAU = 7
DIGITS = DataSpec(name="digits")


class SlowSentinelBroker:
    """A broker for a sentinel that is slower than all gates together: it sees an output once all others wait behind it.

    So it is the bottleneck whatever the timing, and nothing has to be waited for by the clock.
    """

    def __init__(self, broker: Broker, window: int, batches: int) -> None:
        self._broker, self._window, self._batches = broker, window, batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def reader(self, name: str, **settings: int) -> Reader:
        """A slow one for outputs, any other as it is."""
        reader = await self._broker.reader(name, **settings)
        slow = _SlowReader(reader, self._window, self._batches)
        return cast("Reader", slow) if name.endswith("-outputs") else reader


class _SlowReader:
    def __init__(self, reader: Reader, window: int, batches: int) -> None:
        self._reader, self._window, self._batches = reader, window, batches
        self._waiting: list[Record] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def poll(self, *, timeout: float, max_records: int = 500) -> Sequence[Record]:
        if not self._all_are_here:
            self._waiting += await self._reader.poll(timeout=timeout)
        return [self._waiting.pop(0)] if self._all_are_here else []

    @property
    def _all_are_here(self) -> bool:
        last = bool(self._waiting) and self._waiting[-1].offset == self._batches - 1
        return last or len(self._waiting) == self._window

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._waiting.clear()
        self._reader.assign(positions)


@pytest.fixture
def kafka(kafka_bootstrap: str, run: Run) -> Iterator[Broker]:
    """The real one."""
    broker = KafkaBroker(Connection(bootstrap_servers=kafka_bootstrap))
    yield broker
    run(broker.close())


def definition_of(trial: Trial) -> Definition:
    """The trial's network with one lane and so many batches in flight that all gates are `TAU` late."""
    lanes = LaneSpec(train=(TrainLanes(),), validate_=1, test=0, predict=0, spare=0)
    plain = trial.network.definition(trial.method.optimizer, trial.seed)
    return plain.model_copy(update={"lanes": lanes, "schedule": ScheduleSpec(window=TAU + 1)})


async def through(broker: Broker, definition: Definition, name: str, epochs: int) -> tuple[list[Any], list[list[int]]]:
    """Weights that the real pipeline ends with, and each gate's staleness by update."""
    async with fleet(broker, definition, name) as running:
        gates = [running.start_gate(gate) for gate in range(running.network.gate_count)]
        batches = len(Reference(running.network).batches(epochs))
        slow = cast("Broker", SlowSentinelBroker(broker, TAU + 1, batches))
        await running.ended(running.start_training(epochs, broker=slow), timeout=300)
        await running.stop(*gates)
        records = [await journal(broker, running.network, gate) for gate in range(len(gates))]
        stale = [[version - record.hop.version for version, record in enumerate(own)] for own in records]
        states = [(await restore(broker, running.network, gate)).state for gate in range(len(gates))]
    return [state.params for state in states], stale


def test_behind_a_slow_sentinel_the_pipelines_weights_are_the_chains(run: Run, unique: Callable[[], str]) -> None:
    trial = _trial("dc-asgd-a lam 2", 1)
    definition = definition_of(trial)
    data = load(definition.data, "train")
    plan = Plan(len(data), None, definition.batch_size, definition.seed)
    chain = Chain(definition, trial.method.taus)
    chain.train(data, plan, 2 * plan.batches_per_epoch)
    weights, stale = run(through(MemoryBroker(), definition, unique(), 2))
    steady = [min(version, TAU) for version in range(len(stale[0]))]
    assert stale == [steady] * 5, "the sentinel was not the bottleneck"
    assert all(same_bits(own, other) for own, other in zip(weights, chain.weights, strict=True))


def _trial(method: str, seed: int, lr: float = 0.1) -> Trial:
    wanted = experiment("B")
    (found,) = (m for block in wanted.blocks for m in block.methods if m.name == method and m.optimizer["lr"] == lr)
    return Trial(wanted.network, found, seed)


@pytest.mark.slow
@pytest.mark.kafka
def test_experiment_b_over_the_real_pipeline_agrees_with_the_simulator(
    kafka: Broker, run: Run, unique: Callable[[], str]
) -> None:
    """SGD and DC-ASGD-a at delay 7 and lr .1, three seeds each through Kafka: networks of the same accuracy."""
    accuracies: dict[str, list[float]] = {"sgd": [], "dc-asgd-a lam 4": []}
    for method, found in accuracies.items():
        for seed in (1, 2, 3):
            trial = _trial(method, seed)
            weights, _ = run(through(kafka, definition_of(trial), unique(), trial.network.epochs))
            score = Chain(definition_of(trial), trial.method.taus).score(load(DIGITS, "validation"), weights)
            assert score.accuracy == perform(trial).accuracy
            found.append(100 * score.accuracy)
    assert mean(accuracies["dc-asgd-a lam 4"]) > mean(accuracies["sgd"]) + 2, accuracies


def test_an_undelayed_method_is_among_those_of_every_block() -> None:
    for name in "ABD":
        for block in experiment(name).blocks:
            methods: dict[str, Method] = {method.name: method for method in block.methods}
            assert not any(methods["sgd, no delay"].taus)
            assert any(method.optimizer["type"] == "sgd" and any(method.taus) for method in methods.values())
