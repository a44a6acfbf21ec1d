"""`window = "auto"`: the smallest window that keeps the busiest gate busy. Pure: beats in, windows out, no clock.

What limits a pipeline is its busiest gate. With too few batches in flight it waits for the wire; with more than it
needs they only wait in front of it, and gradients grow older. So a sentinel tries windows, each for some beats of every
gate (they tell five times a second at which version they are, and for which share of the time their compute thread has
worked): it doubles until the busiest gate has twice made less than a twentieth more updates a second, then halves the
distance to the last window that was too small. It looks on when it has settled, and begins anew if the busiest gate's
updates fall by a third. Updates decide, not the share: where cores are short a job takes longer the more others are at
work, so that a gate can look busier and get less done.

Where no burst is told a third of the window travels together (training.py): then a larger window also costs less, and
may gain what one between them did not. So one doubling without a gain is not the end.

Where gates let fewer batches through (`gate_window`), staleness is bounded by that, whatever is chosen here. Several
sentinels look at the same gates and each finds a window for its own lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SKIPPED: Final = 4  # beats of each gate after a change: batches of the old window are on their way
BEATS: Final = 12  # of each gate then, for one trial: 2.4 s
UPDATES: Final = 50  # that the busiest gate makes in a trial, else it takes longer: fewer are no measure
LONGEST: Final = 150  # beats of a trial: 30 s
ENOUGH: Final = 0.95  # of the greatest rate that any window gave: less than a twentieth is left to be gained
LOST: Final = 0.67  # of the rate at which it settled
LOST_TRIALS: Final = 3  # in a row: something has changed, not just passed by
FIRST: Final = 2
BEYOND: Final = 4  # times the window that is enough: as far as it looks


@dataclass(frozen=True, slots=True)
class Choice:
    """The window from now on."""

    window: int
    settled: bool  # False: on trial
    why: str


@dataclass(frozen=True, slots=True)
class Beat:
    """What a gate told of itself."""

    busy: float  # share of the time since the beat before
    version: int
    at: float  # seconds, by any clock of its own


@dataclass(frozen=True, slots=True)
class _Trial:
    """What came of a window."""

    rate: float  # updates a second of the busiest gate
    busy: float  # its share
    gate: int


class WindowTuner:
    """See the module's docstring."""

    def __init__(self, limit: int, names: Sequence[str]) -> None:
        """`limit`: the greatest window. `names`: of the gates."""
        self._limit, self._names = limit, names
        self.why = ""
        self._begin()

    def _begin(self) -> None:
        self.window = min(FIRST, self._limit)
        self._trials: dict[int, _Trial] = {}  # by window
        self._settled: float | None = None
        self._lost = 0
        self._clear()

    def _clear(self) -> None:
        self._told: list[list[Beat]] = [[] for _ in self._names]

    def told(self, gate: int, beat: Beat) -> Choice | None:
        """A beat of a gate that works; the window if it changes or is found."""
        if gate < len(self._told):
            self._told[gate].append(beat)
        if any(len(beats) < SKIPPED + BEATS for beats in self._told):
            return None
        counted = [beats[SKIPPED:] for beats in self._told]
        means = [sum(beat.busy for beat in beats) / len(beats) for beats in counted]
        busiest = means.index(max(means))
        first, last = counted[busiest][0], counted[busiest][-1]
        if last.version - first.version < UPDATES and len(self._told[busiest]) < LONGEST:
            return None
        self._clear()
        rate = (last.version - first.version) / (last.at - first.at) if last.at > first.at else 0.0
        if self._settled is not None:
            return self._look_on(rate, self._settled)
        self._trials[self.window] = _Trial(rate, means[busiest], busiest)
        return self._next()

    def _next(self) -> Choice:
        best = max(trial.rate for trial in self._trials.values())
        high = min(window for window, trial in self._trials.items() if trial.rate >= ENOUGH * best)
        low = max((window for window in self._trials if window < high), default=0)  # too small
        most = max(self._trials)
        if most < BEYOND * high and most < self._limit:
            return self._try(min(2 * most, self._limit))
        if high - low > 1:
            return self._try((low + high) // 2)
        return self._settle(high)

    def _try(self, window: int) -> Choice:
        self.window = window
        return Choice(window, False, "on trial")

    def _settle(self, window: int) -> Choice:
        own = self._trials[window]
        most = max(self._trials, key=lambda tried: (self._trials[tried].rate, -tried))
        self.window, self._settled, self._lost = window, own.rate, 0
        compared = f"{self._trials[most].rate:.1f} with {most}" if most != window else "no other window gives more"
        told = f"works {own.busy:.0%} of the time and makes {own.rate:.1f} updates/s"
        self.why = f"the busiest gate, {self._names[own.gate]}, {told}; {compared}"
        if window == self._limit:
            self.why += f"; more than {self._limit} are not allowed (schedule.window_limit)"
        return Choice(window, True, self.why)

    def _look_on(self, rate: float, settled: float) -> Choice | None:
        self._lost = self._lost + 1 if rate < LOST * settled else 0
        if self._lost < LOST_TRIALS:
            return None
        self._begin()
        return Choice(self.window, False, "on trial")
