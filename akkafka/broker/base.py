"""The broker's face: the few things that gates and sentinels need from a log, so that memory can stand in for Kafka.

Discipline that the protocol leans on (design, section 3): *a producer appends the message after s only if it knows that
s is in the log*. Hence `Producer` keeps the order of `send` within a partition and breaks as a whole: after the first
failure every later send fails too, and whoever owns it reads the log's end, makes a new producer, sends again in lane
order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from akkafka.errors import BrokerError, LogLostError

Headers = tuple[tuple[str, bytes], ...]
FETCH_AHEAD_BYTES = 16 << 20


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One record as read from the log."""

    topic: str
    partition: int
    offset: int
    value: bytes | None  # None: a tombstone of a compacted topic
    key: bytes | None = None
    headers: Headers = ()
    timestamp_ms: int = 0

    @property
    def where(self) -> TopicPartition:
        """Topic and partition."""
        return TopicPartition(self.topic, self.partition)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it is to be created."""

    name: str
    partitions: int
    settings: Mapping[str, str] = field(default_factory=dict)  # Kafka topic configs


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a reachable cluster says of itself."""

    cluster_id: str
    brokers: int
    version: str  # e.g. "4.2"; "memory" for the memory broker


class BrokerUnavailableError(BrokerError):
    """The broker did not answer in time; the caller waits, says so and tries again."""


class DeliveryError(BrokerError):
    """A record may or may not be in the log; its producer is broken and has to be replaced."""


class RecordTooLargeError(DeliveryError):
    """The record is larger than the topic takes; it is certainly not in the log. The producer stays usable."""


class OffsetGoneError(LogLostError):
    """A reader's position is outside of what the partition holds."""

    def __init__(self, where: TopicPartition, wanted: int, low: int, high: int) -> None:
        super().__init__(
            f"{where.topic}[{where.partition}]: offset {wanted} is gone, the log holds {low} to {high}",
            hint="The broker lost a part of its log, or it was trimmed by hand. `akkafka status` tells what is left.",
        )
        self.where, self.wanted, self.low, self.high = where, wanted, low, high

    @property
    def trimmed(self) -> bool:
        """What is wanted lay before what is held: others may have gone on and trimmed it while its reader slept."""
        return self.wanted < self.low


class Producer(Protocol):
    """An idempotent producer (acks=all)."""

    def send(
        self, where: TopicPartition, value: bytes | None, *, key: bytes | None = None, headers: Headers = ()
    ) -> asyncio.Future[int]:
        """Append; never blocks. The future gives the record's offset once it is acknowledged.

        It raises RecordTooLargeError, or DeliveryError after which the whole producer is broken.
        """

    @property
    def broken(self) -> bool:
        """True after the first DeliveryError."""

    def pending(self) -> int:
        """Bytes handed to `send` and not yet acknowledged: what bounds a sender's memory."""

    async def close(self, *, timeout: float = 5.0) -> None:
        """Flush within `timeout` seconds, then let go whatever happens; never hangs, never raises."""


class Reader(Protocol):
    """A consumer without a group: explicit partitions, explicit positions."""

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these offsets from now on (replaces what was before; records of dropped or moved
        partitions that were already fetched are never returned)."""

    def pause(self, parts: Iterable[TopicPartition]) -> None:
        """Hold these partitions back: bounded memory."""

    def resume(self, parts: Iterable[TopicPartition]) -> None:
        """Go on with these partitions where they were."""

    async def poll(self, *, timeout: float, max_records: int = 500) -> Sequence[Record]:
        """Records, in order of offset within a partition, as soon as any is there; empty after `timeout` seconds.

        Raises OffsetGoneError; BrokerUnavailableError if the broker has been away for longer than the connection's
        patience (the reader stays usable: call again).
        """

    def position(self, where: TopicPartition) -> int:
        """Offset of the next record that `poll` returns for this partition."""

    async def close(self) -> None:
        """Let go; never hangs, never raises."""


class Membership(Protocol):
    """One member of a consumer group that only shares out lanes; it reads no data and commits nothing."""

    async def changed(self) -> frozenset[int]:
        """Wait for the next change of this member's lanes and return them all (maybe none); the first call returns the
        first lanes. Lanes are kept through a rebalance that does not move them."""

    @property
    def lanes(self) -> frozenset[int]:
        """The lanes now."""

    async def close(self) -> None:
        """Leave the group at once, so that others take over without waiting for a session to end."""


class Broker(Protocol):
    """A connection to a log. All awaits are bounded; all errors are akkafka's own."""

    @property
    def away(self) -> bool:
        """The last request was not answered: whatever else is waited for, the broker is."""

    async def cluster(self) -> Cluster:
        """Reach the cluster, or raise BrokerUnavailableError with what was tried."""

    async def topics(self) -> Mapping[str, int]:
        """Name and partition count of every topic (internal ones left out)."""

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        """Create what is missing; a topic that is there with another partition count raises BrokerError."""

    async def delete(self, names: Collection[str]) -> None:
        """Delete topics and wait until they are gone."""

    async def bounds(self, parts: Collection[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """(first offset held, end offset) of each partition."""

    async def trim(self, before: Mapping[TopicPartition, int]) -> None:
        """Delete the records before these offsets (delete_records)."""

    async def producer(self, name: str) -> Producer:
        """A new idempotent producer; `name` is for logs."""

    async def reader(
        self, name: str, *, max_wait_ms: int = 100, min_bytes: int = 1, ahead_bytes: int = FETCH_AHEAD_BYTES
    ) -> Reader:
        """A new reader with nothing assigned; `max_wait_ms` bounds the long poll, and so the latency of `assign`.

        The broker answers once it has `min_bytes`: more than 1 saves requests where nobody is in a hurry.
        `ahead_bytes`, of a request and of what may lie unread, bounds memory; one larger record comes all the same.
        """

    async def join(self, group: str, topic: str, lanes: Collection[int]) -> Membership:
        """Join `group`; its members share out just the lanes of `topic` that each of them can do, evenly."""

    async def close(self) -> None:
        """Close everything made from this connection."""
