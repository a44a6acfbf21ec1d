"""A reader of explicit partitions at explicit positions: fetches ahead within a bound, never returns what is stale.

What a producer of the same broker writes it takes from memory (neighbours.py). A partition that is read to where such a
neighbour has just written is *fed*: the log is not asked for it until the neighbour has been silent for as long as a
long poll takes, so what others write comes at most one long poll later than it would. Where others do write, which a
jump in the neighbour's offsets tells, it is not listened to for a while: each of their records would hold up the rest
for a long poll. What there is no room for comes from the log later; behind it the neighbour is heard again.

Partitions of which nothing has come for a while are asked for by requests of their own, over a connection of their own:
a broker looks at each partition that a request names, and most lanes of a network are at rest. Of one that wakes the
first records come at once, the next ones when it has joined the others: behind the request that is in flight for them.
"""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from aiokafka import errors as kafka_errors
from aiokafka.protocol.offset import OffsetRequest

from akkafka.broker import batches, requests
from akkafka.broker.base import BrokerUnavailableError, OffsetGoneError, Record, TopicPartition
from akkafka.broker.channel import Answer, Channel
from akkafka.broker.link import Link
from akkafka.broker.neighbours import Neighbours
from akkafka.errors import AkkafkaError, BrokerError, LogLostError

PARTITION_FETCH_BYTES = 64 * 1024 * 1024  # at least a topic's limit, or its largest records come one by one
PAUSED_BYTES = 1024 * 1024  # fetched of a paused partition, so that it goes on without waiting for the broker
UNKNOWN_TOPIC_GRACE_S = 5.0  # at most: a broker that has just started does not know its topics yet
BACKOFF_S = 0.1
SHARED_S = 10.0  # after others have written to a partition: so long the log is asked for everything
QUIET_S = 1.0  # without a record: the partition no longer travels in the requests of those of which some come
BUSY_LINE, QUIET_LINE = 0, 1
EARLIEST, LATEST = -2, -1
Way = tuple[int, int]
"""A broker's id (-1: whoever knows the leaders), and the line of the connection to it."""


@dataclass(slots=True)
class Chunk:
    """Records of one answer that are not yet returned, and the offset behind them."""

    records: deque[Record]
    next_offset: int
    size: int


@dataclass(slots=True, eq=False)
class Part:
    """One assigned partition; a new one is made by every `assign`, so that late answers find nobody."""

    where: TopicPartition
    position: int  # of the next record that `poll` returns
    fetch_at: int  # of the next record to fetch
    heard_at: float  # when records came last; before: when it was assigned
    asked: bool = False  # a request for it is in flight
    chunks: deque[Chunk] = field(default_factory=deque)
    unread: int = 0  # bytes
    paused: bool = False
    error: AkkafkaError | None = None  # raised by every poll once the chunks are read
    missing_since: float | None = None
    told: int | None = None  # offset behind what a neighbour wrote last, once we were in step with it
    fed_until: float = 0.0  # so long the log is not asked, if we have read so far
    shared_until: float = 0.0  # so long only the log counts: others write, too

    def fed(self, now: float) -> bool:
        """What comes next comes from a neighbour."""
        return self.told is not None and self.told <= self.fetch_at and now < self.fed_until

    def add(self, records: deque[Record], end: int, size: int) -> None:
        """Records to return, and where to go on; there may be none before `end`."""
        self.heard_at = time.monotonic()
        self.chunks.append(Chunk(records, end, size))
        self.fetch_at = end
        self.unread += size


@dataclass(frozen=True, slots=True)
class LongPoll:
    """How a reader asks."""

    max_wait_ms: int
    min_bytes: int
    ahead_bytes: int  # per request, and per reader what may lie unread before it fetches no more


class KafkaReader:
    """base.Reader on a link of its own; at most two long polls per broker are in flight."""

    def __init__(
        self, link: Link, name: str, poll: LongPoll, near: Neighbours, forget: Callable[[KafkaReader], None]
    ) -> None:
        self.name = name
        self._link = link
        self._near = near
        self._forget = forget
        self._poll = poll
        self._parts: dict[TopicPartition, Part] = {}
        self._fetches: dict[Way, asyncio.Task[None] | None] = {}  # in flight; None: no task
        self._waiter: asyncio.Future[None] | None = None  # a poll that waits
        self._quiet_since: float | None = None  # since when no request was answered
        self._away: BrokerUnavailableError | None = None
        self._closed = False
        near.join(self)

    async def open(self) -> None:
        """Reach the cluster; BrokerUnavailableError if it does not answer within the patience."""
        await self._link.open()

    # -- what is read

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """See base.Reader; a long poll that is in flight delays the first records by at most its `max_wait_ms`."""
        self._parts = {}
        now = time.monotonic()
        for where, offset in positions.items():
            part = Part(TopicPartition(*where), offset, offset, now)
            self._parts[part.where] = part
        self._fetch()

    def pause(self, parts: Iterable[TopicPartition]) -> None:
        """See base.Reader; partitions that are not assigned are ignored."""
        for where in parts:
            if where in self._parts:
                self._parts[where].paused = True

    def resume(self, parts: Iterable[TopicPartition]) -> None:
        """See base.Reader; partitions that are not assigned are ignored."""
        for where in parts:
            if where in self._parts:
                self._parts[where].paused = False
        self._wake()
        self._fetch()

    def position(self, where: TopicPartition) -> int:
        """See base.Reader; BrokerError for a partition that is not assigned."""
        try:
            return self._parts[where].position
        except KeyError:
            raise BrokerError(f"reader {self.name} does not read {where[0]}[{where[1]}]") from None

    # -- reading

    async def poll(self, *, timeout: float, max_records: int = 500) -> Sequence[Record]:
        """See base.Reader."""
        await asyncio.sleep(0)  # a reader that always finds data must not starve the event loop
        started = time.monotonic()
        while True:
            if self._closed:
                raise BrokerError(f"reader {self.name} is closed")
            taken = self._take(max_records)
            self._fetch()
            if taken:
                return taken
            self._raise_error()
            now = time.monotonic()
            self._raise_if_away(now, started, timeout)
            if now >= started + timeout:
                return taken
            await self._wait(min(started + timeout - now, self._link.settings.patience_s, self._fed_for(now)))

    async def close(self) -> None:
        """See base.Reader."""
        self._closed = True
        self._parts = {}
        self._near.leave(self)
        self._wake()
        tasks = [task for task in self._fetches.values() if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        await self._link.close()
        self._forget(self)

    async def _wait(self, seconds: float) -> None:
        """Until something has come, or so long."""
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_later(seconds, self._wake)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self, limit: int) -> list[Record]:
        taken: list[Record] = []
        for where in list(self._parts):
            part = self._parts[where]
            if part.paused or not part.chunks or len(taken) >= limit:
                continue
            self._take_from(part, taken, limit)
            self._parts[where] = self._parts.pop(where)  # to the back: the others come first next time
        return taken

    def _take_from(self, part: Part, taken: list[Record], limit: int) -> None:
        while part.chunks and len(taken) < limit:
            chunk = part.chunks[0]
            while chunk.records and len(taken) < limit:
                taken.append(chunk.records.popleft())
                part.position = taken[-1].offset + 1
            if not chunk.records:
                part.chunks.popleft()
                part.position = chunk.next_offset
                part.unread -= chunk.size

    def _raise_error(self) -> None:
        for part in self._parts.values():
            if part.error is not None and not part.chunks and not part.paused:
                raise part.error

    def _raise_if_away(self, now: float, started: float, timeout: float) -> None:
        """Raise if nothing was answered for too long; not before this poll has waited a little itself, so that a loop
        around `poll` does not spin."""
        if self._quiet_since is None or now - started < min(timeout, 1.0):
            return
        quiet = now - self._quiet_since
        if quiet > self._link.settings.patience_s + self._poll.max_wait_ms / 1000:
            reason = self._away or f"{self._link.settings.bootstrap_servers} is silent"
            raise BrokerUnavailableError(
                f"reader {self.name} has had no answer for {quiet:.0f} s: {reason}",
                hint=self._away.hint if self._away is not None else "Is the broker stopped or frozen?",
            )

    # -- what neighbours write

    def reads(self, where: TopicPartition) -> bool:
        """See `Listener`; who lets records gather wants few answers, not the earliest."""
        return where in self._parts and self._poll.min_bytes <= 1

    def heard(self, where: TopicPartition, records: Sequence[Record], size: int) -> None:
        """See `Listener`: take what comes next if there is room, ask the log for it otherwise."""
        part, now = self._parts[where], time.monotonic()
        first, end = records[0].offset, records[-1].offset + 1
        if part.error is not None or now < part.shared_until:
            return
        if part.told is None and not first <= part.fetch_at <= end:
            return  # the log is asked: for what lies before, or to tell that our place is beyond its end
        if part.told not in (None, first):  # others wrote in between, or the log has lost its end
            part.told, part.shared_until = None, now + SHARED_S
        else:
            part.told, part.fed_until = end, now + self._poll.max_wait_ms / 1000
            if first <= part.fetch_at < end and self._unread < self._poll.ahead_bytes:
                self._take_in(part, records, size)
        if not part.fed(now):
            self._fetch()

    def _take_in(self, part: Part, records: Sequence[Record], size: int) -> None:
        begin = part.fetch_at
        part.add(deque(record for record in records if record.offset >= begin), records[-1].offset + 1, size)
        part.missing_since = None
        if not self._fetches:  # nothing is asked for, and the broker has answered the neighbour
            self._quiet_since = self._away = None
        self._wake()

    @property
    def _unread(self) -> int:
        return sum(part.unread for part in self._parts.values())

    def _fed_for(self, now: float) -> float:
        """Seconds until the log is to be asked for the first of the partitions that are fed; inf: none is."""
        return min((part.fed_until - now for part in self._parts.values() if part.fed(now)), default=math.inf)

    # -- fetching

    def _fetch(self) -> None:
        """Start a request on every way on which something is wanted and none is in flight."""
        if self._closed:
            return
        # what lies paused does not count: it is bounded by itself, and must not hold back the others
        if sum(part.unread for part in self._parts.values() if not part.paused) >= self._poll.ahead_bytes:
            return
        for way, parts in self._wanted().items():
            if way not in self._fetches:
                node, line = way
                channel = None if node == -1 else self._link.channel(node, line)
                if channel is not None:
                    self._ask(way, channel, parts)
                else:
                    # made when awaited: a task that is cancelled before its first step would leave it un-awaited
                    self._begin(way, partial(self._find_leaders, parts) if node == -1 else self._connecting(way))

    def _wanted(self) -> dict[Way, list[Part]]:
        """What is to be asked for; what is quiet goes apart where there is something busy."""
        now = time.monotonic()
        found: list[tuple[int, bool, Part]] = []
        busy: set[int] = set()  # nodes
        for part in self._parts.values():
            quiet = now - part.heard_at > QUIET_S
            if part.asked and quiet:
                continue
            leader = self._link.leader(part.where)
            node = -1 if leader is None else leader
            if not quiet:
                busy.add(node)
            bound = PAUSED_BYTES if part.paused else self._poll.ahead_bytes
            if not part.asked and part.error is None and part.unread < bound and not part.fed(now):
                found.append((node, quiet, part))
        wanted: dict[Way, list[Part]] = {}
        for node, quiet, part in found:
            line = QUIET_LINE if quiet and node in busy and node != -1 else BUSY_LINE
            wanted.setdefault((node, line), []).append(part)
        return wanted

    def _connecting(self, way: Way) -> Callable[[], Awaitable[None]]:
        return partial(self._link.connect, *way)

    def _begin(self, way: Way, work: Callable[[], Awaitable[None]]) -> None:
        """Have a task do what needs waiting."""
        guarded = self._guarded(way, work)
        self._fetches[way] = asyncio.get_running_loop().create_task(guarded, name=f"reader {self.name}")

    async def _guarded(self, way: Way, work: Callable[[], Awaitable[None]]) -> None:
        """Do it, and start the next request; keep account of whether anybody answers."""
        self._asking()
        try:
            await work()
            self._quiet_since = self._away = None
        except BrokerUnavailableError as error:
            self._away = error
            await asyncio.sleep(BACKOFF_S)
            await self._refresh_quietly()
        except Exception as error:  # a fault of ours or of aiokafka must not leave the reader silent
            self._fail(error if isinstance(error, AkkafkaError) else BrokerError(f"unexpected {error!r}"))
        finally:
            del self._fetches[way]
        self._fetch()

    def _asking(self) -> None:
        if self._quiet_since is None:
            self._quiet_since = time.monotonic()

    def _fail(self, error: AkkafkaError) -> None:
        for part in self._parts.values():
            part.error = error
        self._wake()

    async def _refresh_quietly(self) -> None:
        try:
            await self._link.refresh({where.topic for where in self._parts})
        except AkkafkaError:
            return  # the next fetch tells

    async def _find_leaders(self, parts: Sequence[Part]) -> None:
        await self._link.refresh({part.where.topic for part in parts})
        leaderless = [part for part in parts if self._link.leader(part.where) is None]
        for part in leaderless:
            if part.where.partition >= self._link.partitions(part.where.topic):
                self._missing(part)
        if leaderless:
            await asyncio.sleep(BACKOFF_S)

    def _missing(self, part: Part) -> None:
        now = time.monotonic()
        if part.missing_since is None:
            part.missing_since = now
        if now - part.missing_since > min(UNKNOWN_TOPIC_GRACE_S, self._link.settings.patience_s):
            topic, number = part.where
            part.error = BrokerError(f"reader {self.name}: there is no {topic}[{number}]", hint="Was it deleted?")
            self._wake()

    def _ask(self, way: Way, channel: Channel, parts: Sequence[Part]) -> None:
        self._asking()
        self._fetches[way] = None
        topics: dict[str, list[tuple[int, int, int]]] = {}
        for part in parts:  # in the order of the last service, so that no partition starves behind a large one
            part.asked = True
            limit = PAUSED_BYTES if part.paused else PARTITION_FETCH_BYTES
            topics.setdefault(part.where.topic, []).append((part.where.partition, part.fetch_at, limit))
        poll = self._poll
        # a part that is fed is asked for once its neighbour is silent: not held up by those that are waited for here
        wait_ms = math.ceil(min(poll.max_wait_ms, self._fed_for(time.monotonic()) * 1000))
        body = requests.fetch(topics, wait_ms, poll.min_bytes, poll.ahead_bytes)
        asked = {part.where: (part, part.fetch_at) for part in parts}
        wait = poll.max_wait_ms / 1000 + self._link.settings.request_timeout_s
        channel.ask(requests.FETCH, requests.FETCH_VERSION, (body,), partial(self._came, way, asked), wait)

    def _came(self, way: Way, asked: Mapping[TopicPartition, tuple[Part, int]], answer: Answer) -> None:
        """Take in what is well, leave the rest to a task, ask for more."""
        for part, _ in asked.values():
            part.asked = False
        if self._closed:
            return
        node, _ = way
        trouble: list[tuple[Part, int]] = []
        try:
            for where, code, data in requests.fetched(self._link.heard(node, answer)):
                part, offset = asked[where]
                if self._parts.get(where) is not part or part.fetch_at != offset:
                    continue
                if code:
                    trouble.append((part, code))
                else:
                    part.missing_since = None
                    if data:
                        self._decode(part, data)
        except (AkkafkaError, ValueError, KeyError, struct.error) as error:
            self._begin(way, partial(self._failed, node, error))
        else:
            if trouble:
                self._begin(way, partial(self._troubled, node, trouble))
                return
            self._quiet_since = self._away = None
            del self._fetches[way]
            self._fetch()

    async def _failed(self, node: int, error: Exception) -> None:
        """Raise it where errors are dealt with; an answer that is not Kafka's is as good as none."""
        self._link.heard(node, error)

    async def _troubled(self, node: int, trouble: Sequence[tuple[Part, int]]) -> None:
        again = [await self._answered(node, part, code) for part, code in trouble]
        if any(again):
            await asyncio.sleep(BACKOFF_S)

    async def _answered(self, node: int, part: Part, code: int) -> bool:
        """Look into one partition's refusal; True if it is to be asked again later."""
        error = kafka_errors.for_code(code)
        if error is kafka_errors.OffsetOutOfRangeError:
            return await self._gone(node, part)
        if error is kafka_errors.UnknownTopicOrPartitionError:
            self._missing(part)
        elif error is kafka_errors.TopicAuthorizationFailedError:
            part.error = BrokerError(f"reader {self.name} may not read topic {part.where.topic}")
            self._wake()
            return False
        await self._link.refresh([part.where.topic])
        return True

    def _decode(self, part: Part, data: memoryview) -> None:
        topic, number = part.where
        records: deque[Record] = deque()
        at = part.fetch_at
        try:
            for found, behind in batches.batches(data, topic, number, at):
                records.extend(found)
                at = behind
        except (kafka_errors.KafkaError, ValueError, IndexError, EOFError, struct.error) as error:
            part.error = LogLostError(
                f"{topic}[{number}]: the batch at offset {at} cannot be read: {error}",
                hint="The broker's disk or the network damaged it; the log before that offset is intact.",
            )
            part.error.__cause__ = error
        if at > part.fetch_at:
            part.add(records, at, len(data))
        if part.chunks or part.error is not None:
            self._wake()

    async def _gone(self, node: int, part: Part) -> bool:
        low, high = await bounds_at(self._link, node, part.where)
        if low <= part.fetch_at <= high:
            return True  # it was trimmed or written meanwhile
        part.error = OffsetGoneError(part.where, part.fetch_at, low, high)
        self._wake()
        return False


async def bounds_at(link: Link, node: int, where: TopicPartition) -> tuple[int, int]:
    """(First offset held, end offset) of one partition, asked of its leader."""
    found = []
    for which in (EARLIEST, LATEST):
        request = OffsetRequest(-1, 0, [(where.topic, [(where.partition, which)])])
        answer = await link.request(node, request)
        _, code, *rest = answer.topics[0][1][0]
        if code:
            raise BrokerUnavailableError(
                f"{where.topic}[{where.partition}]: no offsets: {kafka_errors.for_code(code).__name__}"
            )
        found.append(int(rest[-1]))
    return found[0], found[1]
