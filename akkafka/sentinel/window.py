"""`window = "auto"`: the smallest window that keeps the busiest gate busy. Pure: beats in, windows out, no clock.

What limits a pipeline is its busiest gate. With too few batches in flight it waits for the wire; with more than it
needs they only wait in front of it, and gradients grow older. So a sentinel tries windows, each for some beats of every
gate (they tell five times a second for which share of the time their compute thread has worked): it doubles until the
busiest gate gains less than a twentieth, then halves the distance to the last window that was too small. It looks on
when it has settled, and begins anew if the busiest gate's share falls by a third.

Where gates let fewer batches through (`gate_window`), staleness is bounded by that, whatever is chosen here. Several
sentinels look at the same gates and each finds a window for its own lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SKIPPED: Final = 5  # beats of each gate after a change: batches of the old window are on their way
BEATS: Final = 15  # of each gate then, for one trial: 3 s
ENOUGH: Final = 0.95  # of the greatest share that any window gave: less than a twentieth is left to be gained
LOST: Final = 0.67  # of the share at which it settled
LOST_TRIALS: Final = 3  # in a row: something has changed, not just passed by
FIRST: Final = 2


@dataclass(frozen=True, slots=True)
class Choice:
    """The window from now on."""

    window: int
    settled: bool  # False: on trial
    why: str


class WindowTuner:
    """See the module's docstring."""

    def __init__(self, limit: int, names: Sequence[str]) -> None:
        """`limit`: the greatest window. `names`: of the gates."""
        self._limit, self._names = limit, names
        self.why = ""
        self._begin()

    def _begin(self) -> None:
        self.window = min(FIRST, self._limit)
        self._shares: dict[int, tuple[float, int]] = {}  # window -> share of its busiest gate, and which that was
        self._settled: float | None = None
        self._low = 0  # greatest window known to be too small
        self._lost = 0
        self._clear()

    def _clear(self) -> None:
        self._told: list[list[float]] = [[] for _ in self._names]

    def told(self, gate: int, busy: float) -> Choice | None:
        """A beat of a gate that works; the window if it changes or is found."""
        if gate < len(self._told):
            self._told[gate].append(busy)
        if any(len(beats) < SKIPPED + BEATS for beats in self._told):
            return None
        means = [sum(beats[SKIPPED:]) / len(beats[SKIPPED:]) for beats in self._told]
        self._clear()
        share = max(means)
        if self._settled is not None:
            return self._look_on(share, self._settled)
        self._shares[self.window] = (share, means.index(share))
        return self._next()

    def _next(self) -> Choice:
        best = max(share for share, _ in self._shares.values())
        enough = [window for window, (share, _) in self._shares.items() if share >= ENOUGH * best]
        high = min(enough)
        self._low = max((window for window in self._shares if window < high), default=0)
        if high == max(self._shares) and high < self._limit:  # the last doubling still gained
            return self._try(min(2 * high, self._limit))
        if high - self._low > 1 and self._low:
            return self._try((self._low + high) // 2)
        if self._low == 0 and high > 1:
            return self._try(high // 2)
        return self._settle(high)

    def _try(self, window: int) -> Choice:
        self.window = window
        return Choice(window, False, "on trial")

    def _settle(self, window: int) -> Choice:
        share, gate = self._shares[window]
        most = max(self._shares, key=lambda tried: (self._shares[tried][0], -tried))
        self.window, self._settled, self._lost = window, share, 0
        compared = f"{self._shares[most][0]:.0%} with {most}" if most != window else "no other window gives more"
        self.why = f"the busiest gate, {self._names[gate]}, works {share:.0%} of the time; {compared}"
        if window == self._limit:
            self.why += f"; more than {self._limit} are not allowed (schedule.window_limit)"
        return Choice(window, True, self.why)

    def _look_on(self, share: float, settled: float) -> Choice | None:
        self._lost = self._lost + 1 if share < LOST * settled else 0
        if self._lost < LOST_TRIALS:
            return None
        self._begin()
        return Choice(self.window, False, "on trial")
