"""What a training sentinel decides: when to issue, what to answer; no clock, no socket, no data.

It keeps nothing that the log does not hold: a lane's standing is read from the last records of its topics, so any
member of the group finishes what another began.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from akkafka.data.epochs import Cursor
from akkafka.protocol.messages import Array, Backward, Forward, Narrow, Run
from akkafka.protocol.sequence import Verdict, judge
from akkafka.sentinel import events as e


@dataclass(frozen=True, slots=True)
class LaneCourse:
    """Which batches a lane brings."""

    start: Cursor
    advance: Callable[[Cursor], Cursor]  # the lane's next place


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What a training core has to know beforehand."""

    run: Run
    gates: int
    window: int
    max_staleness: int
    courses: dict[int, LaneCourse]  # of the lanes that this process has the data for
    epochs: int | None = None  # None: until asked to leave
    burst: int | None = 1  # batches that are issued together, and travel together; None: a third of the window


@dataclass(slots=True)
class _Lane:
    issued: int
    cursor: Cursor
    home: int
    answered: int


@dataclass(slots=True, eq=False)
class _Answer:
    offset: int  # of the output
    gradient: Backward | None = None  # None: its loss is being computed


@dataclass(slots=True)
class _Age:
    """How old a lane's oldest open batch is, in batches that came home meanwhile, from whichever lane."""

    issued: int = 0
    home: int = 0
    since: int = 0  # homecomings of all lanes when the oldest open batch became the oldest
    heard: set[int] = field(default_factory=set)  # homecomings: a lane's standing may be read before them

    @property
    def open(self) -> bool:
        return self.issued > self.home


@dataclass(slots=True)
class TrainStatistics:
    """What is counted, since this process began."""

    issued: int = 0
    answered: int = 0
    voids: int = 0
    duplicates: int = 0
    refused: int = 0


@dataclass(slots=True)
class TrainCore:
    """See the module's docstring. `on(event)` returns what has to be done, in order."""

    settings: TrainSettings
    statistics: TrainStatistics = field(default_factory=TrainStatistics)
    leaving: bool = False
    window: int | None = None  # in force instead of the settings' own
    _lanes: dict[int, _Lane] = field(default_factory=dict)
    _ages: dict[int, _Age] = field(default_factory=dict)
    _homecomings: int = 0
    _answers: dict[int, deque[_Answer]] = field(default_factory=dict)  # by lane, also of lanes lost meanwhile
    _out: list[e.Instruction] = field(default_factory=list)

    def on(self, event: object) -> list[e.Instruction]:
        """Take an event; return what has to be done, in order."""
        match event:
            case e.LaneTaken():
                self._take(event.standing)
            case e.LaneLost():
                self._lanes.pop(event.lane, None)
            case e.OutputArrived():
                self._output(event)
            case e.Evaluated():
                self._evaluated(event)
            case e.HomeArrived():
                self._home(event)
            case e.LaneTold():
                self._told(event)
            case e.WindowSet():
                self.window = event.window
            case e.LeaveAsked():
                self.leaving = True
            case _:
                raise TypeError(f"no event of a training sentinel: {event!r}")
        self._issue()
        out, self._out = self._out, []
        return out

    # --- what the outside wants to know -------------------------------------------------------------

    def standing(self, lane: int) -> e.LaneStanding:
        """Where an own lane stands."""
        own = self._lanes[lane]
        return e.LaneStanding(lane, own.issued, own.cursor, own.home, own.answered)

    @property
    def lanes(self) -> frozenset[int]:
        """The lanes that this process works on."""
        return frozenset(self._lanes)

    @property
    def finished(self) -> bool:
        """Every own lane has issued all that it should, and all of it is home."""
        return bool(self._lanes) and all(self.lane_finished(lane) for lane in self._lanes)

    def lane_finished(self, lane: int) -> bool:
        """True if nothing more will be issued in this lane and nothing is open."""
        own = self._lanes[lane]
        return self._exhausted(own) and own.home >= own.issued

    @property
    def settled(self) -> bool:
        """Nothing of ours is open."""
        return not any(self._answers.values()) and all(lane.home >= lane.issued for lane in self._lanes.values())

    @property
    def held_up_by(self) -> int | None:
        """The lane whose open batch is too old for anything to be issued, if there is one."""
        bound = self.settings.max_staleness
        late = [lane for lane, age in self._ages.items() if age.open and self._homecomings - age.since > bound]
        return min(late, default=None)

    # --- events -----------------------------------------------------------------------------------

    def _take(self, standing: e.LaneStanding) -> None:
        course = self.settings.courses[standing.lane]
        lane = self._lanes[standing.lane] = _Lane(
            standing.issued, standing.cursor or course.start, standing.home, standing.answered
        )
        age = self._ages.setdefault(standing.lane, _Age())
        lane.home = age.home = _home_of(age.heard, standing.home, standing.issued)
        # What others told of this lane is void: a batch may have been told as issued and never have reached the log.
        age.issued, age.since = standing.issued, self._homecomings

    def _output(self, event: e.OutputArrived) -> None:
        message = event.message
        lane = self._accept(event)
        if lane is None:
            return
        match judge(message.seq, lane.answered):
            case Verdict.DUPLICATE:
                self.statistics.duplicates += 1
            case Verdict.AHEAD:
                self._refuse(event, f"seq {message.seq} comes too early, the lane's next is {lane.answered}")
            case Verdict.NEXT:
                lane.answered += 1
                if message.seq >= lane.issued:  # another process has issued it
                    lane.issued, lane.cursor = message.seq + 1, message.after
                    lane.home = _home_of(self._ages[message.lane].heard, lane.home, lane.issued)
                    self._note_age(message.lane, lane.issued, lane.home)
                self._answer(event)

    def _accept(self, event: e.OutputArrived) -> _Lane | None:
        message, reason = event.message, ""
        if message.run != self.settings.run:
            reason = f"of run {message.run}, this is {self.settings.run}"
        elif not message.mode.training:
            reason = f"a batch to {message.mode} in a training lane"
        elif len(message.trail) != self.settings.gates:
            reason = f"a trail of {len(message.trail)} gates, the network has {self.settings.gates}"
        if reason:
            self._refuse(event, reason)
            return None
        return self._lanes.get(message.lane)

    def _refuse(self, event: e.OutputArrived, reason: str) -> None:
        self.statistics.refused += 1
        self._out.append(e.Refuse(event.message.lane, event.offset, reason))

    def _answer(self, event: e.OutputArrived) -> None:
        answers = self._answers.setdefault(event.message.lane, deque())
        answers.append(_Answer(event.offset))
        if event.message.void:
            self._settle(event.offset, event.message, event.message.void, None)
        else:
            self._out.append(e.Evaluate(event.offset, event.message))

    def _evaluated(self, event: e.Evaluated) -> None:
        self._settle(event.offset, event.message, event.void, event.dy)
        if not event.void:
            self._out.append(e.Report(event))

    def _settle(self, offset: int, message: Forward, void: str, dy: Array | Narrow | None) -> None:
        """Send what is ready, in lane order: a void batch needs no loss, but it must not overtake one that does."""
        answers = self._answers[message.lane]
        answer = next(a for a in answers if a.offset == offset and a.gradient is None)
        answer.gradient = Backward(
            self.settings.run,
            message.lane,
            message.seq,
            message.trail,
            offset,
            None if void else dy,
            void,
            tally=message.tally,
            stamps=message.stamps,
            followed=message.followed,
        )
        ready: list[Backward] = []
        for waiting in answers:
            if waiting.gradient is None:
                break
            ready.append(waiting.gradient)
        if ready and ready[-1].followed and len(ready) < len(answers):
            return  # the loss of the next is being computed: they travel together
        for gradient in ready:
            answers.popleft()
            self.statistics.answered += 1
            self.statistics.voids += bool(gradient.void)
            self._out.append(e.SendGradient(gradient))

    def _home(self, event: e.HomeArrived) -> None:
        age = self._ages.setdefault(event.lane, _Age())
        own = self._lanes.get(event.lane)
        if event.seq < (age.home if own is None else own.home):
            return
        _hear(age.heard, event.seq)
        home = event.seq + 1
        if own is not None and event.seq != own.home:
            home = _home_of(age.heard, own.home, own.issued)
            if home == own.home:
                return  # of a batch that is not issued yet
        if own is not None:
            own.home = home
        self._homecomings += 1
        age.home, age.since = home, self._homecomings

    def _told(self, event: e.LaneTold) -> None:
        if event.lane not in self._lanes:
            self._note_age(event.lane, event.issued, event.home)

    def _note_age(self, lane: int, issued: int, home: int) -> None:
        age = self._ages.setdefault(lane, _Age())
        if not age.open:
            age.since = self._homecomings
        age.issued, age.home = max(age.issued, issued), max(age.home, home)

    # --- issuing ----------------------------------------------------------------------------------

    def _issue(self) -> None:
        """Fill the windows that have room for a burst, lane by lane in turn, so that no lane starves another."""
        burst, round_ = self._burst, 0
        wide = [number for number, lane in self._lanes.items() if self._room(lane) >= burst]
        while not self.leaving and self.held_up_by is None:
            ready = [n for n in wide if self._room(self._lanes[n]) > 0 and not self._exhausted(self._lanes[n])]
            if not ready:
                return
            round_ += 1
            for number in ready:
                self._issue_one(number, self._lanes[number], more=round_ % burst != 0)

    def _room(self, lane: _Lane) -> int:
        return (self.window or self.settings.window) - (lane.issued - lane.home)

    @property
    def _burst(self) -> int:
        """One batch in three: two bursts are on their way while the third is being answered."""
        window = self.window or self.settings.window
        return max(1, window // BURSTS) if self.settings.burst is None else min(self.settings.burst, window)

    def _exhausted(self, lane: _Lane) -> bool:
        return self.settings.epochs is not None and lane.cursor.epoch >= self.settings.epochs

    def _issue_one(self, number: int, lane: _Lane, *, more: bool) -> None:
        """`more`: the burst is not complete with it."""
        at, after = lane.cursor, self.settings.courses[number].advance(lane.cursor)
        lane.cursor = after
        lane.issued += 1
        followed = more and self._room(lane) > 0 and not self._exhausted(lane)
        self._out.append(e.Issue(number, lane.issued - 1, at, after, followed=followed))
        self.statistics.issued += 1
        self._note_age(number, lane.issued, lane.home)


BURSTS = 3  # that a window is made of where none is told
_HEARD = 1024  # homecomings of a lane that are remembered: far more than happen while a standing is read


def _hear(heard: set[int], seq: int) -> None:
    heard.add(seq)
    if len(heard) > 2 * _HEARD:
        heard.difference_update(sorted(heard)[:_HEARD])


def _home_of(heard: set[int], home: int, issued: int) -> int:
    """Next seq to come home, if the lane stands at `home` as far as is known; forgets what is over.

    First copies stand in the log without gaps: where a batch is, all earlier ones are. But what nobody has issued is
    not home, whoever says so.
    """
    home = max((seq + 1 for seq in heard if home <= seq < issued), default=home)
    heard.difference_update([seq for seq in heard if seq < home])
    return home
