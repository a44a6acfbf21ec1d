"""The journal as its writer sees it: appends with offsets, and no second guess when one is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from akkafka.broker.base import Broker, DeliveryError, OffsetGoneError, Producer, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.patience import PAUSE_S, patiently
from akkafka.broker.reading import reading
from akkafka.gate import events as e
from akkafka.gate.restore import read_journal


class Journal:
    """Answers every append once, in order: with its offset, or with AppendUnknown."""

    def __init__(
        self, broker: Broker, network: Network, gate: int, writer: str, answer: Callable[[e.Event], None]
    ) -> None:
        self._broker, self._network, self._writer, self._answer = broker, network, writer, answer
        self._where = TopicPartition(network.topics.journal(gate), 0)
        self._notes = TopicPartition(network.topics.snapshot(gate), 0)
        self._producer: Producer | None = None
        self._renewing = asyncio.Lock()

    async def open(self) -> None:
        """Make the producer."""
        self._producer = await self._broker.producer(f"{self._writer}-journal")

    def append(self, value: bytes) -> None:
        """Append; the answer comes later."""
        producer = self._producer
        if producer is None or producer.broken:
            asyncio.get_running_loop().call_soon(self._answer, e.AppendUnknown())
            return
        producer.send(self._where, value).add_done_callback(self._appended)

    async def read(self, start: int) -> e.JournalRead:
        """The journal from `start` to its end; with a new producer first if the old one is broken.

        Raises OffsetGoneError if `start` is no longer held.
        """
        return await patiently(lambda: self._read(start))

    async def note(self, key: bytes, value: bytes) -> None:
        """Put a note beside the snapshots; returns once it is in the log."""
        while True:
            try:
                return await patiently(lambda: self._noted(key, value))
            except DeliveryError:  # the producer is broken: once more with another
                await asyncio.sleep(PAUSE_S)

    async def close(self) -> None:
        """Let go."""
        if self._producer is not None:
            await self._producer.close(timeout=1.0)

    async def _read(self, start: int) -> e.JournalRead:
        await self._whole()
        low, high = (await self._broker.bounds([self._where]))[self._where]
        if low > start:
            raise OffsetGoneError(self._where, start, low, high)
        async with reading(self._broker, f"{self._writer}-fold") as reader:
            entries = await read_journal(reader, self._network, self._where, start, high)
        return e.JournalRead(entries, high)

    async def _noted(self, key: bytes, value: bytes) -> None:
        producer = await self._whole()
        await producer.send(self._notes, value, key=key)

    async def _whole(self) -> Producer:
        """The producer, a new one if the old one is broken."""
        async with self._renewing:
            old = self._producer
            if old is None or old.broken:
                self._producer = None
                if old is not None:
                    await old.close(timeout=0.0)
                self._producer = old = await self._broker.producer(f"{self._writer}-journal")
            return old

    def _appended(self, future: asyncio.Future[int]) -> None:
        if future.cancelled():
            return
        self._answer(e.AppendUnknown() if future.exception() is not None else e.Appended(future.result()))
