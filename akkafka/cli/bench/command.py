"""`akkafka bench peers`, from the config to the table: the steps, in order."""

from __future__ import annotations

import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from akkafka.cli.bench.contender import Akkafka, Contender, able, chosen, settings_of, varied
from akkafka.cli.bench.contest import hold
from akkafka.cli.bench.course import lay_out
from akkafka.cli.bench.draw import check_drawing, draw_rounds
from akkafka.cli.bench.figures import report
from akkafka.cli.bench.machine import machine
from akkafka.cli.bench.show import show
from akkafka.cli.console import say
from akkafka.cli.networks import configured
from akkafka.cli.training.report import check_writable, write_json
from akkafka.data import data_dir_from_env
from akkafka.protocol.config import Config


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    config: Path
    overrides: tuple[str, ...]
    seed: int | None
    epochs: int | None
    rounds: int
    peers: tuple[str, ...]
    data_dir: Path | None
    out: Path | None
    plot: Path | None = None
    variants: tuple[str, ...] = ()  # each with further settings for an akkafka of its own beside the first
    target: float = 0.0  # validation accuracy whose time is told, too; 0: none


def peers(request: Request) -> None:
    """Run it and print the table; raises AkkafkaError for what is wrong, most of it before anything runs."""
    named = chosen(request.peers)
    check_writable(request.out)
    check_drawing(request.plot)
    data_dir = request.data_dir or data_dir_from_env()
    config = configured(request.config, request.overrides, request.seed, data_dir)
    for variant in request.variants:  # a mistake is told before anything runs
        configured(request.config, (*request.overrides, *settings_of(variant)), request.seed, data_dir)
    others = able(named, len(config.definition.gates), named=bool(request.peers), say=say)
    epochs = request.epochs or config.run.epochs
    signal.signal(signal.SIGTERM, terminated)
    # short: Ray puts sockets in there, whose paths may not be long
    with tempfile.TemporaryDirectory(prefix="akb-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        lay_out(config.definition, epochs, folder, data_dir, request.target)
        ours = Akkafka(request.config, epochs, request.overrides, request.seed, data_dir, target=request.target)
        contenders: list[Contender] = [ours, *varied(ours, request.variants), *others]
        say(f"{request.rounds} rounds of {epochs} epochs: {', '.join(one.name for one in contenders)}, in turn")
        rounds = hold(contenders, request.rounds, folder, say)
    here = machine()
    show(rounds, here, request.target)
    if request.out is not None:
        facts = _facts(request, config, epochs) | {"machine": here.facts()}
        write_json(request.out, report(rounds, facts))
        say(f"figures: {request.out}")
    if request.plot is not None:
        draw_rounds(rounds, f"{request.config.stem}, batch {config.definition.batch_size}", request.plot)
        say(f"picture: {request.plot}")


def terminated(number: int, frame: FrameType | None) -> NoReturn:
    """For SIGTERM: what was started has sessions of its own and would go on; unwinding ends it."""
    raise SystemExit(128 + number)


def _facts(request: Request, config: Config, epochs: int) -> dict[str, Any]:
    definition = config.definition
    return {
        "config": request.config.name,
        "definition_hash": definition.hash,
        "seed": definition.seed,
        "batch_size": definition.batch_size,
        "window": definition.schedule.window,
        "epochs": epochs,
        "target": request.target or None,
    }
