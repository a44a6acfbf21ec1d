"""`akkafka bench pipeline`: akkafka alone, in steady state: speed, CPU by process, and where a batch's time goes.

`akkafka train` runs as a user starts it (`ground.py`: over which broker). Measured from outside and from the log:
batches from the sentinels' figures, CPU from the system, a batch's time from the stamps that some batches bring home.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from akkafka.broker.base import Broker, BrokerUnavailableError, Reader, TopicPartition
from akkafka.broker.network import Network
from akkafka.cli.bench import waterfall
from akkafka.cli.bench.command import terminated
from akkafka.cli.bench.draw import check_drawing, draw_trip
from akkafka.cli.bench.ground import WARM_AT_MOST_S, WARM_BATCHES, Ground, ground
from akkafka.cli.bench.machine import Calm, calm, machine
from akkafka.cli.bench.recovery import BEGIN_S, FOREVER, defined
from akkafka.cli.chaos.trainer import Trainer
from akkafka.cli.console import say, table
from akkafka.cli.locating import reached
from akkafka.cli.networks import configured
from akkafka.cli.training.report import check_writable, write_json
from akkafka.data import data_dir_from_env
from akkafka.errors import NetworkError, ProtocolError
from akkafka.protocol import wire
from akkafka.protocol.figures import GateFigures, SentinelFigures, TrainFigures, found_window, from_message
from akkafka.protocol.messages import Backward, Figures, Mode

TOLD_S = 2.0
BROKER = "broker"
CONDUCTOR = "akkafka train"


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    config: Path
    overrides: tuple[str, ...]
    seed: int | None
    data_dir: Path | None
    seconds: float
    rounds: int
    out: Path | None
    plot: Path | None


@dataclass(frozen=True, slots=True)
class Steady:
    """What a pipeline did while it was measured."""

    seconds: float
    batches: int
    samples: int
    cpu_seconds: Mapping[str, float]  # by process
    rss_bytes: Mapping[str, int]
    latency_ms: float  # from issue to loss, median
    staleness: Mapping[str, float]  # by gate, mean
    busy: Mapping[str, float]  # by gate, share of the time that its compute thread worked, mean
    calm: Calm
    window: int = 0  # at the end
    window_why: str = ""  # where a sentinel has found it
    trips: Sequence[waterfall.Trip] = field(default=(), repr=False)

    @property
    def samples_per_second(self) -> float:
        """In steady state."""
        return self.samples / self.seconds

    def cpu_ms(self, process: str) -> float:
        """Of a process, for one batch."""
        return 1000 * self.cpu_seconds[process] / max(1, self.batches)


def pipeline(request: Request) -> None:
    """Run it and print tables; raises AkkafkaError for what is wrong, most of it before anything runs."""
    check_writable(request.out)
    check_drawing(request.plot)
    data_dir = request.data_dir or data_dir_from_env()
    config = configured(request.config, request.overrides, request.seed, data_dir)
    names = waterfall.station_names([gate.name for gate in config.definition.gates])
    signal.signal(signal.SIGTERM, terminated)
    setting = Setting(request.config, request.overrides, request.seed, data_dir)
    found = []
    with ground("akp-", say) as here:
        for number in range(1, request.rounds + 1):
            found.append(measured(setting, request.seconds, here, say))
            say(f"round {number}/{request.rounds}  {told(found[-1])}")
    trips = [trip for steady in found for trip in steady.trips]
    print("\n".join(lines(found, trips, names)), flush=True)
    if request.plot is not None and trips:
        draw_trip(waterfall.typical(trips), names, f"one batch of {request.config.stem}", request.plot)
        say(f"picture: {request.plot}")
    if request.out is not None:
        facts = {"config": request.config.name, "definition_hash": config.definition.hash, "machine": machine().facts()}
        write_json(request.out, facts | report(found, trips, names))
        say(f"figures: {request.out}")


def told(steady: Steady) -> str:
    """One line."""
    total = sum(map(steady.cpu_ms, steady.cpu_seconds))
    loud = "" if steady.calm.quiet else f"; {steady.calm.busy_cores:.1f} cores busy before"
    return (
        f"{steady.samples_per_second:,.0f} samples/s, {1000 * steady.seconds / max(1, steady.batches):.1f} ms a batch, "
        f"{total:.1f} ms CPU a batch, latency {steady.latency_ms:.0f} ms ({steady.seconds:.0f} s{loud})"
    )


def lines(found: Sequence[Steady], trips: Sequence[waterfall.Trip], names: Sequence[str]) -> list[str]:
    """The tables."""
    rates = sorted(steady.samples_per_second for steady in found)
    processes = list(found[0].cpu_seconds)
    cells = [
        [
            name,
            f"{median(steady.cpu_ms(name) for steady in found):.2f}",
            f"{median(steady.cpu_seconds[name] / steady.seconds for steady in found):.2f}",
            f"{max(steady.rss_bytes[name] for steady in found) / 2**20:.0f}",
        ]
        for name in processes
    ]
    sums = [sum(steady.cpu_ms(name) for name in processes) for steady in found]
    cells.append(["all", f"{median(sums):.2f}", "", ""])
    out = [
        f"samples/s: {median(rates):,.0f} (median of {len(rates)}), {rates[0]:,.0f} to {rates[-1]:,.0f}",
        *(found_window(one.window, one.window_why) for one in found if one.window_why),
        "",
        *table(["process", "CPU ms a batch", "cores", "RSS MiB"], cells),
    ]
    if trips:
        spent = waterfall.rows(waterfall.medians(trips, len(names)), names)
        head = ["ms, medians", *waterfall.SEGMENTS, "sum"]
        out += ["", f"a batch's way, from {len(trips)} batches:", *table(head, spent), ""]
        out += waterfall.drawn(waterfall.typical(trips), names)
    return out


def report(found: Sequence[Steady], trips: Sequence[waterfall.Trip], names: Sequence[str]) -> dict[str, Any]:
    """The JSON."""
    told_rounds = [
        {
            "samples_per_second": steady.samples_per_second,
            **{key: value for key, value in asdict(steady).items() if key != "trips"},
        }
        for steady in found
    ]
    if not trips:
        return {"rounds": told_rounds}
    spent = waterfall.medians(trips, len(names))
    way = {name: dict(zip(waterfall.SEGMENTS, cells, strict=True)) for name, cells in zip(names, spent, strict=True)}
    return {
        "samples_per_second": median(steady.samples_per_second for steady in found),
        "rounds": told_rounds,
        "way_ms": way,
    }


@dataclass(frozen=True, slots=True)
class Setting:
    """What is trained."""

    config: Path
    overrides: tuple[str, ...] = ()
    seed: int | None = None
    data_dir: Path | None = None


def measured(setting: Setting, seconds: float, here: Ground, tell: Callable[[str], None]) -> Steady:
    """Train, measure for so many seconds once it is in its steady state, end it. Raises AkkafkaError."""
    before = calm()
    network = here.next_network()
    folder = here.folder / network
    folder.mkdir()
    trainer = Trainer(words(setting, network, folder), folder / "train.log", here.environment)
    try:
        trainer.start()
        return asyncio.run(Look(trainer, before, tell, network, here.java).run(here, seconds))
    finally:
        trainer.collapse()
        here.drop(network)


def words(setting: Setting, network: str, folder: Path, module: str = "akkafka") -> list[str]:
    """Of a training without an end, behind the interpreter; `module` is what is run, with `train`."""
    return [
        *("-m", module, "train", str(setting.config), "--network", network, "--state-dir", str(folder)),
        *("--epochs", str(FOREVER)),
        *(() if setting.seed is None else ("--seed", str(setting.seed))),
        *(() if setting.data_dir is None else ("--data-dir", str(setting.data_dir))),
        *(word for override in setting.overrides for word in ("--set", override)),
    ]


@dataclass(slots=True)
class Look:
    """At one training, from outside and in the log."""

    trainer: Trainer
    before: Calm
    tell: Callable[[str], None]
    name: str  # of the network
    java: psutil.Process | None  # the broker, if it can be seen
    home: list[tuple[int, int, float]] = field(default_factory=list)  # (ns, samples, latency in ms) of a batch
    gates: dict[str, list[GateFigures]] = field(default_factory=dict)
    trips: list[waterfall.Trip] = field(default_factory=list)
    window: tuple[int, str] = (0, "")

    async def run(self, here: Ground, seconds: float) -> Steady:
        """Wait until it has begun, measure it."""
        async with reached(here.connection) as broker, self.begun(broker) as (reader, network):
            self.tell(f"it trains; it is measured in {here.settle_s:.0f} s, when {WARM_BATCHES} batches are home")
            begun = time.monotonic()
            await self._follow(reader, network, WARM_AT_MOST_S, lambda: len(self.home) >= WARM_BATCHES)
            left = here.settle_s - (time.monotonic() - begun)
            return await self.measured(reader, network, max(0.0, left), seconds)

    @asynccontextmanager
    async def begun(self, broker: Broker) -> AsyncIterator[tuple[Reader, Network]]:
        """Once a batch is home; raises NetworkError if none comes."""
        network = await defined(broker, self.name, self.trainer)
        reader = await self._reader(broker, network)
        try:
            await self._until_home(reader, network)
            yield reader, network
        finally:
            await reader.close()

    async def measured(self, reader: Reader, network: Network, settle_s: float, seconds: float) -> Steady:
        """What it does in so many seconds, after others behind the next batch that are not looked at.

        A sentinel that was stopped until now may have to get its lane back from the group before there is a batch.
        """
        await self._until_home(reader, network, time.time_ns())
        await self._follow(reader, network, settle_s)
        self.home.clear()
        self.gates.clear()
        self.trips.clear()
        return await self._measure(reader, network, seconds)

    async def _until_home(self, reader: Reader, network: Network, since_ns: int = 0) -> None:
        """Until a batch has come home; raises NetworkError if none does."""

        def is_home() -> bool:
            return any(at >= since_ns for at, *_ in self.home)

        await self._follow(reader, network, BEGIN_S, is_home)
        if not is_home():
            raise NetworkError(f"no batch was home within {BEGIN_S:g} s", hint=f"see {self.trainer.log}")

    async def _reader(self, broker: Broker, network: Network) -> Reader:
        """Of figures and homecomings; asks seldom, so that it takes little of what is measured."""
        lanes = [TopicPartition(network.topics.backward(0), lane) for lane in network.lanes_of(Mode.TRAIN)]
        bounds = await broker.bounds([TopicPartition(network.topics.metrics, 0), *lanes])
        reader = await broker.reader("bench", max_wait_ms=500, min_bytes=1 << 20)
        reader.assign({where: high for where, (_, high) in bounds.items()})
        return reader

    async def _measure(self, reader: Reader, network: Network, seconds: float) -> Steady:
        processes = self._processes()
        begun, used = time.time_ns(), _used(processes)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            await self._follow(reader, network, min(TOLD_S, left))
            if left > TOLD_S:
                so_far = sum(samples for at, samples, _ in self.home if at >= begun)
                self.tell(f"{seconds - left + TOLD_S:4.0f} s: {so_far / (time.time_ns() - begun) * 1e9:,.0f} samples/s")
        ended, now = time.time_ns(), _used(processes)
        await self._follow(reader, network, 1.0)  # figures of the last moments
        inside = [batch for batch in self.home if begun <= batch[0] < ended]
        return Steady(
            (ended - begun) / 1e9,
            len(inside),
            sum(samples for _, samples, _ in inside),
            {name: now[name] - used[name] for name in used if name in now},
            {name: process.memory_info().rss for name, process in processes.items() if process.is_running()},
            median(latency for _, _, latency in inside) if inside else 0.0,
            {name: _staleness(all_) for name, all_ in sorted(self.gates.items())},
            {name: sum(one.busy for one in all_) / len(all_) for name, all_ in sorted(self.gates.items())},
            self.before,
            *self.window,
            tuple(self.trips),
        )

    def _processes(self) -> dict[str, psutil.Process]:
        """By role."""
        found = {name: some[0] for name, some in sorted(self.trainer.workers().items())}
        conductor = self.trainer.process
        if conductor is not None:
            found[CONDUCTOR] = conductor
        if self.java is not None:
            found[BROKER] = self.java
        return found

    async def _follow(
        self, reader: Reader, network: Network, seconds: float, until: Callable[[], bool] = lambda: False
    ) -> None:
        """Read for so long, or until something has come."""
        end = time.monotonic() + seconds
        while not until() and (left := end - time.monotonic()) > 0:
            if self.trainer.ended is not None:
                raise NetworkError("the training has ended", hint="\n".join(_last(self.trainer.log)))
            try:
                records = await reader.poll(timeout=min(0.5, left))
            except BrokerUnavailableError:
                continue
            for record in records:
                self._hear(network, record.value)

    def _hear(self, network: Network, value: bytes | None) -> None:
        try:
            message = wire.decode(value)
            body = from_message(message) if isinstance(message, Figures) else None
        except ProtocolError:
            return
        if isinstance(body, TrainFigures):
            self.home += [(batch.home_ns, batch.samples, batch.latency_ms) for batch in body.batches]
        elif isinstance(body, SentinelFigures) and body.window:
            self.window = (body.window, body.window_why)
        elif isinstance(body, GateFigures):
            self.gates.setdefault(body.name, []).append(body)
        elif isinstance(message, Backward) and message.stamps is not None:
            trip = waterfall.trip_of(message.stamps, network.gate_count)
            if trip is not None:
                self.trips.append(trip)


def _used(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    """Seconds of CPU so far."""
    found = {}
    for name, process in processes.items():
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        found[name] = times.user + times.system
    return found


def _staleness(told: Sequence[GateFigures]) -> float:
    """Mean over the updates between the first and the last beat."""
    updates = told[-1].updates - told[0].updates
    return (told[-1].staleness_sum - told[0].staleness_sum) / updates if updates > 0 else 0.0


def _last(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-8:]
