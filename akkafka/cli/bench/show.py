"""How a bench's outcome looks: one table, the same words on a terminal and in a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from akkafka.cli.bench.figures import OURS, Round, Standing, noise, standings
from akkafka.cli.bench.machine import Machine
from akkafka.cli.console import table

HEAD = ("contender", "samples/s (median)", "least", "greatest", "accuracy", f"{OURS} / it", "of medians")


def rows(found: Sequence[Standing]) -> list[tuple[str, ...]]:
    """The table's cells."""
    return [
        (
            standing.contender,
            f"{standing.median:,.0f}",
            f"{standing.least:,.0f}",
            f"{standing.greatest:,.0f}",
            "" if standing.accuracy is None else f"{standing.accuracy:.2%}",
            "" if standing.ratio is None else f"{standing.ratio:.2f}",
            "" if standing.ratio_of_medians is None else f"{standing.ratio_of_medians:.2f}",
        )
        for standing in found
    ]


def footnotes(rounds: Sequence[Round], machine: Machine) -> list[str]:
    """What figures depend on."""
    versions = {f"{name} {version}" for turn in rounds for name, version in turn.outcome.versions.items()}
    return [
        f"machine: {machine.line}",
        *([f"versions: {', '.join(sorted(versions))}"] if versions else []),
        f"{OURS} / it: median over rounds of the ratio within a round; {OURS} validates while it trains, peers do not",
        *filter(None, [noise(rounds)]),
    ]


def show(rounds: Sequence[Round], machine: Machine) -> None:
    """Print it on stdout."""
    cells = rows(standings(rounds))
    if sys.stdout.isatty():
        _rich(cells)
    else:
        print("\n".join(table(HEAD, cells)))
    print("\n".join(["", *footnotes(rounds, machine)]), flush=True)


def _rich(cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for i, column in enumerate(HEAD):
        drawn.add_column(column, justify="right" if i else "left")
    for row in cells:
        drawn.add_row(*row)
    Console(highlight=False).print(drawn)
