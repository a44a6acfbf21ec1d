"""`akkafka bench wire`: what a hop over the broker takes by the size of the message, with our producer and reader.

One message at a time for latency: from `send` until `poll` of the reader has given it back. A window of them for MB/s.
CPU is this process's (both ends: producer, reader, event loop) and the broker's, for one message of the stream. The
topic is an edge's, the producer idempotent with acks=all, as in training.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import psutil

from akkafka.broker.base import Broker, Producer, Reader, TopicPartition, TopicSpec
from akkafka.broker.connection import Connection
from akkafka.broker.embedded import BrokerSettings, acquire
from akkafka.cli.bench.command import terminated
from akkafka.cli.bench.draw import check_drawing, draw_hops
from akkafka.cli.bench.ground import listening
from akkafka.cli.bench.machine import machine
from akkafka.cli.bench.recovery import quantile
from akkafka.cli.bench.watch import wait_until_gone
from akkafka.cli.console import say, table
from akkafka.cli.locating import reached
from akkafka.cli.training.report import check_writable, write_json
from akkafka.protocol.topics import edge_settings

SIZES = (1_000, 10_000, 50_000, 200_000, 1_000_000, 2_000_000, 4_000_000)
WARM = 20  # messages, before each size
PINGS = 200
PING_S = 3.0  # at most
STREAM_S = 2.0
IN_FLIGHT = 8  # of the stream
TOPIC = "akkafka-bench-wire"


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    sizes: tuple[int, ...]
    rounds: int
    out: Path | None
    plot: Path | None


@dataclass(frozen=True, slots=True)
class Hop:
    """One size in one round."""

    size: int  # bytes
    p50_ms: float
    p95_ms: float
    megabytes_per_second: float
    cpu_ms: float  # of both ends, a message
    broker_cpu_ms: float


def wire(request: Request) -> None:
    """Run it and print the table; raises AkkafkaError."""
    check_writable(request.out)
    check_drawing(request.plot)
    signal.signal(signal.SIGTERM, terminated)
    sizes = request.sizes or SIZES
    with tempfile.TemporaryDirectory(prefix="akw-", ignore_cleanup_errors=True) as name:
        lease = acquire(BrokerSettings(Path(name) / "broker", linger_s=0.0), progress=say)
        try:
            found = asyncio.run(_all(lease.bootstrap, sizes, request.rounds))
        finally:
            lease.release()
            wait_until_gone(name)
    print("\n".join(lines(found)), flush=True)
    if request.plot is not None:
        draw_hops(medians(found), request.plot)
        say(f"picture: {request.plot}")
    if request.out is not None:
        facts = {"machine": machine().facts(), "in_flight": IN_FLIGHT}
        write_json(request.out, facts | {"hops": list(map(asdict, medians(found))), "rounds": list(map(asdict, found))})
        say(f"figures: {request.out}")


def medians(found: Sequence[Hop]) -> list[Hop]:
    """By size, each figure by itself."""
    by_size: dict[int, list[Hop]] = {}
    for hop in found:
        by_size.setdefault(hop.size, []).append(hop)
    return [
        Hop(
            size,
            median(hop.p50_ms for hop in hops),
            median(hop.p95_ms for hop in hops),
            median(hop.megabytes_per_second for hop in hops),
            median(hop.cpu_ms for hop in hops),
            median(hop.broker_cpu_ms for hop in hops),
        )
        for size, hops in sorted(by_size.items())
    ]


def lines(found: Sequence[Hop]) -> list[str]:
    """The table."""
    cells = [
        [
            f"{hop.size / 1000:,.0f}",
            f"{hop.p50_ms:.2f}",
            f"{hop.p95_ms:.2f}",
            f"{hop.megabytes_per_second:,.0f}",
            f"{hop.cpu_ms:.2f}",
            f"{hop.broker_cpu_ms:.2f}",
        ]
        for hop in medians(found)
    ]
    return table(["KB", "ms p50", "ms p95", "MB/s", "CPU ms of both ends", "CPU ms of the broker"], cells)


async def _all(servers: str, sizes: Sequence[int], rounds: int) -> list[Hop]:
    found = []
    connection = Connection(bootstrap_servers=servers)
    # two ends, as of two processes: one would read from its own memory
    async with reached(connection) as broker, reached(connection) as other:
        await broker.create([TopicSpec(TOPIC, 1, edge_settings())])
        java = listening(connection)
        assert java is not None, "the broker that was just started has a process"
        ends = await _Ends.of(broker, other, java)
        try:
            for number in range(1, rounds + 1):
                for size in sizes:
                    found.append(await ends.hop(size))
                    say(f"round {number}/{rounds}  {size:,} bytes: {found[-1].p50_ms:.2f} ms")
        finally:
            await ends.close()
    return found


@dataclass(slots=True)
class _Ends:
    broker: Broker
    java: psutil.Process
    producer: Producer
    reader: Reader
    where: TopicPartition

    @classmethod
    async def of(cls, broker: Broker, other: Broker, java: psutil.Process) -> _Ends:
        where = TopicPartition(TOPIC, 0)
        reader = await other.reader("bench-wire", max_wait_ms=500)
        reader.assign({where: 0})
        return cls(broker, java, await broker.producer("bench-wire"), reader, where)

    async def close(self) -> None:
        await asyncio.gather(self.producer.close(timeout=1.0), self.reader.close())

    async def hop(self, size: int) -> Hop:
        """One size."""
        value = bytes(size)
        for _ in range(WARM):
            await self._ping(value)
        times: list[float] = []
        until = time.monotonic() + PING_S
        while len(times) < PINGS and time.monotonic() < until:
            times.append(await self._ping(value))
        times.sort()
        messages, seconds, own, java = await self._stream(value)
        await self.broker.trim({self.where: self.reader.position(self.where)})  # the disk stays small
        return Hop(
            size,
            median(times),
            quantile(times, 0.95),
            messages * size / seconds / 1e6,
            1000 * own / messages,
            1000 * java / messages,
        )

    async def _ping(self, value: bytes) -> float:
        begun = time.perf_counter()
        sent = self.producer.send(self.where, value)
        await self._take(1)
        took = 1000 * (time.perf_counter() - begun)
        await sent
        return took

    async def _take(self, count: int) -> None:
        while count > 0:
            count -= len(await self.reader.poll(timeout=5.0))

    async def _stream(self, value: bytes) -> tuple[int, float, float, float]:
        """Messages, seconds, CPU seconds of ours and of the broker."""
        own = psutil.Process()
        used, begun = (_cpu(own), _cpu(self.java)), time.perf_counter()
        acknowledged: deque[asyncio.Future[int]] = deque()
        sent = taken = 0
        while time.perf_counter() - begun < STREAM_S or taken < sent:
            while sent - taken < IN_FLIGHT and time.perf_counter() - begun < STREAM_S:
                acknowledged.append(self.producer.send(self.where, value))
                sent += 1
            taken += len(await self.reader.poll(timeout=5.0))
        seconds = time.perf_counter() - begun
        await asyncio.gather(*acknowledged)
        return taken, seconds, _cpu(own) - used[0], _cpu(self.java) - used[1]


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
