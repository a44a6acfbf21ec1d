"""A batch that ends its process again and again is given up, instead of ending every process that comes. Pure.

A process cannot tell what it dies of; the next one can. Of each lane and direction a process works on one batch alone
at first: it puts down in the log that it begins it, and begins no other of that lane and direction, nor the first one
of another, until what came of it is in the log. So a batch that ends its process is such a first batch in the next one,
or in the one after it; and one that `LIMIT` processes in a row have begun with, none of whom got past it, is not
computed again: void on its way forward, zeroed on its way back. Processes that are killed for other reasons, so many in
a row within the same batch, look the same.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

LIMIT: Final = 3  # processes
Direction = Literal["forward", "backward"]
Key = tuple[int, Direction]  # of a lane


class Step(enum.Enum):
    """What to do with a lane's next batch, which could be begun now."""

    GO = enum.auto()
    NOTE = enum.auto()  # put down first that it is begun
    WAIT = enum.auto()  # until it is put down, or for a first batch


@dataclass(frozen=True, slots=True)
class Tried:
    """A lane's first batch of some process, and how many processes in a row began with it."""

    seq: int
    times: int


@dataclass(slots=True)
class _Trying:
    key: Key
    seq: int
    noted: bool = False
    awaited: bool = False  # by first batches of other lanes or directions


class Caution:
    """Of one process, about each lane and direction."""

    def __init__(self, tried: Mapping[Key, Tried], done: Callable[[int, Direction], int]) -> None:
        """`tried`: what earlier processes have put down. `done`: what came of batches before this seq is in the log."""
        self._tried, self._done = dict(tried), done
        self._over: set[Key] = set()
        self._trying: _Trying | None = None
        self._delivered: dict[int, int] = {}  # lane -> outputs of ours before this seq are in the log

    def cautious(self, lane: int) -> bool:
        """Whether it matters what of the lane's outputs is delivered."""
        return (lane, "forward") not in self._over

    def delivered(self, lane: int, seq: int) -> None:
        """The output of this batch is in the log."""
        self._delivered[lane] = seq + 1

    def noted(self, lane: int, direction: Direction, seq: int) -> None:
        """It has been put down."""
        trying = self._trying
        if trying is not None and (trying.key, trying.seq) == ((lane, direction), seq):
            trying.noted = True

    def times(self, lane: int, direction: Direction, seq: int) -> int:
        """How many earlier processes in a row began with this batch."""
        tried = self._tried.get((lane, direction))
        return tried.times if tried is not None and tried.seq == seq else 0

    def hopeless(self, lane: int, direction: Direction, seq: int) -> bool:
        """Whether this batch has ended as many processes as it takes."""
        return (lane, direction) not in self._over and self.times(lane, direction, seq) >= LIMIT

    def step(self, lane: int, direction: Direction, seq: int) -> Step:
        """Whether this batch, which could be begun now, is."""
        key: Key = (lane, direction)
        self._look()
        if key in self._over:
            return Step.GO
        trying = self._trying
        if trying is None:
            self._trying = _Trying(key, seq)
            return Step.NOTE
        if trying.key != key:
            trying.awaited = True
            return Step.WAIT
        return Step.GO if trying.noted and trying.seq == seq else Step.WAIT

    @property
    def awaited(self) -> tuple[int, Direction, int] | None:
        """The batch that others wait for, once it is put down."""
        trying = self._trying
        return (*trying.key, trying.seq) if trying is not None and trying.noted and trying.awaited else None

    def let_others(self) -> None:
        """The one that they wait for cannot be begun after all: its turn comes again."""
        self._trying = None

    def _look(self) -> None:
        """What came of the batch that is tried may be in the log by now."""
        trying = self._trying
        if trying is None:
            return
        lane, direction = trying.key
        delivered = self._delivered.get(lane, 0) if direction == "forward" else 0
        if max(delivered, self._done(lane, direction)) > trying.seq:
            self._over.add(trying.key)
            self._trying = None
