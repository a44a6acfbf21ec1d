"""Weights that a gate had on its way are those that a replay gives, with the time at which their record was written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from akkafka.audit.past import past
from akkafka.audit.replay import replay
from akkafka.broker.base import Record, TopicPartition
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.network import Network
from akkafka.broker.reading import read_to_end, reading
from akkafka.errors import ReplayError
from akkafka.gate.fingerprint import fingerprint
from tests.pipeline.fleet import small_definition, train_through

from ..conftest import Run

OVERRIDES = ("schedule.window=3", "optimizer={type='dc-asgd-a', lr=0.2}")


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def network(broker: MemoryBroker, run: Run, unique: Callable[[], str]) -> Network:
    found, _ = run(train_through(broker, small_definition(*OVERRIDES), unique(), epochs=2, jitter=3))
    return found


async def records_of(broker: MemoryBroker, where: TopicPartition) -> list[Record]:
    async with reading(broker, "test") as reader:
        return [record async for record in read_to_end(broker, reader, where)]


@pytest.mark.parametrize("every", [1, 4])
def test_each_version_is_what_a_replay_gives_and_has_its_records_time(
    broker: MemoryBroker, network: Network, run: Run, every: int
) -> None:
    journal = TopicPartition(network.topics.journal(1), 0)
    records = run(records_of(broker, journal))
    found = run(past(broker, network, 1, every))
    assert list(found) == list(range(every, len(records) + 1, every)) and len(records) >= 8
    for version, made in found.items():
        assert fingerprint(made.state) == fingerprint(run(replay(broker, network, 1, to=version)).state)
        assert made.at_ms == records[version - 1].timestamp_ms


def test_a_journal_whose_head_is_gone_has_no_past(broker: MemoryBroker, network: Network, run: Run) -> None:
    run(broker.trim({TopicPartition(network.topics.journal(0), 0): 2}))
    with pytest.raises(ReplayError, match=r"offset 2 where 0 was expected") as caught:
        run(past(broker, network, 0, 1))
    assert "--keep-log" in caught.value.hint
