"""Figures and dead letters on their way out: best effort, bounded, never in anybody's way."""

from __future__ import annotations

import asyncio
import time

from akkafka.broker.base import Broker, Headers, Producer, Record, TopicPartition
from akkafka.broker.network import Network
from akkafka.errors import AkkafkaError
from akkafka.protocol import wire
from akkafka.protocol.figures import Body, to_message
from akkafka.protocol.messages import DeadLetter

_HEAD_BYTES = 256
_MAX_PENDING = 4 << 20  # of figures nobody took; more are dropped
_LAST_WORDS_S = 5.0  # to deliver what was told at the end: a busy broker may be silent for longer than one


class SideChannel:
    """One producer for a process's figures and refused records."""

    def __init__(self, broker: Broker, network: Network, process: str) -> None:
        self._broker, self._network, self._process = broker, network, process
        self._producer: Producer | None = None
        self._opening: asyncio.Task[None] | None = None
        self._untold: tuple[str, bytes, Headers] | None = None  # the newest while nobody takes it
        self.dead_letters = 0

    def tell(self, body: Body) -> None:
        """Publish figures."""
        message = to_message(self._network.run, self._process, int(time.time() * 1000), body)
        self._send(self._network.topics.metrics, wire.encode(message), wire.headers(message))

    def refuse(self, record: Record | None, topic: str, lane: int, offset: int, reason: str) -> None:
        """Publish a dead letter; `record` is the refused one where it is at hand."""
        self.dead_letters += 1
        value = (record.value if record is not None else None) or b""
        letter = DeadLetter(self._process, topic, lane, offset, reason[:2000], len(value), value[:_HEAD_BYTES])
        self._send(self._network.topics.dead, wire.encode(letter))

    async def close(self) -> None:
        """Deliver what was told last, for which a few seconds are given; then let go."""
        until = time.monotonic() + _LAST_WORDS_S
        if self._opening is not None:
            await asyncio.wait([self._opening], timeout=_LAST_WORDS_S)
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._producer is not None:
            await self._producer.close(timeout=max(0.0, until - time.monotonic()))

    def _send(self, topic: str, value: bytes, headers: Headers = ()) -> None:
        producer = self._producer
        if producer is None or producer.broken:
            self._untold = (topic, value, headers)
            if self._opening is None or self._opening.done():
                self._opening = asyncio.get_running_loop().create_task(self._open())
            return
        if producer.pending() < _MAX_PENDING:
            future = producer.send(TopicPartition(topic, 0), value, headers=headers)
            future.add_done_callback(_heard)

    async def _open(self) -> None:
        old, self._producer = self._producer, None
        if old is not None:
            await old.close(timeout=0.0)
        try:
            self._producer = await self._broker.producer(f"{self._process}-side")
        except AkkafkaError:
            await asyncio.sleep(0.5)  # the next figures try again
            return
        if self._untold is not None:
            untold, self._untold = self._untold, None
            self._send(*untold)


def _heard(future: asyncio.Future[int]) -> None:
    if not future.cancelled():
        future.exception()  # figures may get lost
