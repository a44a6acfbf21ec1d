"""What the cost of journal and snapshots is compared with: gates that compute the same, and keep nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from akkafka.broker.base import TopicPartition
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.network import define
from akkafka.cli.bench.bare import BareGate
from akkafka.cli.bench.cost import Request, cost, lines, report, share
from akkafka.cli.bench.machine import Calm
from akkafka.cli.bench.pipeline import Steady
from akkafka.gate.state import GateState
from akkafka.sentinel.source import Wanted
from akkafka.sentinel.train import TrainSentinel

from ..conftest import Run
from ..pipeline.fleet import small_definition, train_through


def steady(samples: int, cpu: float) -> Steady:
    return Steady(10.0, 50, samples, {"gate-0": cpu, "broker": 2 * cpu}, {}, 30.0, {}, {}, Calm(0.0, 0.0))


def test_the_share_is_of_throughput_by_the_median_of_the_rounds() -> None:
    whole, bare = [steady(900, 0.2), steady(100, 0.2), steady(850, 0.2)], [steady(1000, 0.1)] * 3
    assert share(whole, bare) == pytest.approx(0.15)
    told = lines(whole, bare)
    assert "15.0%" in told[1] and told[-1].split() == ["all", "12.00", "6.00", "+6.00"]
    assert [one["samples_per_second"] for one in report({"whole": whole, "bare": bare})["rounds"]["whole"]] == [
        90,
        10,
        85,
    ]


async def bare_states(broker: MemoryBroker, name: str) -> tuple[list[GateState], dict[str, int]]:
    """After an epoch: what the gates have in memory, and how many records their journals and snapshots have."""
    network = await define(broker, small_definition(), name)
    gates = [BareGate(broker, network, gate, f"bare-{gate}") for gate in range(network.gate_count)]
    leave = asyncio.Event()
    hosted = [asyncio.ensure_future(gate.run(leave)) for gate in gates]
    trainer = TrainSentinel(broker, network, Wanted(), "train", epochs=1, window=None)
    async with asyncio.timeout(60.0):
        await trainer.run(asyncio.Event())
        leave.set()
        await asyncio.gather(*hosted)
    kept = [
        TopicPartition(topic(gate), 0)
        for topic in (network.topics.journal, network.topics.snapshot)
        for gate in range(3)
    ]
    return [gate._core.certain for gate in gates], {
        where.topic: high for where, (_, high) in (await broker.bounds(kept)).items()
    }


def test_bare_gates_learn_the_same_weights_and_keep_nothing(run: Run, unique: Callable[[], str]) -> None:
    states, kept = run(bare_states(MemoryBroker(), unique()))
    assert len(kept) == 6 and not any(kept.values())
    _, expected = run(train_through(MemoryBroker(), small_definition(), unique(), 1))
    for bare, whole in zip(states, expected, strict=True):
        assert bare.version == whole.version > 0
        for name, array in whole.params.items():
            np.testing.assert_array_equal(bare.params[name], array)


@pytest.mark.kafka
def test_both_trainings_take_turns_over_one_broker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cost(Request(Path("digits"), (), None, None, 2.0, 2, tmp_path / "cost.json"))
    told = json.loads((tmp_path / "cost.json").read_text())
    assert told["share"] < 1.0
    for name in ("whole", "bare"):
        assert [one["batches"] > 0 for one in told["rounds"][name]] == [True, True], name
        assert {"gate-0", "gate-1", "gate-2", "broker"} <= told["rounds"][name][0]["cpu_seconds"].keys()
    assert "of the throughput" in capsys.readouterr().out
