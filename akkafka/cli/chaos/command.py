"""`akkafka chaos`, from the broker to the verdict: the steps, in order.

Training runs through a proxy, under faults, for as long as was asked for. Then it is asked to finish the epoch it is
in, in peace, and the log is looked at through a listener of its own. With the fixed schedule a second training, without
faults, has to end with the same bits.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from akkafka.broker.base import Broker, BrokerUnavailableError
from akkafka.broker.embedded import BrokerSettings, acquire
from akkafka.broker.embedded.ports import free_port
from akkafka.broker.embedded.properties import HOST
from akkafka.broker.network import Network, load
from akkafka.broker.patience import patiently
from akkafka.cli.chaos.checks import Check, check_log
from akkafka.cli.chaos.proxy import Proxy
from akkafka.cli.chaos.schedule import Mix, Strike, mix_for, plan
from akkafka.cli.chaos.storm import Storm
from akkafka.cli.chaos.trainer import Trainer, environment
from akkafka.cli.console import say, size
from akkafka.cli.locating import embedded, reached, state_home
from akkafka.cli.networks import configured
from akkafka.cli.options import Where
from akkafka.cli.training.report import check_writable, write_json
from akkafka.cli.training.standing import read_lanes
from akkafka.errors import NetworkError
from akkafka.protocol.config import Config
from akkafka.protocol.messages import Mode

SIGNALS = (signal.SIGINT, signal.SIGTERM)
FOREVER = 1_000_000  # epochs: a storm ends by the clock
FIRST_BATCH_S = 120.0
FINISH_S = 600.0


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    config: Path | None
    overrides: tuple[str, ...]
    seed: int
    minutes: float
    faults: tuple[str, ...]
    standby: bool
    compare: bool
    data_dir: Path | None
    report: Path | None
    where: Where
    mix: Mix | None = None  # instead of the usual one
    keep_log: bool = False


def chaos(request: Request) -> int:
    """Run it; 0 only if all that was checked holds. Raises AkkafkaError for what is wrong before anything runs."""
    check_writable(request.report)
    config = configured(request.config, request.overrides, None, request.data_dir)
    roles = roles_of(config)
    mix = request.mix or mix_for(request.minutes, request.faults)
    strikes = plan(request.seed, request.minutes * 60, roles, mix)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        return asyncio.run(_interruptible(_Chaos(request, config, strikes)))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # the loop leaves Python's own behind


async def _interruptible(work: _Chaos) -> int:
    """Its exit code; a signal unwinds it, which ends the training and gives the broker back."""
    task = asyncio.ensure_future(work.run())
    heard: list[int] = []

    def interrupt(number: int) -> None:
        heard.append(number)
        task.cancel()

    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
    try:
        return await task
    except asyncio.CancelledError:
        say("interrupted")
        return 128 + (heard or [signal.SIGINT])[0]


def roles_of(config: Config) -> list[str]:
    """Whom a fault may hit: gates twice as often as others, as they are what is hard."""
    gates = [f"gate-{i}" for i in range(len(config.definition.gates))]
    validating = ["sentinel-validate"] if config.definition.plan.of(Mode.VALIDATE) else []
    return [*gates, *gates, "sentinel-train", "sentinel-train", *validating]


@dataclass(slots=True)
class _Chaos:
    request: Request
    config: Config
    strikes: list[Strike]
    checks: list[Check] = field(default_factory=list)

    async def run(self) -> int:
        """All of it; nothing of ours is left."""
        home = state_home(self.request.where.state_dir) / "chaos"
        home.mkdir(parents=True, exist_ok=True)
        behind = free_port()
        front = free_port(other_than=behind)
        settings = BrokerSettings(home / "broker", linger_s=0.0, proxied=(behind, front))
        lease = await asyncio.to_thread(acquire, settings, progress=say)
        proxy = Proxy(HOST, behind)
        await proxy.open(front)
        try:
            return await self._with(home, proxy, f"{HOST}:{front}", lease.bootstrap)
        finally:
            await proxy.close()
            await asyncio.to_thread(lease.release)

    async def _with(self, home: Path, proxy: Proxy, through: str, direct: str) -> int:
        begun = time.monotonic()
        name = f"chaos-{self.config.definition.name}-{random.randrange(16**6):06x}"
        trainer = self._trainer(home, name, through)
        storm = Storm(trainer, proxy, home / "broker", say)
        try:
            async with self._reached(direct) as broker:
                await self._under_fire(trainer, storm, broker, name)
                stormed = await patiently(lambda: _lanes(broker, name))
                report = await self._in_peace(trainer, home, name, stormed)
                self.checks += await patiently(lambda: check_log(broker, stormed.network))
            self._look_at(trainer, storm)
            if self.request.compare:
                await self._compared(home, name, direct, stormed.epochs + 1, report)
        finally:
            trainer.collapse()
        return self._verdict(storm, proxy, name, report, time.monotonic() - begun)

    def _trainer(self, home: Path, name: str, servers: str) -> Trainer:
        request = self.request
        words = ["-m", "akkafka", "train"]
        words += [str(request.config)] if request.config is not None else []
        words += ["--network", name, "--bootstrap-servers", servers, "--state-dir", str(home), "--seed"]
        words += [str(self.config.definition.seed)]
        words += [word for change in request.overrides for word in ("--set", change)]
        words += ["--data-dir", str(request.data_dir)] if request.data_dir is not None else []
        words += [word for package in request.where.allow for word in ("--allow", package)]
        words += ["--standby"] if request.standby else []
        words += ["--keep-log"] if request.keep_log else []
        return Trainer(words, home / f"{name}.log", environment(servers))

    @asynccontextmanager
    async def _reached(self, servers: str) -> AsyncIterator[Broker]:
        async with reached(embedded(self.request.where, servers)) as broker:
            yield broker

    # --- the steps --------------------------------------------------------------------------------

    async def _under_fire(self, trainer: Trainer, storm: Storm, broker: Broker, name: str) -> None:
        say(
            f"training {name!r} under {len(self.strikes)} faults in {self.request.minutes:g} minutes, seed "
            f"{self.request.seed}; log: {trainer.log}"
        )
        endless = Trainer([*trainer.command, "--epochs", str(FOREVER)], trainer.log, trainer.environment, trainer.seen)
        storm.trainer = endless
        endless.start()
        try:
            await _first_batch(broker, name, endless)
            await storm.rage(self.strikes, self.request.minutes * 60)
            code = await asyncio.to_thread(endless.stop)
            say(f"the storm is over; training was asked to stop and ended with exit code {code}")
        finally:
            endless.collapse()

    async def _in_peace(self, trainer: Trainer, home: Path, name: str, at: _Standing) -> dict[str, Any]:
        """Finish the epoch without faults; the training's own report."""
        file = home / f"{name}.json"
        say(f"finishing epoch {at.epochs + 1} in peace")
        trainer.start("--epochs", str(at.epochs + 1), "--report", str(file), "--out", str(home / f"{name}.npz"))
        code = await asyncio.to_thread(trainer.wait, FINISH_S)
        self.checks.append(Check("training ends well when left in peace", code == 0, f"exit code {code}"))
        return _read(file) if code == 0 else {}

    def _look_at(self, trainer: Trainer, storm: Storm) -> None:
        codes = ", ".join(map(str, storm.gave_up))
        self.checks.append(
            Check("training never gave up", not storm.gave_up, f"exit codes {codes}" if codes else "it ran on")
        )
        orphans = [f"pid {process.pid}" for process in trainer.orphans()]
        self.checks.append(
            Check("no orphan process", not orphans, ", ".join(orphans) or f"all {len(trainer.seen)} are gone")
        )
        grown = [one for one in storm.memory.growths() if one.grew]
        told = "; ".join(
            f"{one.who}: {size(one.early_bytes)} -> {size(one.late_bytes)} in {one.seconds:.0f} s" for one in grown
        )
        judged = len(storm.memory.growths())
        self.checks.append(
            Check(
                "memory does not grow",
                not grown,
                told or f"{judged} processes lived long enough to tell, peak {size(storm.memory.peak)}",
            )
        )

    async def _compared(self, home: Path, name: str, direct: str, epochs: int, report: dict[str, Any]) -> None:
        """A training without faults over as many epochs; under the fixed schedule its weights are the same bits."""
        calm = f"{name}-calm"
        file = home / f"{calm}.json"
        say(f"training {calm!r} without faults for {epochs} epochs, to compare")
        trainer = self._trainer(home, calm, direct)
        trainer.start("--epochs", str(epochs), "--report", str(file), "--out", str(home / f"{calm}.npz"))
        try:
            code = await asyncio.to_thread(trainer.wait, FINISH_S * 2)
        finally:
            trainer.collapse()
        other = _read(file) if code == 0 else {}
        self.checks.append(compare(report, other, fixed=self.config.definition.schedule.kind == "fixed"))

    def _verdict(self, storm: Storm, proxy: Proxy, name: str, report: dict[str, Any], seconds: float) -> int:
        hit = ", ".join(f"{count} {fault}" for fault, count in sorted(storm.counts.items()))
        print(f"faults that hit: {hit or 'none'}")
        for check in self.checks:
            print(f"{'ok  ' if check.holds else 'FAIL'}  {check.name}: {check.detail}")
        holds = all(check.holds for check in self.checks)
        print("all of it holds" if holds else "NOT all of it holds", flush=True)
        if self.request.report is not None:
            facts = {
                "holds": holds,
                "seed": self.request.seed,
                "minutes": self.request.minutes,
                "network": name,
                "wall_seconds": seconds,
                "faults": storm.counts,
                "on_the_wire": dict(proxy.done),
                "struck": [asdict(one) for one in storm.struck],
                "checks": [asdict(check) for check in self.checks],
                "training": report,
            }
            write_json(self.request.report, facts)
            say(f"report: {self.request.report}")
        return 0 if holds else 1


@dataclass(frozen=True, slots=True)
class _Standing:
    network: Network
    epochs: int  # the highest epoch that any lane is in


async def _lanes(broker: Broker, name: str) -> _Standing:
    network = await load(broker, name)
    if network is None:
        raise NetworkError(f"network {name!r} was never defined", hint="The training's log tells why.")
    return _Standing(network, max(lane.after.epoch for lane in await read_lanes(broker, network)))


async def _first_batch(broker: Broker, name: str, trainer: Trainer) -> None:
    """Wait until training has begun: a storm over nothing proves nothing. Raises NetworkError."""
    until = time.monotonic() + FIRST_BATCH_S
    while time.monotonic() < until and trainer.ended is None:
        with suppress(BrokerUnavailableError):  # topics that are just being made have no leaders yet
            network = await load(broker, name)
            if network is not None and any(lane.home for lane in await read_lanes(broker, network)):
                return
        await asyncio.sleep(0.2)
    raise NetworkError(f"training did not begin within {FIRST_BATCH_S:g} s", hint=f"see {trainer.log}")


def compare(stormed: dict[str, Any], calm: dict[str, Any], *, fixed: bool) -> Check:
    """Weights bit for bit under the fixed schedule, else just what both reached."""
    accuracy = [(one.get("validations") or [{}])[-1].get("accuracy", 0.0) for one in (stormed, calm)]
    reached = f"accuracy {accuracy[0]:.4f}, without faults {accuracy[1]:.4f}"
    if not fixed:
        return Check("the same training without faults ends", bool(calm), reached)
    hashes = [[gate["weights_sha256"] for gate in one.get("gates", [])] for one in (stormed, calm)]
    same = bool(hashes[0]) and hashes[0] == hashes[1]
    named = "the same bits" if same else f"{hashes[0]} is not {hashes[1]}"
    return Check("weights equal those of a training without faults", same, f"{named}; {reached}")


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
