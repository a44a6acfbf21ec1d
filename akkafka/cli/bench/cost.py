"""`akkafka bench cost`: what journal and snapshots take while nothing fails.

A training as users run it and one whose gates keep neither (`bare.py`, a build for this bench alone) run over the same
broker, and take turns: the training sentinel of the other one is stopped meanwhile, so that its gates have nothing to
do. Turns are short and many, so that what drifts meets both. The share is of throughput, by the median of the rounds'
ratios; where it goes is told by CPU a batch of each process.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from akkafka.broker.connection import Connection
from akkafka.broker.embedded import BrokerSettings, acquire
from akkafka.cli.bench.bare import MODULE
from akkafka.cli.bench.command import terminated
from akkafka.cli.bench.contest import order
from akkafka.cli.bench.ground import listening
from akkafka.cli.bench.machine import calm, machine
from akkafka.cli.bench.pipeline import Look, Setting, Steady, told, words
from akkafka.cli.bench.watch import wait_until_gone
from akkafka.cli.chaos.trainer import Trainer, environment
from akkafka.cli.console import say, table
from akkafka.cli.locating import reached
from akkafka.cli.networks import configured
from akkafka.cli.training.report import check_writable, write_json
from akkafka.data import data_dir_from_env

WHOLE: Final = "whole"
BARE: Final = "bare"
SETTLE_S: Final = 4.0  # for a sentinel that goes on to take its lane again
NEVER_S: Final = 1_000_000  # validation would fall into one turn and not into the other


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


def cost(request: Request) -> None:
    """Run it and print a table; raises AkkafkaError for what is wrong, most of it before anything runs."""
    check_writable(request.out)
    data_dir = request.data_dir or data_dir_from_env()
    overrides = (*request.overrides, f"run.validate_every={NEVER_S}")
    configured(request.config, overrides, request.seed, data_dir)
    signal.signal(signal.SIGTERM, terminated)
    setting = Setting(request.config, overrides, request.seed, data_dir)
    with tempfile.TemporaryDirectory(prefix="akc-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        lease = acquire(BrokerSettings(folder / "broker", linger_s=0.0), progress=say)
        try:
            found = asyncio.run(_both(request, setting, folder, lease.bootstrap))
        finally:
            lease.release()
            wait_until_gone(name)
    print("\n".join(lines(found[WHOLE], found[BARE])), flush=True)
    if request.out is not None:
        write_json(request.out, {"config": request.config.name, "machine": machine().facts()} | report(found))
        say(f"figures: {request.out}")


async def _both(request: Request, setting: Setting, folder: Path, servers: str) -> dict[str, list[Steady]]:
    """Both trainings are up all the time; the sentinel of the one whose turn it is not is stopped (SIGSTOP)."""
    before = calm()
    looks: dict[str, Look] = {}
    found: dict[str, list[Steady]] = {WHOLE: [], BARE: []}
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(reached(Connection(bootstrap_servers=servers)))
        java = listening(Connection(bootstrap_servers=servers))
        for name, module in ((WHOLE, "akkafka"), (BARE, MODULE)):
            own = folder / name
            own.mkdir()
            trainer = Trainer(words(setting, name, own, module), own / "train.log", environment(servers))
            stack.callback(trainer.collapse)
            trainer.start()
            looks[name] = Look(trainer, before, _silent, name, java)
        opened = {name: await stack.enter_async_context(look.begun(broker)) for name, look in looks.items()}
        for number, name in order([WHOLE, BARE], request.rounds):
            for other, look in looks.items():
                for sentinel in look.trainer.workers().get("sentinel-train", ()):
                    sentinel.send_signal(signal.SIGCONT if other == name else signal.SIGSTOP)
            found[name].append(await looks[name].measured(*opened[name], SETTLE_S, request.seconds))
            say(f"round {number}/{request.rounds}  {name}: {told(found[name][-1])}")
    return found


def _silent(line: str) -> None:
    """A turn is short: what it gave is told at its end."""


def share(whole: Sequence[Steady], bare: Sequence[Steady]) -> float:
    """Of the throughput without journal and snapshots, what they take: 0.1 is a tenth; below 0 if none was lost."""
    ratios = [a.samples_per_second / b.samples_per_second for a, b in zip(whole, bare, strict=True)]
    return 1.0 - median(ratios)


def lines(whole: Sequence[Steady], bare: Sequence[Steady]) -> list[str]:
    """The tables."""
    rates = [median(steady.samples_per_second for steady in some) for some in (whole, bare)]
    processes = list(whole[0].cpu_seconds)
    rows = [[name, *_cells(_cpu(whole, name), _cpu(bare, name))] for name in processes]
    sums = [sum(_cpu(some, name) for name in processes) for some in (whole, bare)]
    return [
        f"samples/s: {rates[0]:,.0f} with journal and snapshots, {rates[1]:,.0f} without (medians of {len(whole)})",
        f"they take {share(whole, bare):.1%} of the throughput (median of the rounds' ratios)",
        "",
        *table(["CPU ms a batch", "with", "without", "more"], [*rows, ["all", *_cells(*sums)]]),
    ]


def report(found: dict[str, list[Steady]]) -> dict[str, Any]:
    """The JSON."""
    rounds = {
        name: [
            {"samples_per_second": one.samples_per_second, **asdict(one, dict_factory=_without_trips)} for one in some
        ]
        for name, some in found.items()
    }
    return {"share": share(found[WHOLE], found[BARE]), "rounds": rounds}


def _cpu(some: Sequence[Steady], process: str) -> float:
    return median(steady.cpu_ms(process) for steady in some if process in steady.cpu_seconds)


def _cells(with_: float, without: float) -> list[str]:
    return [f"{with_:.2f}", f"{without:.2f}", f"{with_ - without:+.2f}"]


def _without_trips(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in pairs if key != "trips"}
