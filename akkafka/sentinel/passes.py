"""What a validating, testing or predicting sentinel decides: one pass over a set, whatever happens to its lanes.

Nothing of a pass has to outlive its process: who takes a lane over begins a pass of its own. The lanes' sequences go on
all the same, so two owners of one lane may issue different batches under one seq; the first in the log counts, and the
other's owner sees a foreign tag come out and issues its batch again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from akkafka.data.epochs import Cursor
from akkafka.protocol.messages import Forward, Mode, Run
from akkafka.protocol.sequence import Verdict, judge
from akkafka.sentinel import events as e


@dataclass(frozen=True, slots=True)
class PassSettings:
    """What the core has to know beforehand."""

    run: Run
    mode: Mode
    gates: int
    window: int


@dataclass(slots=True)
class _Lane:
    issued: int
    answered: int
    open: dict[int, int] = field(default_factory=dict)  # seq -> batch of the pass


@dataclass(slots=True)
class _Pass:
    asked: e.PassAsked
    todo: deque[int]
    results: dict[int, e.Evaluated] = field(default_factory=dict)
    evaluating: dict[tuple[int, int], int] = field(default_factory=dict)  # (lane, seq) -> batch


@dataclass(slots=True)
class PassCore:
    """See the module's docstring. `on(event)` returns what has to be done, in order."""

    settings: PassSettings
    duplicates: int = 0
    refused: int = 0
    leaving: bool = False
    _lanes: dict[int, _Lane] = field(default_factory=dict)
    _pass: _Pass | None = None
    _out: list[e.Instruction] = field(default_factory=list)

    def on(self, event: object) -> list[e.Instruction]:
        """Take an event; return what has to be done, in order."""
        match event:
            case e.LaneTaken():
                standing = event.standing
                self._lose(standing.lane)
                self._lanes[standing.lane] = _Lane(standing.issued, standing.answered)
            case e.LaneLost():
                self._lose(event.lane)
            case e.PassAsked():
                self._pass = _Pass(event, deque(range(event.batches)))
                for lane in self._lanes.values():
                    lane.open.clear()  # batches of the pass before: nobody waits for them any more
            case e.OutputArrived():
                self._output(event)
            case e.Evaluated():
                self._evaluated(event)
            case e.LeaveAsked():
                self.leaving = True
            case _:
                raise TypeError(f"no event of a pass: {event!r}")
        self._issue()
        out, self._out = self._out, []
        return out

    @property
    def lanes(self) -> frozenset[int]:
        """The lanes that this process works on."""
        return frozenset(self._lanes)

    @property
    def working(self) -> bool:
        """A pass is on."""
        return self._pass is not None

    @property
    def open_batches(self) -> int:
        """Batches of the pass that are on their way."""
        return sum(len(lane.open) for lane in self._lanes.values())

    def oldest_open(self, lane: int) -> int:
        """Seq of the lane's oldest batch that is on its way; the next to be issued if there is none."""
        own = self._lanes[lane]
        return min(own.open, default=own.issued)

    def standing(self, lane: int) -> e.LaneStanding:
        """Where an own lane stands."""
        own = self._lanes[lane]
        return e.LaneStanding(lane, own.issued, None, own.answered, own.answered)

    def _lose(self, number: int) -> None:
        lane = self._lanes.pop(number, None)
        if lane is not None:
            self._again(list(lane.open.values()))

    def _again(self, batches: list[int]) -> None:
        if self._pass is not None:
            self._pass.todo.extendleft(reversed(batches))

    def _output(self, event: e.OutputArrived) -> None:
        message = event.message
        lane = self._lanes.get(message.lane)
        reason = self._unfit(event)
        if reason:
            self.refused += 1
            self._out.append(e.Refuse(message.lane, event.offset, reason))
            return
        if lane is None:
            return
        match judge(message.seq, lane.answered):
            case Verdict.DUPLICATE:
                self.duplicates += 1
                return
            case Verdict.AHEAD if not self._ours(lane, message):
                self.refused += 1
                reason = f"seq {message.seq} comes too early, the lane's next is {lane.answered}"
                self._out.append(e.Refuse(message.lane, event.offset, reason))
                return
            case _:  # first copies stand in the log without gaps: if ours comes early, our standing was old
                pass
        lane.answered = message.seq + 1
        lane.issued = max(lane.issued, lane.answered)
        self._came_out(lane, event)

    def _unfit(self, event: e.OutputArrived) -> str:
        message = event.message
        if message.run != self.settings.run:
            return f"of run {message.run}, this is {self.settings.run}"
        if message.mode is not self.settings.mode:
            return f"a batch to {message.mode} in a lane to {self.settings.mode}"
        if len(message.trail) != self.settings.gates:
            return f"a trail of {len(message.trail)} gates, the network has {self.settings.gates}"
        return ""

    def _came_out(self, lane: _Lane, event: e.OutputArrived) -> None:
        message = event.message
        self._again([lane.open.pop(seq) for seq in sorted(lane.open) if seq < message.seq])  # they were duplicates
        batch = lane.open.pop(message.seq, None)
        if batch is None or self._pass is None:
            return  # of an earlier pass, or of the lane's owner before us
        if not self._carries(message, batch):
            self._again([batch])  # another batch was first in the log under this seq, of another owner or an older one
            return
        self._pass.evaluating[(message.lane, message.seq)] = batch
        self._out.append(e.Evaluate(event.offset, message))

    def _ours(self, lane: _Lane, message: Forward) -> bool:
        batch = lane.open.get(message.seq)
        return batch is not None and self._carries(message, batch)

    def _carries(self, message: Forward, batch: int) -> bool:
        current = self._pass
        return current is not None and message.tag == current.asked.tag and message.cursor.batch == batch

    def _evaluated(self, event: e.Evaluated) -> None:
        current = self._pass
        if current is None:
            return
        batch = current.evaluating.pop((event.message.lane, event.message.seq), None)
        if batch is None:
            return
        current.results[batch] = event
        if len(current.results) == current.asked.batches:
            self._pass = None
            results = tuple(current.results[batch] for batch in range(current.asked.batches))
            self._out.append(e.PassEnded(current.asked.tag, results))

    def _issue(self) -> None:
        current = self._pass
        if current is None or self.leaving:
            return
        while current.todo:
            lanes = [(len(lane.open), number) for number, lane in self._lanes.items()]
            fewest = min(lanes, default=None)
            if fewest is None or fewest[0] >= self.settings.window:
                return
            self._issue_one(current, fewest[1])

    def _issue_one(self, current: _Pass, number: int) -> None:
        lane = self._lanes[number]
        batch = current.todo.popleft()
        asked = current.asked
        after = Cursor(asked.number, batch + 1)
        self._out.append(e.Issue(number, lane.issued, Cursor(asked.number, batch), after, asked.tag))
        lane.open[lane.issued] = batch
        lane.issued += 1
