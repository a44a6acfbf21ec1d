"""An idempotent producer that keeps order, gives real offsets, and can be thrown away at any moment.

Each partition has a queue and at most one request in flight; what queues up meanwhile travels as one batch. As long as
all goes well that is a matter of callbacks; a task takes over a partition that has no leader known, or whose request
was not answered with an offset. What was not answered is sent again with the same sequence numbers, so the broker
appends it once. Sequence numbers move
on only with an acknowledgement, so a record the broker refuses for its size leaves no gap. The first failure breaks the
producer as a whole and closes its sockets: nothing of it can reach the log after its successor has read the log's end
(save what the network still holds, which receivers drop as duplicates).
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from aiokafka import errors as kafka_errors
from aiokafka.protocol.transaction import InitProducerIdRequest

from akkafka.broker import batches, requests
from akkafka.broker.base import (
    BrokerUnavailableError,
    DeliveryError,
    Headers,
    Record,
    RecordTooLargeError,
    TopicPartition,
)
from akkafka.broker.channel import Answer
from akkafka.broker.link import Link
from akkafka.broker.neighbours import Neighbours
from akkafka.errors import AkkafkaError, BrokerError

MAX_RECORD_BYTES = 64 * 1024 * 1024  # a request beyond the broker's socket.request.max.bytes would only be cut off
BATCH_BYTES = 1024 * 1024  # a batch takes one record more, then it is closed: measured best for 50 to 200 KB records
RECORD_OVERHEAD_BYTES = 100  # batch header (61) and the record's own lengths
UNKNOWN_TOPIC_GRACE_S = 5.0  # at most: a broker that has just started does not know its topics yet
BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)
MAX_SEQUENCE = 2**31 - 1
UNKNOWN = 3  # error code: there is no such topic or partition


@dataclass(slots=True, eq=False)
class Item:
    """A record on its way."""

    value: bytes | None
    key: bytes | None
    headers: Headers
    size: int
    future: asyncio.Future[int]
    timestamp_ms: int


@dataclass(slots=True, eq=False)
class Lane:
    """One partition's queue."""

    where: TopicPartition
    waiting: deque[Item] = field(default_factory=deque)
    flying: list[Item] = field(default_factory=list)
    batch: list[bytes] = field(default_factory=list)  # what is flying, as it was sent
    since: float = 0.0  # when it was sent first
    sequence: int = 0
    begun: bool = False  # a batch is on its way, or is about to be
    task: asyncio.Task[None] | None = None  # where something went wrong
    singly: bool = False  # after a batch was too large: one record at a time until the queue is empty


class KafkaProducer:
    """base.Producer on a link of its own."""

    def __init__(self, link: Link, name: str, near: Neighbours, forget: Callable[[KafkaProducer], None]) -> None:
        self.name = name
        self._link = link
        self._near = near
        self._forget = forget
        self._patience = link.settings.delivery_timeout_s
        self._lanes: dict[TopicPartition, Lane] = {}
        self._error: DeliveryError | None = None
        self._closed = False
        self._over = False  # all that was not acknowledged has been failed; nothing more is sent
        self._pending = 0
        self._pid, self._epoch = -1, -1
        self._emptied: asyncio.Future[None] | None = None  # while it closes: nothing is pending any more

    async def open(self) -> None:
        """Get a producer id; BrokerUnavailableError if the cluster does not give one within the patience."""
        await self._link.open()
        deadline = time.monotonic() + self._link.settings.patience_s
        for attempt in range(10**6):
            answer = await self._link.request_any(InitProducerIdRequest(None, MAX_SEQUENCE))
            error = kafka_errors.for_code(answer.error_code)
            if error is kafka_errors.NoError:
                self._pid, self._epoch = answer.producer_id, answer.producer_epoch
                return
            if time.monotonic() > deadline or error is kafka_errors.ClusterAuthorizationFailedError:
                break
            await asyncio.sleep(_backoff(attempt))
        raise BrokerUnavailableError(f"producer {self.name}: the cluster gives no producer id ({error.__name__})")

    @property
    def broken(self) -> bool:
        """True after the first DeliveryError."""
        return self._error is not None

    def pending(self) -> int:
        """Bytes sent and not yet acknowledged."""
        return self._pending

    def send(
        self, where: TopicPartition, value: bytes | None, *, key: bytes | None = None, headers: Headers = ()
    ) -> asyncio.Future[int]:
        """See base.Producer; records sent in one turn of the event loop to one partition share a batch."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        size = _size(value, key, headers)
        refusal = self._refusal(where, size)
        if refusal is not None:
            _fail(future, refusal)
            return future
        self._pending += size
        lane = self._lanes.get(where)
        if lane is None:
            lane = self._lanes[where] = Lane(TopicPartition(*where))
        lane.waiting.append(Item(value, key, headers, size, future, time.time_ns() // 1_000_000))
        if not lane.begun:
            lane.begun = True
            asyncio.get_running_loop().call_soon(self._launch, lane)
        return future

    async def close(self, *, timeout: float = 5.0) -> None:
        """See base.Producer; what is not acknowledged in time fails with DeliveryError."""
        self._closed = True
        if self._pending and self._error is None:
            self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._emptied], timeout=timeout)
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        self._fail_all(DeliveryError(f"producer {self.name} was closed before the record was acknowledged"))
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        await self._link.close()
        self._forget(self)

    # -- delivery, as long as all goes well

    def _launch(self, lane: Lane) -> None:
        """Send the partition's next batch, if there is one and nothing is broken."""
        if not lane.waiting or self._over:
            lane.begun = lane.singly = False
            return
        lane.flying = _take_batch(lane)
        lane.batch = self._encoded(lane)
        lane.since = time.monotonic()
        node = self._link.leader(lane.where)
        channel = None if node is None else self._link.channel(node)
        if node is None or channel is None:
            self._rescue(lane, None, tried=False)
            return
        wait = min(self._patience, self._link.settings.request_timeout_s)
        body = requests.produce(lane.where, lane.batch, int(wait * 1000))
        answered = partial(self._answered, lane, node)
        channel.ask(requests.PRODUCE, requests.PRODUCE_VERSION, body, answered, wait)

    def _answered(self, lane: Lane, node: int, answer: Answer) -> None:
        if self._over:
            return
        try:
            code, offset = requests.produced(self._link.heard(node, answer))
        except BrokerUnavailableError:
            self._rescue(lane, None)
        except (AkkafkaError, ValueError, struct.error) as error:
            self._break(lane, error if isinstance(error, AkkafkaError) else BrokerError(f"unexpected {error!r}"))
        else:
            if code or offset < 0:
                self._rescue(lane, (code, offset))
                return
            self._acknowledged(lane, offset)
            self._launch(lane)

    # -- delivery, when something went wrong

    def _rescue(self, lane: Lane, answer: tuple[int, int] | None, *, tried: bool = True) -> None:
        """Leave the partition to a task, which knows what to do about `answer` (None: there is none)."""
        work = self._rescued(lane, answer, tried)
        lane.task = asyncio.get_running_loop().create_task(work, name=f"producer {self.name}")

    async def _rescued(self, lane: Lane, answer: tuple[int, int] | None, tried: bool) -> None:
        try:
            await self._deliver(lane, answer, tried)
        except AkkafkaError as error:
            self._break(lane, error)
        except Exception as error:  # a fault of ours or of aiokafka must not leave futures hanging
            self._break(lane, BrokerError(f"unexpected {error!r}"))
        finally:
            lane.task = None
        self._launch(lane)

    async def _deliver(self, lane: Lane, answer: tuple[int, int] | None, tried: bool) -> None:
        """Settle the batch in flight: sent again until it is acknowledged, refused, or the time is up."""
        deadline = lane.since + self._patience  # not since it was queued: its predecessor may have sat out a restart
        if not tried:
            answer = await self._asked_again(lane, deadline)
        attempt = 0
        while answer is None or not self._settled(lane, answer):
            await asyncio.sleep(min(_backoff(attempt), max(0.0, deadline - time.monotonic())))
            if time.monotonic() >= deadline:
                raise BrokerError(f"no acknowledgement for {self._patience:g} s")
            with suppress(BrokerUnavailableError):
                await self._link.refresh([lane.where.topic])
            answer = await self._asked_again(lane, deadline)
            attempt += 1

    async def _asked_again(self, lane: Lane, deadline: float) -> tuple[int, int] | None:
        """(Error code, base offset); None if there is no leader, or no answer while there is time for another try."""
        try:
            return await self._ask(lane, deadline)
        except BrokerUnavailableError:
            if time.monotonic() >= deadline:
                raise
            return None

    async def _ask(self, lane: Lane, deadline: float) -> tuple[int, int] | None:
        topic, partition = lane.where
        node = self._link.leader(lane.where)
        if node is None:
            await self._link.refresh([topic])
            node = self._link.leader(lane.where)
            if node is None:
                there = self._link.partitions(topic)
                return (UNKNOWN, -1) if partition >= there else None
        wait = min(max(0.05, deadline - time.monotonic()), self._link.settings.request_timeout_s)
        body = requests.produce(lane.where, lane.batch, int(wait * 1000))
        return requests.produced(await self._link.ask(node, requests.PRODUCE, requests.PRODUCE_VERSION, body, wait))

    def _settled(self, lane: Lane, answer: tuple[int, int]) -> bool:
        """True if the batch is done with, False to try again; raises what breaks the producer."""
        code, offset = answer
        error = kafka_errors.for_code(code)
        if error is kafka_errors.NoError and offset >= 0:
            self._acknowledged(lane, offset)
            return True
        if error in (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError):
            self._too_large(lane)
            return True
        if error is kafka_errors.UnknownTopicOrPartitionError:
            if time.monotonic() - lane.since < min(UNKNOWN_TOPIC_GRACE_S, self._link.settings.patience_s):
                return False
            raise BrokerError("there is no such topic or partition")
        if error in (kafka_errors.DuplicateSequenceNumber, kafka_errors.NoError):
            raise BrokerError("the broker has the record, but does not say at which offset")
        if error.retriable:
            return False
        raise BrokerError(f"the broker refused the record (code {code}, {error.__name__})")

    def _acknowledged(self, lane: Lane, base: int) -> None:
        lane.sequence = (lane.sequence + len(lane.flying)) & MAX_SEQUENCE
        for place, item in enumerate(lane.flying):
            self._settle(item)
            if not item.future.done():
                item.future.set_result(base + place)
        flown, lane.flying, lane.batch = lane.flying, [], []
        self._tell(lane.where, base, flown)

    def _tell(self, where: TopicPartition, base: int, items: Sequence[Item]) -> None:
        listeners = self._near.of(where)
        if listeners:
            records = [_record(where, base + place, item) for place, item in enumerate(items)]
            for listener in listeners:
                listener.heard(where, records, sum(item.size for item in items))

    def _settle(self, item: Item) -> None:
        self._pending -= item.size
        if not self._pending and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _too_large(self, lane: Lane) -> None:
        """Nothing of the batch is in the log: the one record fails, several are tried one by one."""
        flying, lane.flying, lane.batch = lane.flying, [], []
        if len(flying) > 1:
            lane.waiting.extendleft(reversed(flying))
            lane.singly = True
            return
        item = flying[0]
        self._settle(item)
        _fail(item.future, _too_large(lane.where, item.size, "the topic's max.message.bytes"))

    def _encoded(self, lane: Lane) -> list[bytes]:
        records = [(item.timestamp_ms, item.key, item.value, item.headers) for item in lane.flying]
        return batches.encoded(records, self._pid, self._epoch, lane.sequence)

    # -- failure

    def _break(self, lane: Lane, error: AkkafkaError) -> None:
        where = f"{lane.where.topic}[{lane.where.partition}]"
        broken = DeliveryError(
            f"producer {self.name}: {where}: {error}",
            hint=error.hint or "Read the log's end, make a new producer and send again, in lane order.",
        )
        broken.__cause__ = error
        self._fail_all(broken)

    def _fail_all(self, error: DeliveryError) -> None:
        self._over = True
        if self._error is None and not self._closed:
            self._error = error
        self._link.abort()
        for lane in self._lanes.values():
            for item in [*lane.flying, *lane.waiting]:
                if not item.future.done():
                    failure = DeliveryError(str(error), hint=error.hint)
                    failure.__cause__ = error.__cause__
                    _fail(item.future, failure)
            lane.flying, lane.batch = [], []
            lane.waiting.clear()
            if lane.task is not None and lane.task is not asyncio.current_task():
                lane.task.cancel()
        self._pending = 0
        if self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _refusal(self, where: TopicPartition, size: int) -> BrokerError | None:
        if self._closed or self._error is not None:
            state = "broken" if self._error is not None else "closed"
            return DeliveryError(
                f"producer {self.name} is {state}: nothing was sent to {where[0]}[{where[1]}]",
                hint="Read the log's end, make a new producer and send again, in lane order.",
            )
        if size > MAX_RECORD_BYTES:
            return _too_large(where, size, f"{MAX_RECORD_BYTES} bytes")
        return None


def _record(where: TopicPartition, offset: int, item: Item) -> Record:
    return Record(where.topic, where.partition, offset, item.value, item.key, item.headers, item.timestamp_ms)


def _take_batch(lane: Lane) -> list[Item]:
    taken = [lane.waiting.popleft()]
    size = taken[0].size
    while lane.waiting and not lane.singly and size + lane.waiting[0].size <= BATCH_BYTES:
        taken.append(lane.waiting.popleft())
        size += taken[-1].size
    return taken


def _size(value: bytes | None, key: bytes | None, headers: Headers) -> int:
    size = RECORD_OVERHEAD_BYTES + len(value or b"") + len(key or b"")
    for name, content in headers:
        size += len(name) + len(content) + 4
    return size


def _too_large(where: TopicPartition, size: int, limit: str) -> RecordTooLargeError:
    return RecordTooLargeError(
        f"{where[0]}[{where[1]}]: a record of {size} bytes is more than {limit}",
        hint="Make batches smaller, or raise the topic's max.message.bytes.",
    )


def _backoff(attempt: int) -> float:
    return BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)]


def _fail(future: asyncio.Future[int], error: BrokerError) -> None:
    future.set_exception(error)
    future.exception()  # a future nobody awaits must not complain at exit: `broken` tells the owner as well
