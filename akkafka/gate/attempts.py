"""What a gate begins of what it could begin: caution.py's rules, applied to the batches of its lanes. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from akkafka.gate import events as e
from akkafka.gate.caution import Caution, Direction, Key, Step, Tried
from akkafka.gate.lane import Lane
from akkafka.gate.versions import Versions


class Attempts:
    """Asks for the notes that first batches need before they are begun."""

    def __init__(
        self, tried: Mapping[Key, Tried], lanes: Sequence[Lane], versions: Versions, asked: list[e.Instruction]
    ) -> None:
        """`tried`: what other processes began with before. `asked`: takes what has to be done."""
        self.caution = Caution(tried, self.in_the_log)
        self._lanes, self._versions, self._asked = lanes, versions, asked

    def may_begin(self, lane: int, direction: Direction, seq: int) -> bool:
        """Whether a batch that could be begun now is; asks for the note that it may need first."""
        step = self.caution.step(lane, direction, seq)
        if step is Step.NOTE:
            times = self.caution.times(lane, direction, seq) + 1
            self._asked.append(e.NoteAttempt(lane, direction, seq, times))
        return step is Step.GO

    def given_up(self, lane: int, direction: Direction, seq: int) -> str:
        """Why this batch is not computed again; empty if it may be."""
        if not self.caution.hopeless(lane, direction, seq):
            return ""
        return f"its {direction} pass has ended {self.caution.times(lane, direction, seq)} processes in a row"

    def let_others(self) -> bool:
        """True if others waited for a batch that cannot be begun yet, as its weights are not there."""
        awaited = self.caution.awaited
        if awaited is None:
            return False
        number, direction, seq = awaited
        lane = self._lanes[number]
        waiting: deque[Any] = lane.forwards if direction == "forward" else lane.backwards
        if not waiting or waiting[0][1].message.seq != seq:
            return False  # it is under way
        self.caution.let_others()
        return True

    def in_the_log(self, lane: int, direction: Direction) -> int:
        """What came of batches before this seq is in the log, whoever did them."""
        applied = self._versions.certain.applied[lane]
        return applied if direction == "backward" else max(applied, self._lanes[lane].next_backward)
