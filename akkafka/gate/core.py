"""What a gate decides: events in, instructions out; no clock, no socket, no thread.

The order of effects of a backward message stands here once (design, section 5):

1. `ComputeBackward` with the weights of the batch's forward; the step is taken at once, speculatively,
2. `SendBackward`; `BackwardDelivered` says that the gradient is in the log,
3. `AppendRecord`, in the order of the versions; `Appended` at the expected offset makes the version exist,
4. only then forwards that were computed with it leave (*output commit*).

A batch is void or not by the time it turns around: only forwards and the loss make it so, and the void goes back
through every gate. What fails on the way back (a layer raises, a gradient is not finite, its weights are out of reach)
is *zeroed*: applied with a gradient of zero, here and in the gates below, as the gates above have applied it already.
So every batch is applied at all gates or void at all of them, and no gate has to ask another.

When an append ends anywhere else, or nobody knows where, all speculation is thrown away: the journal is read and folded
from the last certain state, and records of ours that are still due are appended again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from akkafka.errors import LogLostError
from akkafka.gate import events as e
from akkafka.gate.caution import Caution, Direction, Key, Step, Tried
from akkafka.gate.inbox import Inbox
from akkafka.gate.lane import Lane, LaneStart, Outgoing, Pending, Stashed, Statistics
from akkafka.gate.ledger import Named
from akkafka.gate.state import CountingRule, GateState, Params
from akkafka.protocol.definition import mask_key
from akkafka.protocol.messages import TRAIL_CHAIN_BYTES, Array, Backward, Forward, Hop, JournalRecord, Narrow, Run
from akkafka.protocol.stamps import computed


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """What a core has to know beforehand."""

    run: Run
    name: str
    gate: int
    rule: CountingRule
    delay: int = 0  # D of the fixed schedule
    window: int = 0  # training batches of a lane that are forwarded and not applied, at most; 0: not bounded
    snapshot_bytes: int = 64 << 20
    snapshot_seconds: float = 30.0
    backlog: int = 64  # inputs waiting before the shell is told to read no more
    check_input: Callable[[Forward], str] = lambda message: ""  # why a batch does not fit; empty: it fits
    writer: str = ""


class GateCore:
    """See the module's docstring. `on(event)` returns what has to be done, in order."""

    def __init__(
        self,
        settings: CoreSettings,
        start: GateState,
        older: dict[int, GateState],
        lanes: list[LaneStart],
        tried: Mapping[Key, Tried],
    ) -> None:
        """`older`: states of versions that open batches name, by version. `tried`: what others began with before."""
        self.settings = settings
        self.certain = start  # the journal has it
        self.newest = start  # certain plus what we speculate on
        self.states: dict[int, GateState] = {**older, start.version: start}
        self.statistics = Statistics()
        self.leaving = False
        self._lanes = [
            Lane(i, lane.next_forward, start.applied[i], stash={seq: Stashed(hop) for seq, hop in lane.open})
            for i, lane in enumerate(lanes)
        ]
        self._inbox = Inbox(settings.run, settings.gate, settings.rule.fixed_lanes, self._lanes, self.statistics)
        self._caution = Caution(tried, self._in_the_log)
        self.named: deque[Named] = deque()  # what the certain records name, for the ledger, who forgets them
        self._computing = False
        self._pending: deque[Pending] = deque()
        self._unanswered = 0  # appends
        self._adrift = False  # offsets no longer known: nothing is begun until the journal has been folded
        self._reading = False
        self._refold: deque[tuple[JournalRecord | None, bytes]] | None = None
        self._sought: Hop | None = None  # what the journal was last read for
        self._rebuilding: int | None = None
        self._journal_bytes = 0
        self._snapshot_version = start.version
        self._snapshot_at = 0.0
        self._snapshotting = False
        self._now = 0.0
        self._out: list[e.Instruction] = []
        self._halted = False

    # --- the door ---------------------------------------------------------------------------------

    def on(self, event: e.Event) -> list[e.Instruction]:
        """Take an event; return what has to be done, in order."""
        if self._halted:
            return []
        _HANDLERS[type(event)](self, event)
        self._begin_next()
        out, self._out = self._out, []
        return out

    @property
    def idle(self) -> bool:
        """Nothing is begun and not finished."""
        return not (self._computing or self._pending or self._unanswered or self._adrift or self._snapshotting)

    @property
    def flushed(self) -> bool:
        """Nothing waits to be sent."""
        return not any(lane.outbox for lane in self._lanes)

    def congested(self, direction: str) -> frozenset[int]:
        """Lanes whose waiting inputs have reached the bound."""
        return self._inbox.congested(direction, self.settings.backlog)

    def next_input(self, direction: str, lane: int) -> int:
        """Seq of the lane's next input."""
        own = self._lanes[lane]
        return own.next_forward if direction == "forward" else own.next_backward

    def cautious(self, lane: int) -> bool:
        """Whether ForwardDelivered matters in this lane."""
        return self._caution.cautious(lane)

    @property
    def open_batches(self) -> int:
        """Batches forwarded and not yet applied."""
        return sum(len(lane.stash) for lane in self._lanes)

    # --- inputs -----------------------------------------------------------------------------------

    def _arrived(self, event: e.ForwardArrived | e.BackwardArrived) -> None:
        refused = self._inbox.take(event)
        if refused is not None:
            self._out.append(refused)

    def _refuse(self, direction: str, lane: int, offset: int, reason: str) -> None:
        self._out.append(self._inbox.refused(direction, lane, offset, reason))

    def _input_fetched(self, event: e.InputFetched) -> None:
        lane = self._lanes[event.lane]
        lane.asked.discard(event.seq)
        message = event.message
        if message.run != self.settings.run or (message.lane, message.seq) != (event.lane, event.seq):
            self._halt(
                f"lane {event.lane}, batch {event.seq}: the log holds another record at offset {event.offset} "
                f"of the forward topic than the batch's trail names"
            )
            return
        if lane.backwards and lane.backwards[0][1].message.seq == event.seq:  # else it was counted meanwhile
            lane.inputs[event.seq] = message

    def _state_rebuilt(self, event: e.StateRebuilt) -> None:
        self.states[event.state.version] = event.state
        self._rebuilding = None

    # --- one computation at a time ----------------------------------------------------------------

    def _begin_next(self) -> None:
        """Start the next computation, if none runs: folding first, then backward before forward."""
        if self._computing or self._halted:
            return
        while self._may_begin and (
            self._begin_backward() or (self._may_begin and self._begin_forward()) or self._lets_others()
        ):
            pass
        if self._adrift and not self._halted:
            self._go_on_folding()
        self._consider_snapshot()

    @property
    def _may_begin(self) -> bool:
        """Looked at before each beginning: looking for weights may find that the journal has to be read first."""
        return not (self._computing or self._adrift or self._halted or self.leaving)

    def _compute(self, job: e.ComputeForward | e.ComputeBackward | e.Fold) -> None:
        self._computing = True
        self._out.append(job)

    def _begin_backward(self) -> bool:
        """True if something was begun, or done on the spot."""
        for lane in self._backward_order():
            if self._ready_backward(lane):
                return True
            if self._adrift or self._halted:
                return False
        return False

    def _backward_order(self) -> Sequence[Lane]:
        applied = self.newest.applied
        waiting = [lane for lane in self._lanes if lane.backwards]
        for lane in waiting:
            while lane.backwards and lane.backwards[0][1].message.seq < applied[lane.number]:
                _, event = lane.backwards.popleft()  # another process's record counts for it
                lane.inputs.pop(event.message.seq, None)
                self.statistics.duplicates += 1
        lanes = self.settings.rule.fixed_lanes
        if lanes:
            due = self._lanes[self.newest.version % lanes]
            return [due] if due.backwards else []
        waiting = [lane for lane in waiting if lane.backwards]
        if len(waiting) > 1:
            waiting.sort(key=self._backward_rank)
        return waiting

    def _backward_rank(self, lane: Lane) -> int:
        return lane.backwards[0][0]

    def _ready_backward(self, lane: Lane) -> bool:
        event = lane.backwards[0][1]
        message = event.message
        hop = message.trail[self.settings.gate]
        given = not (message.void or message.zeroed)
        why = self._why_zeroed(lane, message, hop) if given else ""
        if why:
            message, given = self._zeroed(event, why), False
        if not given and hop.version <= self.certain.version:
            lane.backwards.popleft()  # it counts without a gradient: no weights are needed
            self._compute(e.ComputeBackward(event.offset, message, hop, {}, None, None, self.newest, key=0))
            return True
        then = self._state_at(hop)
        if then is None:
            return False
        stashed = lane.stash.get(message.seq)
        tape = stashed.tape if stashed is not None and stashed.hop == hop else None
        source = None
        if tape is None:
            source = self._input_again(lane, message.seq, hop)
            if source is None:
                return False
        if given and not self._may_begin_with(lane, "backward", message.seq):
            return False
        lane.backwards.popleft()
        key = mask_key(self.settings.run, self.settings.gate, lane.number, message.seq)
        self._compute(e.ComputeBackward(event.offset, message, hop, then.params, tape, source, self.newest, key))
        return True

    def _why_zeroed(self, lane: Lane, message: Backward, hop: Hop) -> str:
        """Why there is no gradient of this batch; empty if there is."""
        if self.settings.rule.within_reach(hop, self.newest.version):
            return self._ended(lane, "backward", message.seq)
        # its forward was made by somebody who had slept, with weights that nobody else may have any more
        late = self.newest.version - hop.version
        return f"made with weights of {late} updates ago, they are at hand for {self.settings.rule.reach}"

    def _zeroed(self, event: e.BackwardArrived, why: str) -> Backward:
        """The gradient's message without one, told to whoever looks."""
        zeroed = f"gate {self.settings.gate} ({self.settings.name}): {why}"
        self._refuse("backward", event.message.lane, event.offset, zeroed)
        return replace(event.message, dy=None, zeroed=zeroed)

    def _may_begin_with(self, lane: Lane, direction: Direction, seq: int) -> bool:
        """Whether a batch that could be begun now is; asks for the note that it may need first."""
        step = self._caution.step(lane.number, direction, seq)
        if step is Step.NOTE:
            times = self._caution.times(lane.number, direction, seq) + 1
            self._out.append(e.NoteAttempt(lane.number, direction, seq, times))
        return step is Step.GO

    def _in_the_log(self, lane: int, direction: Direction) -> int:
        """What came of batches before this seq is in the log, whoever did them."""
        applied = self.certain.applied[lane]
        return applied if direction == "backward" else max(applied, self._lanes[lane].next_backward)

    def _lets_others(self) -> bool:
        """True if others waited for a batch that cannot be begun yet, as its weights are not there."""
        awaited = self._caution.awaited
        if awaited is None or not self._may_begin:
            return False
        number, direction, seq = awaited
        lane = self._lanes[number]
        waiting: deque[Any] = lane.forwards if direction == "forward" else lane.backwards
        if not waiting or waiting[0][1].message.seq != seq:
            return False  # it is under way
        self._caution.let_others()
        return True

    def _ended(self, lane: Lane, direction: Direction, seq: int) -> str:
        """Why this batch is not computed again; empty if it may be."""
        if not self._caution.hopeless(lane.number, direction, seq):
            return ""
        return f"its {direction} pass has ended {self._caution.times(lane.number, direction, seq)} processes in a row"

    def _attempt_noted(self, event: e.AttemptNoted) -> None:
        self._caution.noted(event.lane, event.direction, event.seq)

    def _forward_delivered(self, event: e.ForwardDelivered) -> None:
        self._caution.delivered(event.lane, event.seq)

    def _input_again(self, lane: Lane, seq: int, hop: Hop) -> Forward | None:
        fetched = lane.inputs.get(seq)
        if fetched is not None:
            return fetched
        if seq not in lane.asked:
            lane.asked.add(seq)
            self._out.append(e.FetchInput(lane.number, seq, hop.offset))
        return None

    def _state_at(self, hop: Hop) -> GateState | None:
        """The state that a trail names, or None: it is being looked for, or the log has lost something."""
        state = self.states.get(hop.version)
        if state is None and hop.version > self.certain.version:
            self._catch_up(hop)
            return None
        if state is None:
            if self._rebuilding is None:
                self._rebuilding = hop.version
                self._out.append(e.RebuildState(hop.version))
            return None
        if state.chain[:TRAIL_CHAIN_BYTES] != hop.chain:
            if hop.version > self.certain.version:
                self._catch_up(hop)
                return None
            self._halt(
                f"a batch was forwarded with version {hop.version} of history {hop.chain.hex()}, "
                f"the journal's version {hop.version} has history {state.chain[:TRAIL_CHAIN_BYTES].hex()}"
            )
            return None
        return state

    def _catch_up(self, hop: Hop) -> None:
        """Another process has written to the journal: what a trail names was in it before the batch left."""
        if self._sought == hop:
            self._halt(
                f"a batch was forwarded with version {hop.version} of history {hop.chain.hex()}, "
                f"the journal holds {self.certain.version} versions"
            )
            return
        self._sought = hop
        self._drift()

    def _begin_forward(self) -> bool:
        waiting = [lane for lane in self._lanes if lane.forwards]
        if len(waiting) > 1:
            waiting.sort(key=self._forward_rank)
        for lane in waiting:
            event = lane.forwards[0][1]
            if self._passed(event.message):
                lane.forwards.popleft()
                self.statistics.duplicates += 1
                return True
            state = None if self._too_early(event.message) else self._forward_state(event.message)
            message = event.message
            careless = message.void or self._caution.hopeless(lane.number, "forward", message.seq)
            if state is None or not (careless or self._may_begin_with(lane, "forward", message.seq)):
                continue
            lane.forwards.popleft()
            self._work_forward(lane, event, state)
            return True
        return False

    def _passed(self, message: Forward) -> bool:
        """True if another process has forwarded this batch, and it has even come back."""
        lane = self._lanes[message.lane]
        return message.mode.training and message.seq < max(self.certain.applied[message.lane], lane.next_backward)

    def _too_early(self, message: Forward) -> bool:
        """True if the window would be exceeded: as many batches of the lane are forwarded and not applied.

        The oldest one's gradient is on its way to us for sure, so waiting ends: gates behind us hold only what waits
        for still older batches, and the last of them waits for a sentinel, which holds nothing back. Where the window
        is the sentinels' own, only a restarted or woken process ever waits; else it would use weights that are older
        than the window allows, and window 1 would not be synchronous training. A smaller window of the gates bounds
        staleness as 1F1B does (PipeDream, SOSP 2019), while the next batches are already here.
        """
        window = self.settings.window
        return message.mode.training and 0 < window <= message.seq - self.newest.applied[message.lane]

    def _forward_rank(self, lane: Lane) -> int:
        return lane.forwards[0][0]

    def _forward_state(self, message: Forward) -> GateState | None:
        """The state that this batch is to be computed with, or None: it does not exist yet."""
        lanes = self.settings.rule.fixed_lanes
        if not lanes or not message.mode.training:
            return self.newest
        number = self.settings.rule.number(message.lane, message.seq)
        return self.states.get(max(0, number - self.settings.delay))

    def _work_forward(self, lane: Lane, event: e.ForwardArrived, state: GateState) -> None:
        message = event.message
        reason = message.void or self._ended(lane, "forward", message.seq) or self.settings.check_input(message)
        if reason:
            self._forwarded(lane, event, state, None, None, reason)
            return
        key = mask_key(self.settings.run, self.settings.gate, lane.number, message.seq)
        self._compute(e.ComputeForward(event.offset, message, state, key))

    # --- forward results --------------------------------------------------------------------------

    def _forward_computed(self, event: e.ForwardComputed) -> None:
        self._computing = False
        job = event.job
        lane = self._lanes[job.message.lane]
        source = e.ForwardArrived(job.offset, job.message)
        rolled_back = self.states.get(job.state.version) is not job.state
        overtakes = bool(lane.forwards) and lane.forwards[0][1].message.seq < job.message.seq
        if rolled_back or overtakes:
            self._requeue(lane, source)
            return
        self._forwarded(lane, source, job.state, event.y, event.tape, event.failure, event.spent)

    def _requeue(self, lane: Lane, source: e.ForwardArrived) -> None:
        """Back among the inputs, at its place in the lane."""
        place = sum(event.message.seq < source.message.seq for _, event in lane.forwards)
        lane.forwards.insert(place, (0, source))

    def _forwarded(
        self,
        lane: Lane,
        source: e.ForwardArrived,
        state: GateState,
        y: Array | Narrow | None,
        tape: Any,
        void: str,
        spent: tuple[int, int] = (0, 0),
    ) -> None:
        hop = state.hop(source.offset)
        message = source.message
        out = replace(
            message,
            trail=(*message.trail, hop),
            x=None if void else y,
            rows=None,
            void=self._voiced(message, void),
            stamps=computed(message.stamps, spent),
        )
        if message.mode.training:
            lane.stash[message.seq] = Stashed(hop, tape)
        if void and not message.void:
            self._refuse("forward", lane.number, source.offset, out.void)
        lane.outbox.append(Outgoing(source, state, out))
        self._flush(lane)

    def _voiced(self, message: Forward, void: str) -> str:
        """A reason that says where it arose."""
        return void if not void or message.void else f"gate {self.settings.gate} ({self.settings.name}): {void}"

    def _flush(self, lane: Lane) -> None:
        """Output commit: what was computed with a version leaves when the version exists."""
        while lane.outbox and lane.outbox[0].state.version <= self.certain.version:
            self._out.append(e.SendForward(lane.outbox.popleft().message))

    # --- backward results: the order of effects ---------------------------------------------------

    def _backward_computed(self, event: e.BackwardComputed) -> None:
        self._computing = False
        message = event.job.message
        lane = self._lanes[message.lane]
        lane.stash.pop(message.seq, None)
        lane.inputs.pop(message.seq, None)
        if event.failure:
            self._refuse("backward", message.lane, event.job.offset, event.failure)
        current = event.job.base is self.newest and not self._adrift
        state = event.state if current else None
        if state is not None:
            self._extend(state)
        self._pending.append(Pending(event, state))
        stamps = computed(message.stamps, event.spent)
        back = replace(message, source=event.job.offset, dy=event.dx, zeroed=event.zeroed, stamps=stamps)
        self._out.append(e.SendBackward(back))

    def _extend(self, state: GateState) -> None:
        self.newest = state
        self.states[state.version] = state

    def _backward_delivered(self, event: e.BackwardDelivered) -> None:
        for pending in self._pending:
            record = pending.computed.record
            if (record.lane, record.seq) == (event.lane, event.seq):
                pending.delivered = True
        self._append_due()

    def _append_due(self) -> None:
        """Append what is delivered, in the order of the versions."""
        if self._adrift:
            return
        for pending in self._pending:
            if pending.appended:
                continue
            if not pending.delivered:
                return
            pending.appended = True
            self._unanswered += 1
            self._out.append(e.AppendRecord(pending.computed.value, pending.computed.record))

    def _appended(self, event: e.Appended) -> None:
        self._unanswered -= 1
        if self._adrift:
            return
        pending = self._pending[0]
        if event.offset < self.certain.next_offset:
            self._halt(
                f"a journal record was acknowledged at offset {event.offset}, "
                f"the journal had reached {self.certain.next_offset} before"
            )
            return
        if event.offset > self.certain.next_offset or pending.state is None:
            self._drift()
            return
        self._pending.popleft()
        self._make_certain(pending.state)
        self._note(pending.computed.record)
        self._count(pending.computed)

    def _append_unknown(self, event: e.AppendUnknown) -> None:
        self._unanswered -= 1
        self._drift()

    def _count(self, computed: e.BackwardComputed) -> None:
        counted = self.statistics
        counted.updates += 1
        counted.voids += bool(computed.record.void)
        counted.zeroed += bool(computed.record.zeroed)
        staleness = self.certain.version - 1 - computed.record.hop.version
        counted.staleness_sum += staleness
        counted.staleness_max = max(counted.staleness_max, staleness)
        self._journal_bytes += len(computed.value)

    def _make_certain(self, state: GateState) -> None:
        self.certain = state
        for lane in self._lanes:
            self._flush(lane)
        self._forget_states()

    def _note(self, record: JournalRecord) -> None:
        if record.needs_weights:
            self.named.append((self.certain.version, record.hop.version))

    def _forget_states(self) -> None:
        """Keep what is certain or newer, what open batches name, and the fixed schedule's ring."""
        low = self.certain.version - self.settings.delay
        needed = {stashed.hop.version for lane in self._lanes for stashed in lane.stash.values()}
        gate = self.settings.gate
        needed.update(b.message.trail[gate].version for lane in self._lanes for _, b in lane.backwards)
        needed.update(record.hop.version for record, _ in self._refold or () if record is not None)
        needed.update(pending.computed.record.hop.version for pending in self._pending)
        for version in [v for v in self.states if v < low and v not in needed]:
            del self.states[version]

    # --- when offsets are not what they should be ------------------------------------------------

    def _drift(self) -> None:
        """Throw speculation away; once all appends are answered, read the journal and fold."""
        if self._adrift:
            return
        self._adrift = True
        self.statistics.rollbacks += 1
        self.newest = self.certain
        for version in [v for v in self.states if v > self.certain.version]:
            del self.states[version]
        for pending in self._pending:
            pending.state = None
        for lane in self._lanes:
            self._take_back(lane)

    def _take_back(self, lane: Lane) -> None:
        while lane.outbox:
            outgoing = lane.outbox.popleft()
            lane.stash.pop(outgoing.message.seq, None)
            self._requeue(lane, outgoing.source)

    def _go_on_folding(self) -> None:
        if self._unanswered or self._reading:
            return
        if self._refold is None:
            self._reading = True
            self._out.append(e.ReadJournal(self.certain.next_offset))
            return
        while self._refold:
            record, value = self._refold[0]
            if record is None or not self.settings.rule.counts(self.certain, record):
                self._refold.popleft()
                self.certain = self.newest = replace(self.certain, next_offset=self.certain.next_offset + 1)
                self.states[self.certain.version] = self.certain
                continue
            then = self._weights_of(record)
            if then is not None:
                self._compute(e.Fold(self.certain, record, value, then))
            return
        self._pick_up_pending()

    def _weights_of(self, record: JournalRecord) -> Params | None:
        """Weights of a record's forward; where none are needed, its version may be gone for ever."""
        if not record.needs_weights:
            return {}
        state = self._state_at(record.hop)
        return state.params if state is not None else None

    def _journal_read(self, event: e.JournalRead) -> None:
        self._reading = False
        if event.end < self.certain.next_offset:
            self._halt(
                f"the journal ends at offset {event.end}, {self.certain.next_offset} records of it were acknowledged"
            )
            return
        self._refold = deque(event.records)

    def _folded(self, event: e.Folded) -> None:
        self._computing = False
        if self._refold:  # a record of the journal
            self._refold.popleft()
            self._drop_pending(event.job.record)
            self._extend(event.state)
            self._make_certain(event.state)
            self._note(event.job.record)
            return
        pending = next(p for p in self._pending if p.computed.value is event.job.value)
        pending.state = event.state
        self._extend(event.state)

    def _drop_pending(self, record: JournalRecord) -> None:
        """Somebody's record counts for this batch (ours or another's copy): nothing is due any more."""
        lane = self._lanes[record.lane]
        lane.stash.pop(record.seq, None)
        self._pending = deque(
            p for p in self._pending if (p.computed.record.lane, p.computed.record.seq) != (record.lane, record.seq)
        )

    def _counted(self, record: JournalRecord) -> bool:
        return record.seq < self.certain.applied[record.lane]

    def _pick_up_pending(self) -> None:
        """The journal is folded: put our own due records on top again, then go on."""
        self._pending = deque(p for p in self._pending if not self._counted(p.computed.record))
        for pending in self._pending:
            pending.appended = False
            if pending.state is None:
                record = pending.computed.record
                if not self.settings.rule.counts(self.newest, record):
                    self._give_back(pending)
                    break
                then = self._weights_of(record)
                if then is not None:
                    self._compute(e.Fold(self.newest, record, pending.computed.value, then))
                return
        self._adrift = False
        self._refold = None
        self._forget_states()
        self._append_due()
        self._begin_next()

    def _give_back(self, late: Pending) -> None:
        """Others' records have come before this one, and now it is out of reach: back among the inputs, to be zeroed.

        What waits behind it was made on top of it and goes back, too.
        """
        waiting = list(self._pending)
        at = waiting.index(late)
        self._pending = deque(waiting[:at])
        for pending in reversed(waiting[at:]):
            job = pending.computed.job
            self._lanes[job.message.lane].backwards.appendleft((0, e.BackwardArrived(job.offset, job.message)))

    # --- snapshots, time, the end -----------------------------------------------------------------

    def _ticked(self, event: e.Ticked) -> None:
        self._now = event.now

    def _consider_snapshot(self) -> None:
        if self._snapshotting or self.certain.version == self._snapshot_version:
            return
        due = (
            self._journal_bytes >= self.settings.snapshot_bytes
            or self._now - self._snapshot_at >= self.settings.snapshot_seconds
            or (self.leaving and not self._pending and not self._computing)
        )
        if due and not self._adrift:
            self.take_snapshot()

    def take_snapshot(self) -> None:
        """Save the certain state and the older weights that open batches name."""
        self._snapshotting = True
        self._journal_bytes = 0
        self._snapshot_at = self._now
        older = {v: s for v, s in self.states.items() if v < self.certain.version}
        self._out.append(e.TakeSnapshot(self.certain, older))

    def _snapshot_taken(self, event: e.SnapshotTaken) -> None:
        self._snapshotting = False
        if event.verified:
            self._snapshot_version = event.version

    def _leave_asked(self, event: e.LeaveAsked) -> None:
        self.leaving = True

    def _halt(self, what: str) -> None:
        self._halted = True
        self._out.append(
            e.Halt(
                LogLostError(
                    f"gate {self.settings.gate} ({self.settings.name}): {what}",
                    hint="The broker has lost a part of its log. Do not train on: restore the broker's data, or "
                    "start anew with `akkafka reset`.",
                )
            )
        )


_HANDLERS: dict[type, Callable[[GateCore, Any], None]] = {
    e.ForwardArrived: GateCore._arrived,
    e.BackwardArrived: GateCore._arrived,
    e.ForwardComputed: GateCore._forward_computed,
    e.BackwardComputed: GateCore._backward_computed,
    e.Folded: GateCore._folded,
    e.ForwardDelivered: GateCore._forward_delivered,
    e.AttemptNoted: GateCore._attempt_noted,
    e.BackwardDelivered: GateCore._backward_delivered,
    e.Appended: GateCore._appended,
    e.AppendUnknown: GateCore._append_unknown,
    e.JournalRead: GateCore._journal_read,
    e.InputFetched: GateCore._input_fetched,
    e.StateRebuilt: GateCore._state_rebuilt,
    e.Ticked: GateCore._ticked,
    e.SnapshotTaken: GateCore._snapshot_taken,
    e.LeaveAsked: GateCore._leave_asked,
}
