"""`akkafka experiment`: trainings with delayed gradients in this process, as a fair table."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from akkafka.cli.bench.machine import machine
from akkafka.cli.console import say, table
from akkafka.data.dataset import DataSpec, load
from akkafka.data.source import data_dir_from_env
from akkafka.experiment.tables import FEWEST, Experiment, Row, experiment, rows_of
from akkafka.experiment.trial import Outcome, perform_all

TOLD_S = 5.0
HEAD = ("method", "mean", "± se", "failed", "the others")


def run(
    name: str, seeds: int | None, data: str, data_dir: Path | None, *, processes: int | None, as_json: bool
) -> None:
    """Run it and print the table; raises ConfigError or DataError before anything runs."""
    wanted = experiment(name, data)
    count = seeds or wanted.seeds
    data_dir = data_dir or data_dir_from_env()
    load(DataSpec(name=data), "train", data_dir=data_dir)  # what is missing is told once, and fetched once
    if count < FEWEST:
        say(f"{count} seeds: fewer than {FEWEST} are no fair comparison")
    begun = time.monotonic()
    trials = wanted.trials(count, data_dir)
    say(f"experiment {wanted.name}, {wanted.question}: {len(trials)} trainings, {count} seeds each")
    outcomes = list(followed(perform_all(trials, processes or os.cpu_count() or 1), len(trials), say))
    seconds = time.monotonic() - begun
    blocks = [(block.title, rows_of(wanted, block, outcomes)) for block in wanted.blocks]
    if as_json:
        print(json.dumps(facts_of(wanted, data, count, seconds, blocks), indent=2))
    else:
        print("\n".join(lines_of(wanted, data, count, seconds, blocks)))
    sys.stdout.flush()


def followed(outcomes: Iterator[Outcome], count: int, tell: Callable[[str], None]) -> Iterator[Outcome]:
    """The outcomes as they come, and a line now and then on how many are there."""
    begun = told = time.monotonic()
    for number, outcome in enumerate(outcomes, 1):
        yield outcome
        now = time.monotonic()
        if now - told >= TOLD_S or number == count:
            told = now
            tell(f"{number} of {count} trainings, {now - begun:.0f} s")


Blocks = Sequence[tuple[str, Sequence[Row]]]


def lines_of(wanted: Experiment, data: str, seeds: int, seconds: float, blocks: Blocks) -> list[str]:
    """The tables for people."""
    distances = wanted.measure == "distance"
    what = "smaller is nearer" if distances else "validation accuracy in percent"
    lines = [f"{wanted.name}: {wanted.question}, {data}, {wanted.network.epochs} epochs, {seeds} seeds; {what}"]
    for title, rows in blocks:
        lines += ["", title, *table(HEAD, [_cells(row, 3 if distances else 2) for row in rows])]
    lines += [
        "",
        f"mean over all seeds ± its standard error; failed: training loss above {wanted.failed_above:g} at the end",
        f"{seconds:.0f} s; {machine().line}",
    ]
    return lines


def _cells(row: Row, digits: int) -> tuple[str, ...]:
    good = row.good
    others = f"{sum(good) / len(good):.{digits}f}" if good else "-"
    return row.name, f"{row.mean:.{digits}f}", f"{row.error:.{digits}f}", str(sum(row.failed)), others


def facts_of(wanted: Experiment, data: str, seeds: int, seconds: float, blocks: Blocks) -> dict[str, Any]:
    """The tables for JSON."""
    return {
        "experiment": wanted.name,
        "question": wanted.question,
        "measure": wanted.measure,
        "data": data,
        "seeds": seeds,
        "epochs": wanted.network.epochs,
        "failed_above": wanted.failed_above,
        "seconds": seconds,
        "machine": machine().facts(),
        "blocks": [{"title": title, "rows": [row.facts() for row in rows]} for title, rows in blocks],
    }
