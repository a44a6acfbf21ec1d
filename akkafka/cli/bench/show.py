"""How a bench's outcome looks: one table, the same words on a terminal and in a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from akkafka.cli.bench.figures import OURS, Round, Standing, noise, standings
from akkafka.cli.bench.machine import Machine
from akkafka.cli.console import table

HEAD = ("contender", "samples/s (median)", "least", "greatest", "accuracy", f"{OURS} / it", "of medians")


def head_of(target: float) -> tuple[str, ...]:
    """The columns, with one more if a target's time was asked for."""
    return (*HEAD, f"s to {target:.1%}") if target else HEAD


def rows(found: Sequence[Standing], target: float = 0.0) -> list[tuple[str, ...]]:
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
            *((_told(standing.seconds_to_target),) if target else ()),
        )
        for standing in found
    ]


def _told(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.2f}"


def footnotes(rounds: Sequence[Round], machine: Machine, target: float = 0.0) -> list[str]:
    """What figures depend on."""
    versions = {f"{name} {version}" for turn in rounds for name, version in turn.outcome.versions.items()}
    return [
        f"machine: {machine.line}",
        *([f"versions: {', '.join(sorted(versions))}"] if versions else []),
        f"{OURS} / it: median over rounds of the ratio within a round"
        + ("" if target else f"; {OURS} validates while it trains, peers do not"),
        *([_TIMED] if target else []),
        *filter(None, [noise(rounds)]),
    ]


_TIMED = (
    f"time from the first batch until the update after which the weights have it, every fifth update's validated when "
    f"all is over ({OURS}'s are taken from its log); never: not in every round"
)


def show(rounds: Sequence[Round], machine: Machine, target: float = 0.0) -> None:
    """Print it on stdout."""
    cells, head = rows(standings(rounds), target), head_of(target)
    if sys.stdout.isatty():
        _rich(head, cells)
    else:
        print("\n".join(table(head, cells)))
    print("\n".join(["", *footnotes(rounds, machine, target)]), flush=True)


def _rich(head: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for i, column in enumerate(head):
        drawn.add_column(column, justify="right" if i else "left")
    for row in cells:
        drawn.add_row(*row)
    Console(highlight=False).print(drawn)
