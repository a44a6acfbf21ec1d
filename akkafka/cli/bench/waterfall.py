"""Where a batch's time goes, from the stamps that it brought home (protocol/stamps.py): tables and one batch's picture.

Between two stations a batch is *encoded*, and then on the *wire*: producer, broker and fetch together, which nobody can
tell apart by looking at one end (`akkafka bench wire` measures a hop by itself). At a station it is *decoded*, waits in
the *queue* until the compute thread is free and the gate's window has room, is *computed*, and waits for the *commit*:
the journal's acknowledgement of the weights it was computed with, and batches before it. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

from akkafka.protocol.stamps import stations

SEGMENTS: Final = ("encode", "wire", "decode", "queue", "compute", "commit")
LETTERS: Final = "e~dqC:"
WIDTH: Final = 72
_NS_PER_MS: Final = 1e6


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of a batch's time."""

    station: int
    segment: int
    start_ms: float  # since the batch's making began
    length_ms: float


@dataclass(frozen=True, slots=True)
class Trip:
    """One batch's way there and back."""

    bars: tuple[Bar, ...]

    @property
    def total_ms(self) -> float:
        """From its making to the moment at which the last gate sends it home."""
        return max(bar.start_ms + bar.length_ms for bar in self.bars)

    def spent(self, station: int, segment: int) -> float:
        """Milliseconds; 0 where there is no such stretch."""
        return sum(bar.length_ms for bar in self.bars if (bar.station, bar.segment) == (station, segment))


def trip_of(stamps: Sequence[int], gates: int) -> Trip | None:
    """None for a batch that tells nothing of how long batches take: see `stations`."""
    found = stations(stamps, gates)
    if found is None:
        return None
    origin = found[0][0]
    bars: list[Bar] = []
    left_before: int | None = None
    for at, times in enumerate(found):
        marks = [times[0] if left_before is None else left_before, *times]
        bars += [
            Bar(at, segment, (start - origin) / _NS_PER_MS, (end - start) / _NS_PER_MS)
            for segment, (start, end) in enumerate(pairwise(marks))
        ]
        left_before = times[-1]
    return Trip(tuple(bars))


def station_names(gates: Sequence[str]) -> list[str]:
    """As they come on the way."""
    there, back = [f"{gate} forward" for gate in gates], [f"{gate} backward" for gate in reversed(gates)]
    return ["issue", *there, "loss", *back]


def medians(trips: Sequence[Trip], count: int) -> list[list[float]]:
    """By station and segment, ms. Medians do not add up to a median."""
    return [
        [median(trip.spent(at, segment) for trip in trips) for segment in range(len(SEGMENTS))] for at in range(count)
    ]


def rows(table: Sequence[Sequence[float]], names: Sequence[str]) -> list[list[str]]:
    """Cells: each station, then the sums."""
    sums = [sum(column) for column in zip(*table, strict=True)]
    numbered = [*zip(names, table, strict=True), ("all", sums)]
    return [[name, *(f"{value:.2f}" for value in cells), f"{sum(cells):.2f}"] for name, cells in numbered]


def typical(trips: Sequence[Trip]) -> Trip:
    """The one of median length (of an even number the shorter of both in the middle)."""
    return sorted(trips, key=lambda trip: trip.total_ms)[(len(trips) - 1) // 2]


def drawn(trip: Trip, names: Sequence[str]) -> list[str]:
    """A line for each station, time from left to right; a stretch too short for a letter shows none."""
    per_column = trip.total_ms / WIDTH
    width = max(map(len, names))
    lines = []
    for at, name in enumerate(names):
        cells = [" "] * WIDTH
        for bar in (bar for bar in trip.bars if bar.station == at):
            first, behind = round(bar.start_ms / per_column), round((bar.start_ms + bar.length_ms) / per_column)
            cells[first:behind] = LETTERS[bar.segment] * (behind - first)
        lines.append(f"{name:<{width}} |{''.join(cells)}|")
    legend = ", ".join(f"{letter} {name}" for letter, name in zip(LETTERS, SEGMENTS, strict=True))
    return [*lines, f"{'':<{width}}  {trip.total_ms:.1f} ms from left to right; {legend}"]
