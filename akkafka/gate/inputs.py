"""What comes to a gate: its records, decoded, with their data sets; lanes that are held back; inputs read once more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from akkafka.broker.base import Broker, BrokerUnavailableError, Reader, Record, TopicPartition
from akkafka.broker.library import Library
from akkafka.broker.network import Network
from akkafka.broker.patience import patiently
from akkafka.broker.side import SideChannel
from akkafka.errors import LogLostError, NewerSchemaError, ProtocolError
from akkafka.gate.caution import Direction
from akkafka.protocol import wire
from akkafka.protocol.messages import Forward, Message, Samples
from akkafka.protocol.stamps import arrived

WAIT_TOLD_S: Final = 5.0
DIRECTIONS: Final[tuple[Direction, ...]] = ("forward", "backward")


class Inputs:
    """A reader for each direction, and one for single inputs that are needed again."""

    def __init__(
        self, broker: Broker, network: Network, gate: int, process: str, library: Library, side: SideChannel
    ) -> None:
        """`library`: data sets by name. `side`: takes what cannot be decoded."""
        self._broker, self._process, self._library, self._side = broker, process, library, side
        self._title = f"gate {gate} ({network.definition.gates[gate].name})"
        topics = network.topics
        self.topics = {"forward": topics.forward(gate), "backward": topics.backward(gate + 1)}
        self._held: dict[Direction, frozenset[int]] = dict.fromkeys(DIRECTIONS, frozenset())
        self._fetching = asyncio.Lock()
        self._heard_at = time.monotonic()
        self._told = False
        self.waiting_for = ""  # while nothing comes, as far as anybody knows

    async def open(self) -> None:
        """Make the readers, as soon as the broker lets."""
        self._readers = {direction: await self._reader(direction, 500) for direction in DIRECTIONS}
        self._fetcher = await self._reader("fetch", 10)

    async def close(self) -> None:
        """Let go of them."""
        await asyncio.gather(self._fetcher.close(), *(reader.close() for reader in self._readers.values()))

    async def _reader(self, purpose: str, max_wait_ms: int) -> Reader:
        return await patiently(partial(self._broker.reader, f"{self._process}-{purpose}", max_wait_ms=max_wait_ms))

    def assign(self, direction: Direction, offsets: Sequence[int]) -> None:
        """Where to read on, by lane."""
        topic = self.topics[direction]
        self._readers[direction].assign({TopicPartition(topic, lane): at for lane, at in enumerate(offsets)})

    async def pump(self, direction: Direction, take: Callable[[Record, Message], None]) -> None:
        """Hand over what comes, for ever.

        Raises OffsetGoneError if a lane was trimmed beyond us, NewerSchemaError for a message of a newer akkafka.
        """
        reader = self._readers[direction]
        while True:
            try:
                records = await reader.poll(timeout=1.0)
            except BrokerUnavailableError:
                continue
            for record in records:
                message = self._decoded(record)
                if isinstance(message, Forward) and message.rows is not None:
                    message = await self._with_samples(message)
                if message is not None:
                    take(record, message)

    def hold(self, direction: Direction, lanes: frozenset[int]) -> None:
        """Read these lanes no further, and all others again: bounded memory."""
        held = self._held[direction]
        if lanes == held:
            return
        topic, reader = self.topics[direction], self._readers[direction]
        reader.pause([TopicPartition(topic, lane) for lane in lanes - held])
        reader.resume([TopicPartition(topic, lane) for lane in held - lanes])
        self._held[direction] = lanes

    async def fetch(self, lane: int, offset: int) -> Forward:
        """The batch at an offset that a trail names; raises LogLostError if none is there."""
        message = await self._fetched(TopicPartition(self.topics["forward"], lane), offset)
        return message if message.rows is None else await self._with_samples(message)

    def untold_silence(self) -> float:
        """Seconds for which nothing has come, once each time that it becomes long; else 0."""
        silent = time.monotonic() - self._heard_at
        if silent < WAIT_TOLD_S or self._told:
            return 0.0
        self._told = True
        return silent

    def _decoded(self, record: Record) -> Message | None:
        """The message in a record; None if it was refused."""
        self._heard_at = time.monotonic()
        self.waiting_for, self._told = "", False
        arrived_ns = time.time_ns()
        try:
            return arrived(wire.decode(record.value), record.headers, arrived_ns)
        except NewerSchemaError:
            raise
        except ProtocolError as error:
            self._side.refuse(record, record.topic, record.partition, record.offset, f"{self._title}: {error}")
            return None

    async def _with_samples(self, message: Forward) -> Forward:
        """With the data set that its rows belong to, or why there is none; the first batch of each waits for it."""
        assert message.rows is not None, "the caller looks"
        found: Samples | str | None = self._library.held(message.rows.data)
        if found is None:
            self.waiting_for = f"data set {message.rows.data.hex()}"
            found = await patiently(partial(self._library.fetch, message.rows.data))
            self.waiting_for = ""
        rows = replace(message.rows, missing=found) if isinstance(found, str) else replace(message.rows, samples=found)
        return replace(message, rows=rows)

    async def _fetched(self, where: TopicPartition, offset: int) -> Forward:
        async with self._fetching:
            self._fetcher.assign({where: offset})
            try:
                while True:
                    with suppress(BrokerUnavailableError):
                        for record in await self._fetcher.poll(timeout=5.0, max_records=1):
                            return self._as_input(where, offset, record)
            finally:
                self._fetcher.assign({})  # it would read on, and keep what nobody takes

    def _as_input(self, where: TopicPartition, offset: int, record: Record) -> Forward:
        message = wire.decode(record.value) if record.offset == offset else None
        if not isinstance(message, Forward):
            raise LogLostError(
                f"{self._title}: a trail names offset {offset} of {where.topic}[{where.partition}], no batch is there",
                hint="The broker has lost a part of its log: restore its data, or start anew with `akkafka reset`.",
            )
        return message
