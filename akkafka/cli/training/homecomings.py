"""When training batches came home, in bounded memory: what is old is kept in ever larger portions."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

MOST: Final = 1 << 14  # portions at once, about 2 MB
RECENT: Final = 2000  # batches kept one by one, for the speed of the last seconds
REMEMBERED: Final = 1 << 12  # seqs of a lane below its newest: figures come twice within seconds, or not at all

Portion = tuple[int, int]
"""(home of its last batch in ns of wall clock, samples)."""


@dataclass(slots=True)
class Homecomings:
    """See the module's docstring. Each portion has `each` batches; the last ones may still be on their way into one."""

    count: int = 0
    each: int = 1
    portions: list[Portion] = field(default_factory=list)
    recent: deque[Portion] = field(default_factory=lambda: deque(maxlen=RECENT))
    _begun: list[Portion] = field(default_factory=list)

    def add(self, home_ns: int, samples: int) -> None:
        """One more batch."""
        self.count += 1
        self.recent.append((home_ns, samples))
        self._begun.append((home_ns, samples))
        if len(self._begun) == self.each:
            self.portions.append(_together(self._begun))
            self._begun.clear()
        if len(self.portions) == MOST:
            ordered = sorted(self.portions)
            self.portions = [_together(ordered[i : i + 2]) for i in range(0, MOST, 2)]
            self.each *= 2


def _together(portions: list[Portion]) -> Portion:
    return max(home for home, _ in portions), sum(samples for _, samples in portions)


@dataclass(slots=True)
class Heard:
    """Which batches of a lane were told."""

    _newest: int = -1
    _seqs: set[int] = field(default_factory=set)

    def first(self, seq: int) -> bool:
        """True if it was not told before, as far as that is remembered; what is older counts as told."""
        if seq in self._seqs or seq <= self._newest - REMEMBERED:
            return False
        self._seqs.add(seq)
        self._newest = max(self._newest, seq)
        if len(self._seqs) > 2 * REMEMBERED:
            self._seqs = {held for held in self._seqs if held > self._newest - REMEMBERED}
        return True
