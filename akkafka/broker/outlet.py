"""Sends messages in lane order, each until it certainly is in the log, whatever happens to producers meanwhile.

After a broken delivery nobody knows what was written. The outlet throws the producer away, reads the last message of
each lane it has something for, takes what is there as delivered and sends the rest again, in order, with a new one. A
request of the old one that still lands is whole and in order too, so first copies stand in the log without gaps
(protocol/sequence.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from akkafka.broker.base import (
    Broker,
    BrokerUnavailableError,
    Headers,
    Producer,
    Record,
    RecordTooLargeError,
    TopicPartition,
)
from akkafka.broker.reading import last_records, reading
from akkafka.errors import AkkafkaError, BrokerError, ProtocolError
from akkafka.protocol import wire
from akkafka.protocol.messages import Backward, Forward, Run

log = logging.getLogger("akkafka.outlet")
_PAUSE_S = 0.2
_TAIL = 8  # a duplicate or something that is not ours may be the very last


@dataclass(slots=True, eq=False)
class _Item:
    seq: int
    value: bytes
    headers: Headers
    delivered: Callable[[int], None] | None
    sent: bool = False


class Outlet:
    """See the module's docstring. Everything happens on the event loop's thread."""

    def __init__(
        self,
        broker: Broker,
        name: str,
        run: Run,
        failed: Callable[[AkkafkaError], None],
    ) -> None:
        """`run`: whose messages count at a lane's end; `failed` hears of what cannot be mended."""
        self._broker = broker
        self._name = name
        self._run = run
        self._failed = failed
        self._producer: Producer | None = None
        self._queues: dict[TopicPartition, deque[_Item]] = {}
        self._mending: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    async def open(self) -> None:
        """Make the first producer."""
        self._producer = await self._broker.producer(self._name)

    @property
    def waiting(self) -> int:
        """Messages not yet known to be in the log."""
        return sum(map(len, self._queues.values()))

    @property
    def mending(self) -> bool:
        """The broker is away, or a delivery has failed and is being looked into."""
        return self._mending is not None

    def send(
        self,
        where: TopicPartition,
        seq: int,
        value: bytes,
        headers: Headers = (),
        delivered: Callable[[int], None] | None = None,
    ) -> None:
        """Send in order; `delivered(seq)` is called once a copy of this message is in the log."""
        item = _Item(seq, value, headers, delivered)
        self._queues.setdefault(where, deque()).append(item)
        self._empty.clear()
        if self._mending is None:
            self._hand_over(where, item)

    async def drained(self) -> None:
        """Wait until everything is in the log."""
        await self._empty.wait()

    async def close(self, timeout: float = 5.0) -> None:
        """Give up what is not yet in the log after `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.drained()
        if self._mending is not None:
            self._mending.cancel()
            with suppress(asyncio.CancelledError):
                await self._mending
        if self._producer is not None:
            await self._producer.close(timeout=1.0)

    def _hand_over(self, where: TopicPartition, item: _Item) -> None:
        producer = self._producer
        if producer is None or producer.broken:
            self._mend()
            return
        item.sent = True
        future = producer.send(where, item.value, headers=item.headers)
        future.add_done_callback(lambda done: self._answered(producer, where, item, done))

    def _answered(self, producer: Producer, where: TopicPartition, item: _Item, done: asyncio.Future[int]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if producer is not self._producer:
            return  # thrown away meanwhile; what is in the log was looked up
        if error is None:
            self._deliver(where, item.seq)
        elif isinstance(error, RecordTooLargeError):
            self._failed(
                BrokerError(
                    f"{where.topic}[{where.partition}], batch {item.seq}: the broker takes no record of "
                    f"{len(item.value)} bytes; akkafka's topics are made to take it",
                    hint="Was the topic's max.message.bytes changed? `akkafka doctor` checks the limits.",
                )
            )
        else:
            self._mend()

    def _deliver(self, where: TopicPartition, up_to: int) -> None:
        """Everything up to this seq is in the log: order holds within a lane."""
        queue = self._queues[where]
        while queue and queue[0].seq <= up_to:
            item = queue.popleft()
            if item.delivered is not None:
                item.delivered(item.seq)
        if not self.waiting:
            self._empty.set()

    def _mend(self) -> None:
        if self._mending is None:
            self._mending = asyncio.get_running_loop().create_task(self._mended())

    async def _mended(self) -> None:
        try:
            await self._throw_away()
            while True:
                try:
                    await self._look_up()
                    self._producer = await self._broker.producer(self._name)
                    break
                except BrokerUnavailableError:
                    await asyncio.sleep(_PAUSE_S)
        except AkkafkaError as error:
            self._failed(error)
            return
        self._mending = None
        for where, queue in self._queues.items():
            for item in list(queue):
                if self._mending is None:
                    self._hand_over(where, item)

    async def _throw_away(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            log.info("%s: a delivery failed; looking up what is in the log", self._name)
            await producer.close(timeout=0.0)

    async def _look_up(self) -> None:
        parts = [where for where, queue in self._queues.items() if queue]
        async with reading(self._broker, f"{self._name}-mend") as reader:
            last = await last_records(self._broker, reader, parts, _TAIL)
        for where, records in last.items():
            seqs = [seq for record in records if (seq := self._seq_of(record)) is not None]
            if seqs:
                self._deliver(where, max(seqs))

    def _seq_of(self, record: Record) -> int | None:
        """Seq of a message of this run that lies in its own lane; nothing else says what was delivered."""
        try:
            message = wire.decode(record.value)
        except ProtocolError:
            return None
        if not isinstance(message, Forward | Backward) or message.run != self._run:
            return None
        return message.seq if message.lane == record.partition else None
