"""What a gate lets in: of each lane the next batch, once, and nothing of another run or from another place."""

from __future__ import annotations

from collections.abc import Sequence

from akkafka.gate import events as e
from akkafka.gate.lane import Lane, Statistics
from akkafka.protocol.messages import Backward, Forward, Run
from akkafka.protocol.sequence import Verdict, judge


class Inbox:
    """Puts what arrives into its lane, in the order of arrival, or says why not."""

    def __init__(self, run: Run, gate: int, fixed_lanes: int, lanes: Sequence[Lane], statistics: Statistics) -> None:
        """`fixed_lanes`: training lanes of the fixed schedule; 0: arrival."""
        self._run, self._gate, self._fixed_lanes = run, gate, fixed_lanes
        self._lanes, self.statistics = lanes, statistics
        self._order = 0

    def take(self, event: e.ForwardArrived | e.BackwardArrived) -> e.Refuse | None:
        """Put it where it waits; a copy of what was taken before is counted and dropped."""
        direction = "forward" if isinstance(event, e.ForwardArrived) else "backward"
        message = event.message
        reason = self._foreign(message) or self._misplaced(message)
        if reason:
            return self.refused(direction, message.lane, event.offset, reason)
        lane = self._lanes[message.lane]
        expected = lane.next_forward if direction == "forward" else lane.next_backward
        match judge(message.seq, expected):
            case Verdict.DUPLICATE:
                self.statistics.duplicates += 1
            case Verdict.AHEAD:
                reason = f"seq {message.seq} comes too early, the lane's next is {expected}"
                return self.refused(direction, message.lane, event.offset, reason)
            case Verdict.NEXT:
                self._put(lane, event)
        return None

    def refused(self, direction: str, lane: int, offset: int, reason: str) -> e.Refuse:
        """Count it, and say so."""
        self.statistics.refused += 1
        return e.Refuse(direction, lane, offset, reason)

    def congested(self, direction: str, bound: int) -> frozenset[int]:
        """Lanes with so many waiting inputs, or more."""
        return frozenset(
            lane.number
            for lane in self._lanes
            if len(lane.forwards if direction == "forward" else lane.backwards) >= bound
        )

    def _put(self, lane: Lane, event: e.ForwardArrived | e.BackwardArrived) -> None:
        self._order += 1
        if isinstance(event, e.ForwardArrived):
            lane.next_forward += 1
            lane.forwards.append((self._order, event))
        else:
            lane.next_backward += 1
            lane.backwards.append((self._order, event))

    def _foreign(self, message: Forward | Backward) -> str:
        """Why a message is none of this gate's lanes; empty if it is."""
        if message.run != self._run:
            return f"of run {message.run}, this is {self._run}"
        if message.lane >= len(self._lanes):
            return f"lane {message.lane} of {len(self._lanes)}"
        training = isinstance(message, Backward) or message.mode.training
        if training and 0 < self._fixed_lanes <= message.lane:
            return f"lane {message.lane} has no place in the fixed schedule"
        return ""

    def _misplaced(self, message: Forward | Backward) -> str:
        """Why a message cannot be on its way through this gate; empty if it can."""
        passed = len(message.trail)
        fits = passed == self._gate if isinstance(message, Forward) else passed > self._gate
        return "" if fits else f"a trail of {passed} gates"
