"""A log in memory with Kafka's rules, without asyncio: quick enough for thousands of simulated schedules a minute."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from akkafka.broker.base import (
    Headers,
    OffsetGoneError,
    Record,
    RecordTooLargeError,
    TopicPartition,
    TopicSpec,
)
from akkafka.broker.sharing import share
from akkafka.errors import BrokerError

MAX_RECORD_BYTES = 64 * 1024 * 1024
RECORD_OVERHEAD_BYTES = 70  # what Kafka adds to a record that is alone in its batch


def wall_clock_ms() -> int:
    """Milliseconds since 1970, as a producer stamps its records."""
    return time.time_ns() // 1_000_000


class Partition:
    """Records in order of offset; gaps come from compaction only."""

    __slots__ = ("end", "low", "offsets", "records", "wakers")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.offsets: list[int] | None = None  # kept only once compaction has made gaps
        self.low = 0
        self.end = 0
        self.wakers: dict[int, Callable[[], None]] = {}

    def index(self, offset: int) -> int:
        """Place in `records` of the first record at or after `offset`."""
        if self.offsets is not None:
            return bisect_left(self.offsets, offset)
        first = self.end - len(self.records)
        return max(0, offset - first)


@dataclass(slots=True)
class Topic:
    """A topic with its settings; the record limit is looked up once."""

    spec: TopicSpec
    max_bytes: int
    policy: frozenset[str]
    partitions: list[Partition]


@dataclass(slots=True)
class Group:
    """Members of a consumer group on one topic: what they can do and what they were given."""

    wants: dict[str, frozenset[int]] = field(default_factory=dict)
    shares: dict[str, frozenset[int]] = field(default_factory=dict)
    tell: dict[str, Callable[[frozenset[int]], None]] = field(default_factory=dict)


class MemoryLog:
    """Topics, partitions, offsets, headers, trimming, compaction and groups, all synchronous.

    `clock` gives a record's timestamp in ms. Not thread-safe: one thread (one event loop) per log.
    """

    def __init__(self, *, clock: Callable[[], int] = wall_clock_ms, max_record_bytes: int = MAX_RECORD_BYTES) -> None:
        self._clock = clock
        self._max_record_bytes = max_record_bytes
        self._topics: dict[str, Topic] = {}
        self._parts: dict[tuple[str, int], Partition] = {}  # looked up with a TopicPartition, which is a tuple
        self._groups: dict[tuple[str, str], Group] = {}
        self._members = 0

    # -- topics

    def create(self, spec: TopicSpec) -> None:
        """Create the topic unless it is there; BrokerError if it is there with another partition count."""
        there = self._topics.get(spec.name)
        if there is not None:
            if len(there.partitions) != spec.partitions:
                raise BrokerError(
                    f"topic {spec.name} has {len(there.partitions)} partitions, expected {spec.partitions}",
                    hint="It was made by another definition: reset the network or give it another name.",
                )
            return
        if spec.partitions < 1:
            raise BrokerError(f"topic {spec.name}: at least 1 partition is needed, got {spec.partitions}")
        limit = int(spec.settings.get("max.message.bytes", self._max_record_bytes))
        policy = frozenset(spec.settings.get("cleanup.policy", "delete").split(","))
        topic = Topic(spec, limit, policy, [Partition() for _ in range(spec.partitions)])
        self._topics[spec.name] = topic
        for number, part in enumerate(topic.partitions):
            self._parts[TopicPartition(spec.name, number)] = part

    def delete(self, name: str) -> None:
        """Delete the topic with all it holds; a missing one is as good as deleted. Waiting readers are woken."""
        topic = self._topics.pop(name, None)
        if topic is None:
            return
        for number, part in enumerate(topic.partitions):
            del self._parts[name, number]
            _wake(part)

    def topics(self) -> dict[str, int]:
        """Name and partition count of every topic."""
        return {name: len(topic.partitions) for name, topic in self._topics.items()}

    def settings(self, name: str) -> Mapping[str, str]:
        """Settings the topic was created with."""
        return self._topic(name).spec.settings

    # -- records

    def append(
        self, where: TopicPartition, value: bytes | None, key: bytes | None = None, headers: Headers = ()
    ) -> int:
        """Append one record and return its offset; wakes who waits for this partition.

        RecordTooLargeError beyond the topic's `max.message.bytes`; BrokerError without such a partition, or without a
        key in a compacted topic.
        """
        part = self._part(where)
        topic = self._topics[where[0]]
        self._check(topic, value, key, headers)
        offset = part.end
        part.records.append(Record(where[0], where[1], offset, value, key, headers, self._clock()))
        if part.offsets is not None:
            part.offsets.append(offset)
        part.end = offset + 1
        if part.wakers:
            _wake(part)
        return offset

    def check(self, where: TopicPartition, value: bytes | None, key: bytes | None, headers: Headers) -> None:
        """Raise what `append` would raise for this record."""
        self._part(where)
        self._check(self._topics[where[0]], value, key, headers)

    def read(self, where: TopicPartition, offset: int, limit: int = 500) -> list[Record]:
        """Up to `limit` records at or after `offset`; OffsetGoneError if it is outside of what the partition holds."""
        part = self._part(where)
        if not part.low <= offset <= part.end:
            raise OffsetGoneError(TopicPartition(*where), offset, part.low, part.end)
        if offset == part.end:
            return []
        start = part.index(offset)
        return part.records[start : start + limit]

    def bounds(self, where: TopicPartition) -> tuple[int, int]:
        """(First offset held, end offset)."""
        part = self._part(where)
        return part.low, part.end

    def trim(self, where: TopicPartition, before: int) -> None:
        """Drop the records before this offset, as Kafka's delete_records does.

        BrokerError for a topic that is compacted only, or beyond the end.
        """
        part = self._part(where)
        if "delete" not in self._topics[where[0]].policy:
            raise BrokerError(f"{where[0]} is compacted only (no cleanup.policy=delete): its records cannot be trimmed")
        if before > part.end:
            raise BrokerError(f"{where[0]}[{where[1]}]: cannot trim before offset {before}, it ends at {part.end}")
        if before <= part.low:
            return
        cut = part.index(before)
        del part.records[:cut]
        if part.offsets is not None:
            del part.offsets[:cut]
        part.low = before

    def compact(self, name: str, *, drop_tombstones: bool = True) -> None:
        """Keep the newest record of every key (at any time Kafka may do so with a compacted topic); offsets stay."""
        for part in self._topic(name).partitions:
            newest = {record.key: record.offset for record in part.records}
            part.records = [
                record
                for record in part.records
                if newest[record.key] == record.offset and not (drop_tombstones and record.value is None)
            ]
            part.offsets = [record.offset for record in part.records]

    def lose(self, where: TopicPartition, end: int) -> None:
        """Forget the records at and after `end`: what a broker does that lost a part of its log (for tests)."""
        part = self._part(where)
        cut = part.index(end) if end < part.end else len(part.records)
        del part.records[cut:]
        if part.offsets is not None:
            del part.offsets[cut:]
        part.end = min(part.end, end)
        part.low = min(part.low, part.end)

    # -- waiting

    def watch(self, parts: Iterable[TopicPartition], owner: object, wake: Callable[[], None]) -> None:
        """Call `wake` whenever one of these partitions changes, until `unwatch` by the same owner."""
        for where in parts:
            part = self._parts.get(where)
            if part is not None:
                part.wakers[id(owner)] = wake

    def unwatch(self, parts: Iterable[TopicPartition], owner: object) -> None:
        """Undo `watch`."""
        for where in parts:
            part = self._parts.get(where)
            if part is not None:
                part.wakers.pop(id(owner), None)

    # -- groups

    def join(self, group: str, topic: str, lanes: Collection[int], tell: Callable[[frozenset[int]], None]) -> str:
        """Add a member and share the lanes out anew; `tell` is called with its lanes now and at every rebalance."""
        count = len(self._topic(topic).partitions)
        there = self._groups.setdefault((group, topic), Group())
        self._members += 1
        member = f"member-{self._members:06d}"
        there.wants[member] = frozenset(lane for lane in lanes if lane < count)
        there.tell[member] = tell
        self._rebalance(there)
        return member

    def leave(self, group: str, topic: str, member: str) -> None:
        """Remove a member (it left, or its session ended) and share its lanes out to the others."""
        there = self._groups.get((group, topic))
        if there is None or member not in there.wants:
            return
        del there.wants[member], there.tell[member]
        self._rebalance(there)

    def members(self, group: str, topic: str) -> dict[str, frozenset[int]]:
        """Who is in the group, with which lanes."""
        there = self._groups.get((group, topic))
        return dict(there.shares) if there is not None else {}

    def _rebalance(self, group: Group) -> None:
        group.shares = share(group.wants, group.shares)
        for member, tell in list(group.tell.items()):
            tell(group.shares[member])

    # -- lookup

    def _topic(self, name: str) -> Topic:
        try:
            return self._topics[name]
        except KeyError:
            raise BrokerError(f"topic {name} does not exist", hint="Define the network first.") from None

    def _part(self, where: TopicPartition) -> Partition:
        try:
            return self._parts[where]
        except KeyError:
            count = len(self._topic(where[0]).partitions)
            raise BrokerError(f"topic {where[0]} has {count} partitions, there is no {where[1]}") from None

    def _check(self, topic: Topic, value: bytes | None, key: bytes | None, headers: Headers) -> None:
        size = len(value or b"") + len(key or b"") + RECORD_OVERHEAD_BYTES
        for name, content in headers:
            size += len(name) + len(content) + 2
        if size > topic.max_bytes:
            raise RecordTooLargeError(
                f"{topic.spec.name}: a record of {size} bytes, at most {topic.max_bytes} are taken",
                hint="Make batches smaller, or raise the topic's max.message.bytes.",
            )
        if key is None and "compact" in topic.policy:
            raise BrokerError(f"{topic.spec.name} is compacted: every record needs a key")


def _wake(part: Partition) -> None:
    for wake in list(part.wakers.values()):
        wake()
