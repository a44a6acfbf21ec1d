"""A topic of a real cluster, clients that share no memory, and what they ask the broker for."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from akkafka.broker.base import TopicPartition, TopicSpec
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker


@dataclass
class Asked:
    """Every fetch request: offset by partition, and how long the broker may wait."""

    requests: list[dict[int, int]] = field(default_factory=list)
    waits_ms: list[int] = field(default_factory=list)

    @property
    def names(self) -> list[set[int]]:
        """The partitions of each request."""
        return [set(parts) for parts in self.requests]

    def of(self, partition: int) -> list[int]:
        """The offsets from which it was asked for."""
        return [parts[partition] for parts in self.requests if partition in parts]


class Town:
    """A topic of three partitions, and brokers that share no memory."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.topic = topic
        self._bootstrap = bootstrap
        self._brokers = AsyncExitStack()

    async def __aenter__(self) -> Town:
        await self.broker().create([TopicSpec(self.topic, 3)])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._brokers.aclose()

    def broker(self) -> KafkaBroker:
        made = KafkaBroker(Connection(bootstrap_servers=self._bootstrap))
        self._brokers.push_async_callback(made.close)
        return made

    def part(self, number: int) -> TopicPartition:
        return TopicPartition(self.topic, number)
