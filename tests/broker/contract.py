"""What the contract's tests play on: brokers on one log, of either kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from akkafka.broker.base import Broker, Producer, Reader, Record, TopicPartition, TopicSpec

if TYPE_CHECKING:
    from tests.conftest import Run

LIMIT = 60.0  # s; a wait that takes so long has failed


@dataclass
class World:
    """Brokers on one log, closed at the end, and topics of this test alone."""

    run: Run
    unique: Callable[[], str]
    make: Callable[[], Broker]
    brokers: list[Broker] = field(default_factory=list)

    def broker(self) -> Broker:
        self.brokers.append(self.make())
        return self.brokers[-1]

    async def topic(self, broker: Broker, partitions: int = 1, settings: Mapping[str, str] | None = None) -> str:
        name = self.unique()
        await broker.create([TopicSpec(name, partitions, settings or {})])
        return name

    async def close(self) -> None:
        for broker in self.brokers:
            await broker.close()


async def append(producer: Producer, where: TopicPartition, values: Sequence[bytes]) -> list[int]:
    return list(await asyncio.gather(*(producer.send(where, value) for value in values)))


async def take(reader: Reader, count: int, max_records: int = 500) -> list[Record]:
    taken: list[Record] = []
    async with asyncio.timeout(LIMIT):
        while len(taken) < count:
            taken += await reader.poll(timeout=LIMIT, max_records=max_records)
    return taken


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]
