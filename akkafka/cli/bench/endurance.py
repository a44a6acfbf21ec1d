"""`akkafka bench endurance`: throughput while gates are killed, beside that of the same training while none is.

One training with standbys runs all the time. Phases of peace and of kills take turns, so what drifts meets both alike.
In a phase of kills a gate that works gets SIGKILL every so many seconds, its standby takes over, and the training
starts a new standby; the last kill leaves a quarter of an interval at least, so that what it costs falls into its own
phase. Memory and disk are looked at throughout.
"""

from __future__ import annotations

import asyncio
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from akkafka.broker.base import BrokerUnavailableError, Reader, TopicPartition
from akkafka.broker.connection import Connection
from akkafka.broker.embedded import BrokerSettings, acquire
from akkafka.cli.bench.command import terminated
from akkafka.cli.bench.machine import machine
from akkafka.cli.bench.recovery import BEGIN_S, FOREVER, defined
from akkafka.cli.bench.watch import wait_until_gone
from akkafka.cli.chaos.trainer import Trainer, environment
from akkafka.cli.console import say, size, table
from akkafka.cli.locating import reached
from akkafka.cli.networks import configured
from akkafka.cli.training.report import check_writable, write_json
from akkafka.errors import NetworkError, ProtocolError
from akkafka.protocol import wire
from akkafka.protocol.figures import GateFigures, TrainFigures, from_message
from akkafka.protocol.messages import Figures

SETTLE_S = 20.0  # behind the first batch: standbys are up, caches are warm
LOOK_S = 2.0


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    config: Path
    overrides: tuple[str, ...]
    seed: int
    pairs: int
    seconds: float  # of a phase
    every: float  # seconds from one kill to the next
    data_dir: Path | None
    out: Path | None


@dataclass(frozen=True, slots=True)
class Phase:
    """So many seconds of peace, or of kills."""

    kills: int
    seconds: float
    samples: int

    @property
    def samples_per_second(self) -> float:
        """Of this phase."""
        return self.samples / self.seconds


@dataclass(frozen=True, slots=True)
class Size:
    """What was there at a moment."""

    at: float  # seconds since the first phase began
    disk_bytes: int
    rss_bytes: Mapping[str, int]  # by role, the largest of its processes


def endurance(request: Request) -> None:
    """Run it and print what was seen; raises AkkafkaError for what is wrong, most of it before anything runs."""
    check_writable(request.out)
    configured(request.config, request.overrides, None, request.data_dir)
    signal.signal(signal.SIGTERM, terminated)
    with tempfile.TemporaryDirectory(prefix="ake-", ignore_cleanup_errors=True) as name:
        found = asyncio.run(_Bench(request, Path(name)).run())
        wait_until_gone(name)
    print("\n".join(lines(*found)), flush=True)
    if request.out is not None:
        write_json(request.out, {"config": request.config.name, "machine": machine().facts()} | report(*found))
        say(f"figures: {request.out}")


def moments(rng: random.Random, seconds: float, every: float) -> list[float]:
    """When to kill in a phase: about the middle of each interval, by a quarter of it earlier or later."""
    return [every * (i + 0.5 + rng.uniform(-0.25, 0.25)) for i in range(int(seconds / every))]


def kept(phases: Sequence[Phase]) -> float:
    """Share of the throughput of peace that is left under kills: all samples of one beside all of the other."""
    peace, kills = ([phase for phase in phases if bool(phase.kills) is struck] for struck in (False, True))
    rates = [sum(one.samples for one in some) / sum(one.seconds for one in some) for some in (kills, peace)]
    return rates[0] / rates[1]


def pair_ratios(phases: Sequence[Phase]) -> list[float]:
    """Of each phase of kills to the one of peace before it."""
    return [b.samples_per_second / a.samples_per_second for a, b in zip(phases[::2], phases[1::2], strict=True)]


def lines(phases: Sequence[Phase], sizes: Sequence[Size]) -> list[str]:
    """The tables."""
    ratios = sorted(pair_ratios(phases))
    rows = [[str(i + 1), f"{one.samples_per_second:,.0f}", str(one.kills)] for i, one in enumerate(phases)]
    return [
        *table(["phase", "samples/s", "kills"], rows),
        "",
        f"{kept(phases):.1%} of the throughput is left under {sum(one.kills for one in phases)} kills (all samples of "
        f"{len(ratios)} phases beside all of {len(ratios)}); pairs: median {statistics.median(ratios):.1%}, "
        f"{ratios[0]:.1%} to {ratios[-1]:.1%}",
        "",
        *table(["of the time", "disk", *_roles(sizes)], [_sizes(sizes, part) for part in range(3)]),
    ]


def report(phases: Sequence[Phase], sizes: Sequence[Size]) -> dict[str, Any]:
    """The JSON."""
    return {
        "kept": kept(phases),
        "pairs": pair_ratios(phases),
        "phases": [{"kills": one.kills, "seconds": one.seconds, "samples": one.samples} for one in phases],
        "sizes": [{"at": one.at, "disk_bytes": one.disk_bytes, "rss_bytes": dict(one.rss_bytes)} for one in sizes],
    }


def _roles(sizes: Sequence[Size]) -> list[str]:
    return sorted({role for one in sizes for role in one.rss_bytes})


def _sizes(sizes: Sequence[Size], part: int) -> list[str]:
    """A row: medians of one third of the time."""
    third = sizes[len(sizes) * part // 3 : len(sizes) * (part + 1) // 3]
    cells = [[one.rss_bytes[role] for one in third if role in one.rss_bytes] for role in _roles(sizes)]
    medians = [size(int(statistics.median(some))) if some else "" for some in cells]
    name = ("first third", "second third", "last third")[part]
    return [name, size(int(statistics.median(one.disk_bytes for one in third))), *medians]


@dataclass(slots=True)
class _Bench:
    request: Request
    folder: Path
    working: dict[int, int] = field(default_factory=dict)  # gate -> pid of who works on it
    home: list[tuple[int, int]] = field(default_factory=list)  # (ns, samples) of each batch
    sizes: list[Size] = field(default_factory=list)
    begun: float = 0.0

    async def run(self) -> tuple[list[Phase], list[Size]]:
        """A training of its own."""
        lease = await asyncio.to_thread(acquire, BrokerSettings(self.folder / "broker", linger_s=0.0), progress=say)
        trainer = self._trainer(lease.bootstrap)
        try:
            trainer.start()
            async with reached(Connection(bootstrap_servers=lease.bootstrap)) as broker:
                network = await defined(broker, "endurance", trainer)
                reader = await broker.reader("endurance", max_wait_ms=500, min_bytes=1 << 20)
                reader.assign({TopicPartition(network.topics.metrics, 0): 0})
                try:
                    return await self._phases(reader, trainer, network.gate_count), self.sizes
                finally:
                    await reader.close()
        finally:
            trainer.collapse()
            await asyncio.to_thread(lease.release)

    def _trainer(self, servers: str) -> Trainer:
        request = self.request
        words = ["-m", "akkafka", "train", str(request.config), "--network", "endurance", "--standby"]
        words += ["--bootstrap-servers", servers, "--state-dir", str(self.folder), "--epochs", str(FOREVER)]
        words += [word for change in request.overrides for word in ("--set", change)]
        words += ["--data-dir", str(request.data_dir)] if request.data_dir is not None else []
        return Trainer(words, self.folder / "train.log", environment(servers))

    async def _phases(self, reader: Reader, trainer: Trainer, gates: int) -> list[Phase]:
        rng = random.Random(self.request.seed)
        until = time.monotonic() + BEGIN_S
        while not self.home or len(self.working) < gates:
            await self._follow(reader, trainer, 0.5)
            if time.monotonic() > until:
                raise NetworkError(f"no batch was home within {BEGIN_S:g} s", hint=f"see {trainer.log}")
        await self._follow(reader, trainer, SETTLE_S)
        watching = asyncio.create_task(self._watch(trainer))
        self.begun, found = time.monotonic(), []
        try:
            for number in range(2 * self.request.pairs):
                found.append(await self._phase(reader, trainer, rng if number % 2 else None))
                told = found[-1]
                what = f"{told.kills} kills" if told.kills else "peace"
                say(f"phase {number + 1}/{2 * self.request.pairs}  {told.samples_per_second:,.0f} samples/s  {what}")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return found

    async def _phase(self, reader: Reader, trainer: Trainer, rng: random.Random | None) -> Phase:
        """Kills at moments by `rng`; in peace if there is none."""
        request = self.request
        self.home.clear()
        begun, begun_ns, kills = time.monotonic(), time.time_ns(), 0
        for moment in moments(rng, request.seconds, request.every) if rng is not None else ():
            await self._follow(reader, trainer, begun + moment - time.monotonic())
            gate = (rng or random).choice(sorted(self.working))
            with suppress(psutil.Error):
                psutil.Process(self.working[gate]).kill()
                kills += 1
        await self._follow(reader, trainer, begun + request.seconds - time.monotonic())
        ended_ns = time.time_ns()
        await self._follow(reader, trainer, 1.0)  # figures of the last moments
        samples = sum(samples for at, samples in self.home if begun_ns <= at < ended_ns)
        return Phase(kills, (ended_ns - begun_ns) / 1e9, samples)

    async def _follow(self, reader: Reader, trainer: Trainer, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if trainer.ended is not None:
                last = trainer.log.read_text(errors="replace").splitlines()[-8:]
                raise NetworkError("the training has ended", hint="\n".join(last))
            with suppress(BrokerUnavailableError):
                for record in await reader.poll(timeout=min(0.5, left)):
                    self._hear(record.value)

    def _hear(self, value: bytes | None) -> None:
        with suppress(ProtocolError):
            message = wire.decode(value)
            body = from_message(message) if isinstance(message, Figures) else None
            if isinstance(body, TrainFigures):
                self.home += [(batch.home_ns, batch.samples) for batch in body.batches]
            elif isinstance(body, GateFigures) and body.state == "working":
                self.working[body.gate] = body.pid

    async def _watch(self, trainer: Trainer) -> None:
        while True:
            self.sizes.append(await asyncio.to_thread(self._size, trainer))
            await asyncio.sleep(LOOK_S)

    def _size(self, trainer: Trainer) -> Size:
        rss = {role: max(_rss(some), default=0) for role, some in trainer.workers().items()}
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "kafka.Kafka" in words and any(str(self.folder) in word for word in words):
                rss["broker"] = max(_rss([process]), default=0)
        disk = 0
        for path in (self.folder / "broker").rglob("*"):
            with suppress(OSError):  # trimmed at this moment
                disk += path.stat().st_blocks * 512
        return Size(time.monotonic() - self.begun, disk, {role: value for role, value in rss.items() if value})


def _rss(processes: Iterable[psutil.Process]) -> list[int]:
    found = []
    for process in processes:
        with suppress(psutil.Error):
            found.append(process.memory_info().rss)
    return found
