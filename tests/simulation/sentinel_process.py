"""Sentinels' processes in the simulation: real cores with shells that keep nothing but positions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from akkafka.broker.base import OffsetGoneError, TopicPartition
from akkafka.data.epochs import Cursor
from akkafka.protocol import wire
from akkafka.protocol.messages import Backward, Forward, Mode
from akkafka.sentinel import events as e
from akkafka.sentinel.needs import HomeNeeds, OutputNeeds
from akkafka.sentinel.passes import PassCore, PassSettings
from akkafka.sentinel.training import TrainCore, TrainSettings

from . import codec, toy
from .post import Item, Move, Post
from .world import RUN, World


@dataclass(eq=False)
class Taking:
    """A lane that is being taken: its topics are read one after the other, while others may write to them."""

    lane: int
    todo: deque[str]
    answered: int = 0
    outputs: int = 0  # position
    home: int = 0
    homes: int = 0  # position
    issued: int = 0
    cursor: Cursor | None = None


@dataclass(eq=False)
class Sentinel:
    """What both kinds have in common."""

    world: World
    name: str = field(init=False)
    alive: bool = True
    frozen: bool = False
    idle: bool = False
    unread: bool = False
    _positions: dict[TopicPartition, int] = field(default_factory=dict)
    _taking: dict[int, Taking] = field(default_factory=dict)
    _evaluations: deque[e.Evaluate] = field(default_factory=deque)
    _post: Post = field(init=False)
    _outputs: OutputNeeds = field(init=False)
    _homes: HomeNeeds = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.world.new_name("sentinel")
        window = self.world.scenario.window
        self._outputs = OutputNeeds(window if isinstance(self, TrainProcess) else None)
        self._homes = HomeNeeds(window, least=2)
        self._post = Post(self.world, self._delivered)

    # --- what can happen next -----------------------------------------------------------------------

    def moves(self) -> list[Move]:
        moves: list[Move] = []
        if not self._post.still:
            self._post.moves(moves, frozen=self.frozen)
        if self.frozen:
            return moves
        if self._evaluations:
            moves.append((self._evaluate, None))
        if self.unread:
            values = self.world.values
            unread = [where for where, position in self._positions.items() if position < len(values[where])]
            self.unread = bool(unread)
            moves.extend((self._read, where) for where in unread)
        if self._taking:
            moves.extend((self._take_on, taking) for taking in self._taking.values())
        return moves

    @property
    def core(self) -> TrainCore | PassCore:
        raise AttributeError

    def crash(self) -> None:
        self.alive = False
        if not self._post.broken:
            self._post.abandon()

    def break_edges(self) -> None:
        self._post.break_down()

    def leave(self) -> None:
        self._do(e.LeaveAsked())

    def has(self, lane: int) -> bool:
        """The lane is this process's, or is about to be."""
        return lane in self.core.lanes or lane in self._taking

    def take(self, lane: int) -> None:
        """Begin to take a lane: read where it stands, then tell the core."""
        raise AttributeError

    def _begin_at(self, where: TopicPartition, position: int) -> None:
        """Read on from there."""
        self._positions[where] = position
        self.world.listen(where, self)
        self.unread = True

    def lose(self, lane: int) -> None:
        self._taking.pop(lane, None)
        self._positions.pop(self.world.forward(self.world.scenario.gates, lane), None)
        self._do(e.LaneLost(lane))

    # --- the rest -----------------------------------------------------------------------------------

    def _do(self, event: object) -> None:
        for instruction in self.core.on(event):
            self._act(instruction)

    def _act(self, instruction: e.Instruction) -> None:
        match instruction:
            case e.Issue():
                message = self._batch(instruction)
                self._post.put(self.world.forward(0, message.lane), wire.encode(message), message.seq)
            case e.Evaluate():
                self._evaluations.append(instruction)
            case e.SendGradient():
                m = instruction.message
                where = self.world.backward(self.world.scenario.gates, m.lane)
                self._post.put(where, wire.encode(m), m.seq)
            case e.Refuse():
                where = self.world.forward(self.world.scenario.gates, instruction.lane)
                self.world.refuse(where, instruction.offset, instruction.reason)
            case e.PassEnded():
                self._pass_ended(instruction)
            case e.Report():
                return

    def _batch(self, issue: e.Issue) -> Forward:
        raise AttributeError

    def _pass_ended(self, ended: e.PassEnded) -> None:
        raise AttributeError

    def _take_on(self, taking: Taking) -> None:
        raise AttributeError

    def _delivered(self, where: TopicPartition, item: Item) -> None:
        if "backward" in where.topic:
            self._outputs.answered(where.partition, item.seq)

    def _evaluate(self, _: None) -> None:
        asked = self._evaluations.popleft()
        m = asked.message
        bad = (m.lane, m.seq) in self.world.scenario.poison and m.mode.training and self.world.choices.pick(6) == 1
        if m.void or bad:
            self._do(e.Evaluated(asked.offset, m, 0, 0.0, 0, None, void=m.void or "loss is not finite"))
            return
        dy = toy.loss_gradient(toy.number(m.x), toy.number(m.context["t"]))
        self._do(e.Evaluated(asked.offset, m, 1, float(toy.number(m.x)), 0, toy.word(dy)))

    def _read(self, where: TopicPartition) -> None:
        try:
            records = self.world.read(where, self._positions[where], 3 - self.world.choices.pick(3))
        except OffsetGoneError:
            self.crash()  # it was asleep, others have gone on: it begins anew
            return
        for record in records:
            if where not in self._positions:
                return
            self._positions[where] = record.offset + 1
            message = codec.read(record.value)
            fits = isinstance(message, Forward | Backward) and message.lane == where.partition
            before = self._standing(where.partition)
            if fits and isinstance(message, Forward) and "forward" in where.topic:
                self._do(e.OutputArrived(record.offset, message))
                if self._standing(where.partition).answered > before.answered:
                    self._outputs.accepted(message.lane, message.seq, record.offset)
            elif fits and isinstance(message, Backward) and "backward" in where.topic and self._is_home(message):
                self._do(e.HomeArrived(message.lane, message.seq))
                if before.home < self._standing(where.partition).home == message.seq + 1:
                    self._homes.accepted(message.lane, message.seq, record.offset)
            else:
                self.world.refuse(where, record.offset, "not a message of this topic and lane")

    def _standing(self, lane: int) -> e.LaneStanding:
        return self.core.standing(lane) if lane in self.core.lanes else e.LaneStanding(lane)

    def trim(self) -> None:
        """What of the own lanes nobody needs goes."""
        for lane in self.core.lanes:
            self.world.trim(self.world.forward(self.world.scenario.gates, lane), self._outputs.outputs(lane))
            self.world.trim(self.world.backward(0, lane), self._homes.homes(lane))

    def _is_home(self, message: Backward) -> bool:
        """All that the core cannot see of a homecoming."""
        return message.run == RUN and len(message.trail) == self.world.scenario.gates


@dataclass(eq=False)
class TrainProcess(Sentinel):
    """A training sentinel."""

    _core: TrainCore = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        s = self.world.scenario
        self._core = self.world.cores.train(
            TrainSettings(
                run=RUN,
                gates=s.gates,
                window=s.window,
                max_staleness=s.max_staleness,
                courses={lane: s.course(lane) for lane in range(s.lanes)},
                epochs=s.epochs,
                burst=s.burst,
            )
        )
        for lane in range(s.lanes):  # homecomings are heard from now on, whose lanes they may be
            where = self.world.backward(0, lane)
            self._begin_at(where, len(self.world.values[where]))

    @property
    def core(self) -> TrainCore:
        return self._core

    @property
    def over(self) -> bool:
        return not self.alive or (self._core.leaving and self._core.settled and self._post.empty)

    def take(self, lane: int) -> None:
        steps = ["issued", "answered", "home"]
        while len(steps) > 1 and self.world.choices.pick(2):
            steps.append(steps.pop(0))
        self._taking[lane] = Taking(lane, deque(steps))

    def _take_on(self, taking: Taking) -> None:
        if taking.todo:
            _READ[taking.todo.popleft()](self.world, taking)
            return
        del self._taking[taking.lane]
        standing = e.LaneStanding(taking.lane, taking.issued, taking.cursor, taking.home, taking.answered)
        self._begin_at(self.world.forward(self.world.scenario.gates, taking.lane), taking.outputs)
        if self.world.scenario.rereads_homes:
            self._begin_at(self.world.backward(0, taking.lane), taking.homes)
        self._do(e.LaneTaken(standing))

    def tell(self, other: TrainProcess) -> None:
        """Figures reach another process."""
        for lane in self._core.lanes:
            standing = self._core.standing(lane)
            other._do(e.LaneTold(lane, standing.issued, standing.home))

    def _batch(self, issue: e.Issue) -> Forward:
        x = toy.sample(0, issue.cursor.epoch, issue.cursor.batch)
        context = {"t": toy.word(issue.cursor.batch + 5)}
        return Forward(
            RUN,
            Mode.TRAIN,
            issue.lane,
            issue.seq,
            issue.cursor,
            issue.after,
            (),
            toy.word(x),
            context,
            tally=self.world.scenario.tally(issue.cursor),
        )


def _read_issued(world: World, taking: Taking) -> None:
    standing = world.standing(world.forward(0, taking.lane))
    taking.issued = standing.next_seq
    if isinstance(standing.last, Forward):
        taking.cursor = standing.last.after


def _read_answered(world: World, taking: Taking) -> None:
    standing = world.standing(world.backward(world.scenario.gates, taking.lane))
    taking.answered = standing.next_seq
    if isinstance(standing.last, Backward):
        taking.outputs = standing.last.source + 1


def _read_home(world: World, taking: Taking) -> None:
    # Never by the last message: homecomings missed behind a late duplicate are not heard again, the window stays full.
    end = world.end(world.backward(0, taking.lane))
    taking.home, taking.homes = end.next_seq, end.position


_READ: dict[str, Callable[[World, Taking], None]] = {
    "issued": _read_issued,
    "answered": _read_answered,
    "home": _read_home,
}


@dataclass(eq=False)
class PassProcess(Sentinel):
    """A validating sentinel; goes over its set `passes` times."""

    passes: int = 1
    _core: PassCore = field(init=False)
    _asked: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        s = self.world.scenario
        self._core = self.world.cores.passes(PassSettings(RUN, Mode.VALIDATE, s.gates, s.window))
        self._ask()

    @property
    def core(self) -> PassCore:
        return self._core

    @property
    def over(self) -> bool:
        return not self.alive or (self._core.leaving and self._post.empty)

    @property
    def done(self) -> bool:
        return not self._core.working

    def take(self, lane: int) -> None:
        self._taking[lane] = Taking(lane, deque(["outputs", "issued"]))

    def _take_on(self, taking: Taking) -> None:
        w = self.world
        if taking.todo and taking.todo.popleft() == "outputs":
            outputs = w.standing(w.forward(w.scenario.gates, taking.lane))
            taking.answered, taking.outputs = outputs.next_seq, outputs.position
            return
        taking.issued = max(w.standing(w.forward(0, taking.lane)).next_seq, taking.answered)
        del self._taking[taking.lane]
        self._begin_at(w.forward(w.scenario.gates, taking.lane), taking.outputs)
        self._do(e.LaneTaken(e.LaneStanding(taking.lane, taking.issued, None, taking.answered, taking.answered)))

    def _ask(self) -> None:
        self._asked += 1
        self._do(e.PassAsked(f"{self.name}/{self._asked}", self._asked, self.world.scenario.pass_batches))

    def _pass_ended(self, ended: e.PassEnded) -> None:
        self.world.passes.append((self.world.scenario.pass_batches, ended))
        if self._asked < self.passes:
            self._ask()

    def _batch(self, issue: e.Issue) -> Forward:
        x, context = toy.sample(1, 0, issue.cursor.batch), {"t": toy.word(issue.cursor.batch + 5)}
        return Forward(
            RUN,
            Mode.VALIDATE,
            issue.lane,
            issue.seq,
            issue.cursor,
            issue.after,
            (),
            toy.word(x),
            context,
            tag=issue.tag,
        )
