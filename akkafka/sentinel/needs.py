"""What a sentinel still needs of the lanes that it owns: the rest may be trimmed. Pure, so the simulation runs it."""

from __future__ import annotations

from akkafka.broker.trimming import FirstCopies

HOMES = 1024  # homecomings that stay: they are small, and who takes a lane looks at its last ones (lanes.py)


class OutputNeeds:
    """The open end of a sentinel's lanes."""

    def __init__(self, window: int | None) -> None:
        """`window`: batches of a lane that may be open at the last gate; None: nothing comes back in these lanes."""
        self._window = window
        self._taken: dict[int, FirstCopies] = {}
        self._next: dict[int, int] = {}
        self._answered: dict[int, int] = {}

    def accepted(self, lane: int, seq: int, offset: int) -> None:
        """The lane's next output lies there."""
        self._taken.setdefault(lane, FirstCopies()).take(seq, offset)
        self._next[lane] = seq + 1

    def answered(self, lane: int, seq: int) -> None:
        """The gradient of this output is in the log: a new owner goes on behind it."""
        self._answered[lane] = max(self._answered.get(lane, 0), seq + 1)

    def outputs(self, lane: int) -> int | None:
        """Offset before which the lane's outputs are needless; the last gate asks, too (gate/needs.py)."""
        if lane not in self._taken:
            return None
        following = self._next[lane]
        needed = following if self._window is None else min(self._answered.get(lane, 0), following - self._window)
        return self._taken[lane].needless(needed)


class HomeNeeds:
    """Homecomings of a training sentinel's lanes."""

    def __init__(self, window: int = 0, *, least: int = HOMES) -> None:
        """`window` and `least`: how many homecomings stay, whichever is more."""
        self._kept = max(least, window)
        self._taken: dict[int, FirstCopies] = {}
        self._next: dict[int, int] = {}

    def accepted(self, lane: int, seq: int, offset: int) -> None:
        """The lane's next homecoming lies there."""
        self._taken.setdefault(lane, FirstCopies()).take(seq, offset)
        self._next[lane] = seq + 1

    def homes(self, lane: int) -> int | None:
        """Offset before which the lane's homecomings are needless."""
        if lane not in self._taken:
            return None
        return self._taken[lane].needless(self._next[lane] - self._kept)
