"""Follows a network's metrics topic: what processes tell of themselves, as it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from akkafka.broker.base import Broker, BrokerUnavailableError, Reader, Record, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.reading import follow, last_records, reading
from akkafka.errors import NewerSchemaError, ProtocolError
from akkafka.protocol import wire
from akkafka.protocol.figures import Body, GateFigures, SentinelFigures, from_message
from akkafka.protocol.messages import Figures, Mode

Take = Callable[[str, int, Body], None]  # (process, wall clock in ms, body)
LIVE_S = 1.2  # longer than any process's beat: who is silent for so long does not live


def figures_of(network: Network, record: Record) -> tuple[str, int, Body] | None:
    """(process, time in ms, body) of a record, or None if it is nothing of this run that can be read."""
    try:
        message = wire.decode(record.value)
        if not isinstance(message, Figures) or message.run != network.run:
            return None
        return message.process, message.time_ms, from_message(message)
    except NewerSchemaError:
        raise
    except ProtocolError:
        return None


class Tail:
    """The topic from a position on."""

    def __init__(self, broker: Broker, network: Network, take: Take) -> None:
        self._broker, self._network, self._take = broker, network, take
        self._where = TopicPartition(network.topics.metrics, 0)
        self._reader: Reader | None = None
        self.away = ""  # why nothing can be read; empty: all is well

    async def open(self, *, from_head: bool = False) -> None:
        """From now on, or from what the topic holds."""
        self._reader = await self._broker.reader(f"figures-{self._network.name}", max_wait_ms=250, min_bytes=1 << 20)
        low, high = (await self._broker.bounds([self._where]))[self._where]
        self._reader.assign({self._where: low if from_head else high})

    async def run(self) -> None:
        """Until cancelled; a broker that is away is waited for."""
        while True:
            await self.step(1.0)

    async def step(self, timeout: float) -> None:
        """Take in what comes within `timeout` seconds."""
        assert self._reader is not None, "open() comes first"
        try:
            records = await follow(self._reader, timeout)
        except BrokerUnavailableError as error:
            self.away = str(error)
            await asyncio.sleep(0.2)
            return
        self.away = ""
        for record in records:
            found = figures_of(self._network, record)
            if found is not None:
                self._take(*found)

    async def to_end(self) -> None:
        """Take in all that is there now."""
        assert self._reader is not None, "open() comes first"
        _, end = (await self._broker.bounds([self._where]))[self._where]
        while self._reader.position(self._where) < end:
            await self.step(1.0)

    async def close(self) -> None:
        """Let go."""
        if self._reader is not None:
            await self._reader.close()


async def living(broker: Broker, network: Network) -> tuple[list[str], list[str]]:
    """(training sentinels, others) of the network that beat now; looks for a second if any has lately."""
    where = TopicPartition(network.topics.metrics, 0)
    async with reading(broker, "living") as reader:
        last = (await last_records(broker, reader, [where]))[where]
    if not last or time.time() * 1000 - last[-1].timestamp_ms > 3000 * LIVE_S:
        return [], []
    heard: dict[str, Body] = {}

    def take(process: str, time_ms: int, body: Body) -> None:
        if isinstance(body, GateFigures | SentinelFigures):  # a sentinel also tells of batches, and more often
            heard[process] = body

    tail = Tail(broker, network, take)
    await tail.open()
    try:
        until = time.monotonic() + LIVE_S
        while (left := until - time.monotonic()) > 0:
            await tail.step(left)
    finally:
        await tail.close()
    return _named(heard, training=True), _named(heard, training=False)


def _named(heard: dict[str, Body], *, training: bool) -> list[str]:
    names = []
    for body in heard.values():
        if isinstance(body, GateFigures) and not training and body.state != "leaving":
            names.append(f"gate {body.gate} (pid {body.pid} on {body.host})")
        elif isinstance(body, SentinelFigures) and training == (body.role is Mode.TRAIN) and _stays(body):
            names.append(f"sentinel {body.role} (pid {body.pid} on {body.host})")
    return sorted(names)


def _stays(body: SentinelFigures) -> bool:
    return body.state not in ("leaving", "finished")
