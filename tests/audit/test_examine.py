"""An audit of a log that is being written holds, too; the command says it with words, JSON and exit code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from akkafka.audit.examine import examine
from akkafka.audit.report import facts_of
from akkafka.broker import trimming
from akkafka.broker.base import Broker, TopicPartition
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.memory import MemoryBroker
from tests.cli.conftest import Akkafka, akkafka, small_config
from tests.pipeline.fleet import fleet, small_definition, train_through

from ..conftest import Run

__all__ = ["akkafka", "small_config"]
STALE = ("schedule.window=3", "lanes.train=2", "snapshots.every_bytes=40000")


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest, run: Run) -> Iterator[Broker]:
    """Both brokers in turn."""
    if request.param == "memory":
        yield MemoryBroker()
        return
    kafka = KafkaBroker(Connection(bootstrap_servers=request.getfixturevalue("kafka_bootstrap")))
    yield kafka
    run(kafka.close())


def test_an_audit_holds_while_training_runs_and_afterwards(
    broker: Broker, run: Run, unique: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "EVERY_S", 0.01)  # while it is read, too

    async def work() -> tuple[list[dict[str, Any]], dict[str, Any]]:
        async with fleet(broker, small_definition(*STALE), unique()) as running:
            network = running.network
            gates = [running.start_gate(gate) for gate in range(network.gate_count)]
            trainer = running.start_training(None)
            where, low = TopicPartition(network.topics.backward(1), 0), 0
            during: list[dict[str, Any]] = []
            async with asyncio.timeout(120.0):
                while not low or sum(_open(facts) for facts in during) < 3:
                    during.append(facts_of(await examine(broker, network)))
                    low, _ = (await broker.bounds([where]))[where]
                    await asyncio.sleep(0)
            await running.stop(trainer)
            await running.stop(*gates)
            return during, facts_of(await examine(broker, network))

    during, after = run(work())
    assert all(facts["holds"] for facts in [*during, after]), [facts["faults"] for facts in during]
    for lane in after["lanes"]:
        assert (lane["open"], lane["epochs_whole"]) == (0, lane["issued"] // 3)


def _open(facts: dict[str, Any]) -> bool:
    """It was looked at in the middle."""
    return any(lane["open"] for lane in facts["lanes"])


@pytest.mark.kafka
def test_the_commands_tell_their_verdict_and_leave_with_it(
    akkafka: Akkafka, kafka_bootstrap: str, run: Run, unique: Callable[[], str]
) -> None:
    name, at = unique(), ("--bootstrap-servers", kafka_bootstrap)
    kafka = KafkaBroker(Connection(bootstrap_servers=kafka_bootstrap))
    network, states = run(train_through(kafka, small_definition(*STALE), name, epochs=2))

    whole = akkafka("audit", "--network", name, *at)
    assert whole.code == 0 and whole.out.splitlines()[-1] == "all of it holds", whole
    assert json.loads(akkafka("audit", "--network", name, "--json", *at).out)["holds"] is True
    rebuilt = json.loads(akkafka("replay", "--gate", "1", "--network", name, "--json", *at).out)
    assert (rebuilt["equal"], rebuilt["version"]) == (True, states[1].version)
    assert "equal: snapshot of version" in akkafka("replay", "--gate", "1", "--network", name, *at).out
    assert akkafka("replay", "--gate", "7", "--network", name, *at).code == 2
    assert akkafka("audit", "--network", "nowhere", *at).code == 7

    where = TopicPartition(network.topics.journal(1), 0)
    run(kafka.trim({where: states[1].next_offset}))  # by hand, and too far
    broken = akkafka("audit", "--network", name, *at)
    assert broken.code == 9 and "fault: gate 1, offset" in broken.out and "cut too early" in broken.out
    refused = akkafka("replay", "--gate", "1", "--from-zero", "--network", name, *at)
    assert refused.code == 8 and "--keep-log" in refused.err
    run(kafka.close())
