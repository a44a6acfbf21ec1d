"""A gate's process in the simulation: a real core with a shell that answers in any order that a real one could."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from akkafka.broker.base import OffsetGoneError, TopicPartition
from akkafka.gate import events as e
from akkafka.gate.company import Company
from akkafka.gate.core import GateCore
from akkafka.gate.ledger import Ledger, kept_of
from akkafka.gate.needs import Needs
from akkafka.gate.recovery import MissingWeightsError
from akkafka.gate.settings import CoreSettings
from akkafka.gate.snapshot import attempt_key, to_records
from akkafka.gate.state import GateState, apply_record
from akkafka.protocol import wire
from akkafka.protocol.messages import Attempt, Backward, Forward, JournalRecord

from . import codec, toy
from .gate_start import GateStart, read_journal, read_shelf, rebuilt, rule
from .post import Item, Move, Post
from .world import RUN, World


def _direction(where: TopicPartition) -> str:
    return "forward" if "forward" in where.topic else "backward"


class GateProcess:
    """A process has readers, an outlet for the edges, one for the journal, a compute thread, and no other memory."""

    def __init__(self, world: World, gate: int) -> None:
        self.world, self.gate = world, gate
        self.name = world.new_name(f"gate{gate}")
        self.alive, self.frozen, self.idle, self.unread = True, False, False, False
        self.core: GateCore | None = None
        self._company = Company()
        self._start = GateStart(world, gate)
        self._positions: dict[TopicPartition, int] = {}
        self._inputs: list[tuple[TopicPartition, str, list[bytes]]] = []  # with their directions
        self._edges = Post(world, self._delivered)
        self._journal = Post(world, self._journal_delivered)
        self._journal_broken = False
        self._job: e.ComputeForward | e.ComputeBackward | e.Fold | None = None
        self._questions: list[e.ReadJournal | e.FetchInput | e.RebuildState] = []
        self._answers: deque[e.Event] = deque()  # about appends, in order
        self._saving: deque[Callable[[], None]] = deque()
        self._notes: deque[e.NoteAttempt] = deque()
        self._now = 0.0
        self.ledger = Ledger()
        self._needs = Needs(world.scenario.all_lanes, world.scenario.window)

    # --- what can happen next -----------------------------------------------------------------------

    def moves(self) -> list[Move]:
        moves: list[Move] = []
        if self.frozen:
            self._edges.moves(moves, frozen=True)
            self._journal.moves(moves, frozen=True)
            return moves
        core = self.core
        if core is None:
            return [(self._start_up, None)]
        if self._answers:
            moves.append((self._tell_answer, None))
        if self._job is not None:
            moves.append((self._compute, None))
        if not self._edges.still:
            self._edges.moves(moves)
        if not self._journal.still:
            self._journal.moves(moves)
        if self.unread:
            self._reading_moves(core, moves)
        if self._questions:
            moves.extend((self._answer, question) for question in self._questions)
        if self._saving:
            moves.append((self._save, None))
        if self._notes:
            moves.append((self._put_note, None))
        return moves

    def _reading_moves(self, core: GateCore, moves: list[Move]) -> None:
        positions = self._positions
        unread = [(where, way) for where, way, values in self._inputs if positions[where] < len(values)]
        self.unread = bool(unread)
        if unread and self.world.scenario.backlog < 64:
            held = {direction: core.congested(direction) for direction in {way for _, way in unread}}
            unread = [(where, way) for where, way in unread if where.partition not in held[way]]
        moves.extend((self._read, where) for where, _ in unread)

    @property
    def over(self) -> bool:
        """It has died, or has left: what it had begun is finished."""
        core = self.core
        return not self.alive or (
            core is not None
            and core.leaving
            and core.idle
            and core.flushed
            and self._company.empty
            and self._edges.empty
        )

    # --- life and death -----------------------------------------------------------------------------

    def crash(self) -> None:
        self.alive = False
        if not self._edges.broken:
            self._edges.abandon()
        if not self._journal_broken:
            self._journal.abandon()

    def break_edges(self) -> None:
        self._edges.break_down()

    def break_journal(self) -> None:
        """All appends that are not acknowledged are unknown; some of them are in the log, or will be."""
        if self._journal_broken:
            return
        self._journal.abandon()
        self._journal_broken = True
        for line in self._journal.lines.values():
            self._answers.extend(e.AppendUnknown() for _ in range(len(line.landed) + len(line.waiting)))
        self._journal.lines.clear()

    def leave(self) -> None:
        if self.core is not None:
            self._do(e.LeaveAsked())

    def tick(self) -> None:
        """Enough time for a snapshot goes by."""
        self._now += 1000.0
        self.idle = False
        if self.core is not None:
            self._do(e.Ticked(self._now))

    def _start_up(self, _: None) -> None:
        try:
            found = self._start.read_next()
        except OffsetGoneError:
            self._start = GateStart(self.world, self.gate)  # trimmed meanwhile: newer snapshots are there
            return
        if found is None:
            return
        self.core = self.world.cores.gate(self._settings(), found.state, found.older, found.lanes, found.tried)
        self._company = Company()
        self.core.named.extend(found.named)
        self.ledger = found.ledger
        for lane, position in enumerate(found.positions):
            self._positions[self.world.backward(self.gate + 1, lane)] = found.state.sources[lane]
            self._positions[self.world.forward(self.gate, lane)] = position
        self._inputs = [(where, _direction(where), self.world.values[where]) for where in self._positions]
        for where in self._positions:
            self.world.listen(where, self)
        self.unread = True
        self._do(e.Ticked(self._now))

    def _settings(self) -> CoreSettings:
        s = self.world.scenario
        return CoreSettings(
            run=RUN,
            name=self.name,
            gate=self.gate,
            rule=rule(self.world, self.gate),
            delay=s.ring,
            window=s.held_window,
            snapshot_bytes=1 << 40,
            snapshot_seconds=500.0 if s.snapshots else 1e30,
            backlog=s.backlog,
            writer=self.name,
        )

    # --- events and instructions --------------------------------------------------------------------

    def _do(self, event: e.Event) -> None:
        assert self.core is not None
        for instruction in self._company.of(event, self.core.on(event)):
            _ACTIONS[type(instruction)](self, instruction)

    def _read(self, where: TopicPartition) -> None:
        try:
            records = self.world.read(where, self._positions[where], 3 - self.world.choices.pick(3))
        except OffsetGoneError:
            self.crash()
            return
        for record in records:
            self._positions[where] = record.offset + 1
            message = codec.read(record.value)
            direction = _direction(where)
            assert self.core is not None
            before = self.core.next_input(direction, where.partition)
            if not isinstance(message, Forward | Backward) or message.lane != where.partition:
                self.world.refuse(where, record.offset, "not a message of this lane")
            elif isinstance(message, Forward) and "forward" in where.topic:
                self._do(e.ForwardArrived(record.offset, message))
            elif isinstance(message, Backward) and "backward" in where.topic:
                self._do(e.BackwardArrived(record.offset, message))
            else:
                self.world.refuse(where, record.offset, "not a message of this topic")
            if isinstance(message, Forward | Backward) and self.core.next_input(direction, where.partition) > before:
                self._needs.accepted(message, record.offset)

    def _delivered(self, where: TopicPartition, item: Item) -> None:
        if "backward" in where.topic:
            self._do(e.BackwardDelivered(where.partition, item.seq))
        else:
            self._needs.delivered(where.partition, item.seq)
            if self.core is not None and self.core.cautious(where.partition):
                self._do(e.ForwardDelivered(where.partition, item.seq))

    def trim(self) -> None:
        """What of the own inputs nobody needs goes."""
        if self.core is None:
            return
        for lane, applied in enumerate(self.core.certain.applied):
            self.world.trim(self.world.forward(self.gate, lane), self._needs.forward(lane, applied))
            self.world.trim(self.world.backward(self.gate + 1, lane), self._needs.backward(lane, applied))

    def _journal_delivered(self, where: TopicPartition, item: Item) -> None:
        self._do(e.Appended(item.offset))

    def _tell_answer(self, _: None) -> None:
        self._do(self._answers.popleft())

    def _keep_job(self, job: e.ComputeForward | e.ComputeBackward | e.Fold) -> None:
        assert self._job is None, "one computation at a time"
        self._job = job

    def _ask(self, question: e.ReadJournal | e.FetchInput | e.RebuildState) -> None:
        self._questions.append(question)

    def _send_forward(self, instruction: e.SendForward) -> None:
        m = instruction.message
        self._edges.put(self.world.forward(self.gate + 1, m.lane), wire.encode(m), m.seq)

    def _send_backward(self, instruction: e.SendBackward) -> None:
        m = instruction.message
        self._edges.put(self.world.backward(self.gate, m.lane), wire.encode(m), m.seq)

    def _append(self, instruction: e.AppendRecord) -> None:
        if self._journal_broken:
            self._answers.append(e.AppendUnknown())
        else:
            self._journal.put(self.world.journal(self.gate), instruction.value, instruction.record.seq)

    def _refuse(self, instruction: e.Refuse) -> None:
        w = self.world
        where = w.forward(self.gate, 0) if instruction.direction == "forward" else w.backward(self.gate + 1, 0)
        w.refuse(TopicPartition(where.topic, instruction.lane), instruction.offset, instruction.reason)

    def _halt(self, instruction: e.Halt) -> None:
        self.world.halts.append(instruction.error)
        self.alive = False

    # --- answers ------------------------------------------------------------------------------------

    def _answer(self, question: e.ReadJournal | e.FetchInput | e.RebuildState) -> None:
        self._questions.remove(question)
        try:
            event = self._answer_to(question)
        except OffsetGoneError:
            event = None
        if event is None:
            self.crash()  # what is asked for was trimmed: the process begins anew
        else:
            self._do(event)

    def _answer_to(self, question: e.ReadJournal | e.FetchInput | e.RebuildState) -> e.Event | None:
        match question:
            case e.ReadJournal():
                self._journal_broken = False
                entries = read_journal(self.world, self.gate, question.start)
                return e.JournalRead(entries, self.world.log.bounds(self.world.journal(self.gate))[1])
            case e.FetchInput():
                where = self.world.forward(self.gate, question.lane)
                message = codec.read(self.world.read(where, question.offset, 1)[0].value)
                assert isinstance(message, Forward)
                return e.InputFetched(question.lane, question.seq, question.offset, message)
            case e.RebuildState():
                state = rebuilt(self.world, self.gate, question.version)
                if state is None and self._overtaken():
                    return None
                if state is None:
                    raise MissingWeightsError(f"gate {self.gate}: version {question.version} cannot be rebuilt")
                return e.StateRebuilt(state)

    def _overtaken(self) -> bool:
        """Others have trimmed the journal beyond what this process knows of it."""
        assert self.core is not None
        return self.world.log.bounds(self.world.journal(self.gate))[0] > self.core.certain.next_offset

    # --- computing ----------------------------------------------------------------------------------

    def _compute(self, _: None) -> None:
        job, self._job = self._job, None
        if job is not None and self._deadly(job):
            self.world.kills += 1
            self.crash()
            return
        match job:
            case e.ComputeForward():
                self._do(self._forward(job))
            case e.ComputeBackward():
                self._do(self._backward(job))
            case e.Fold():
                self._do(e.Folded(job, apply_record(job.base, job.record, job.value, job.then, toy.step)))

    def _deadly(self, job: e.ComputeForward | e.ComputeBackward | e.Fold) -> bool:
        if isinstance(job, e.Fold) or job.message.void or (isinstance(job, e.ComputeBackward) and job.message.zeroed):
            return False
        direction = "forward" if isinstance(job, e.ComputeForward) else "backward"
        return (self.gate, direction, job.message.lane, job.message.seq) in self.world.scenario.killers

    def _poisoned(self, lane: int, seq: int, once_in: int) -> bool:
        return (lane, seq) in self.world.scenario.poison and self.world.choices.pick(once_in) == 1

    def _forward(self, job: e.ComputeForward) -> e.ForwardComputed:
        m = job.message
        if m.mode.training and self._poisoned(m.lane, m.seq, 6):
            return e.ForwardComputed(job, None, failure="not finite")
        x, w = toy.number(m.x), toy.number(job.state.params["w"])
        return e.ForwardComputed(job, toy.word(toy.forward(x, w, job.key)), tape=(x, w))

    def _backward(self, job: e.ComputeBackward) -> e.BackwardComputed:
        m, dx, grads, zeroed, below, failure = job.message, None, {}, job.message.zeroed, job.message.zeroed, ""
        if not m.void and not zeroed:
            if self._poisoned(m.lane, m.seq, 2):
                zeroed, below = _FAILURES[self.world.choices.pick(3)]
            failure = zeroed or below
            w = toy.number(job.then["w"])
            x, taped = job.tape or (toy.number(job.source.batch if job.source is not None else None), w)
            dy = toy.number(m.dy)
            dx = None if below else toy.word(toy.input_gradient(x, w, job.key, dy))
            grads = {} if zeroed else {"w": toy.word(toy.weight_gradient(x, taped, dy))}
        record = JournalRecord(
            RUN,
            self.gate,
            m.lane,
            m.seq,
            job.hop,
            job.offset,
            grads,
            void=m.void,
            writer=self.name,
            tally=m.tally,
            zeroed=zeroed,
        )
        value = wire.encode(record)
        state = apply_record(job.base, record, value, job.then, toy.step)
        return e.BackwardComputed(job, dx, record, value, state, below, failure)

    # --- snapshots: each record is a step, so that a crash can tear them --------------------------------

    def _snapshot(self, instruction: e.TakeSnapshot) -> None:
        state, older = instruction.state, dict(instruction.older)
        for key, value in to_records(RUN, self.gate, self.name, state, older):
            self._saving.append(partial(self._put_snapshot, key, value))
        self._saving.append(partial(self._verify, state, older))

    def _note(self, asked: e.NoteAttempt) -> None:
        self._notes.append(asked)

    def _put_note(self, _: None) -> None:
        asked = self._notes.popleft()
        backward = asked.direction == "backward"
        note = Attempt(RUN, self.gate, asked.lane, backward, asked.seq, asked.times, self.name)
        self._put_snapshot(attempt_key(asked.lane, asked.direction), wire.encode(note))
        self.world.tried[self.gate, asked.direction, asked.lane, asked.seq] += 1
        self._do(e.AttemptNoted(asked.lane, asked.direction, asked.seq))

    def _save(self, _: None) -> None:
        self._saving.popleft()()

    def _put_snapshot(self, key: bytes, value: bytes | None) -> None:
        self.world.append(self.world.snapshot(self.gate), value, key)

    def _verify(self, state: GateState, older: dict[int, GateState]) -> None:
        shelf = read_shelf(self.world, self.gate)
        own = (s for s in shelf.snapshots() if s.state.version == state.version and s.manifest.writer == self.name)
        snapshot = next(own, None)
        if snapshot is not None:
            self.ledger.verified(kept_of(snapshot.manifest, older))
            if self.world.scenario.trims:
                self._let_go(state.version)
        self._do(e.SnapshotTaken(state.version, snapshot is not None))

    def _let_go(self, version: int) -> None:
        """Tombstones first, one by one; the journal goes when they are in the log."""
        assert self.core is not None
        gone = self.ledger.let_go(version, self.world.scenario.rule_reach, self.core.named)
        if gone is not None:
            self._saving.extend(partial(self._put_snapshot, key, None) for key in gone.keys)
            if gone.journal:
                self._saving.append(partial(self._trim_journal, gone.journal))

    def _trim_journal(self, before: int) -> None:
        self.world.trims += 1
        self.world.log.trim(self.world.journal(self.gate), before)


_FAILURES = (("raised", "raised"), ("own gradient not finite", ""), ("", "input's gradient not finite"))
"""Of the own gradient, and of that for the gates below."""

_ACTIONS: dict[type, Callable[[Any, Any], None]] = {
    e.ComputeForward: GateProcess._keep_job,
    e.ComputeBackward: GateProcess._keep_job,
    e.Fold: GateProcess._keep_job,
    e.SendForward: GateProcess._send_forward,
    e.SendBackward: GateProcess._send_backward,
    e.AppendRecord: GateProcess._append,
    e.ReadJournal: GateProcess._ask,
    e.FetchInput: GateProcess._ask,
    e.RebuildState: GateProcess._ask,
    e.TakeSnapshot: GateProcess._snapshot,
    e.NoteAttempt: GateProcess._note,
    e.Refuse: GateProcess._refuse,
    e.Halt: GateProcess._halt,
}
