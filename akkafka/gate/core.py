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
from the last certain state, and records of ours that are still due are appended again (refold.py).

The other subjects have objects of their own: what is let in (inbox.py), what may be begun (attempts.py), the way
forward (forwarding.py), the states at hand (versions.py), when they are saved (saving.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from akkafka.errors import LogLostError
from akkafka.gate import events as e
from akkafka.gate.attempts import Attempts
from akkafka.gate.caution import Key, Tried
from akkafka.gate.forwarding import Forwarding
from akkafka.gate.inbox import Inbox
from akkafka.gate.lane import Lane, LaneStart, Pending, Stashed, Statistics
from akkafka.gate.ledger import Named
from akkafka.gate.refold import Refold
from akkafka.gate.saving import Saving
from akkafka.gate.settings import CoreSettings
from akkafka.gate.state import GateState, Params
from akkafka.gate.versions import Absent, Versions
from akkafka.protocol.definition import mask_key
from akkafka.protocol.messages import TRAIL_CHAIN_BYTES, Backward, Forward, Hop, JournalRecord
from akkafka.protocol.stamps import computed


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
        self.statistics = Statistics()
        self.leaving = False
        self.named: deque[Named] = deque()  # what the certain records name, for the ledger, who forgets them
        self._out: list[e.Instruction] = []
        self._lanes = [
            Lane(i, lane.next_forward, start.applied[i], stash={seq: Stashed(hop) for seq, hop in lane.open})
            for i, lane in enumerate(lanes)
        ]
        self._versions = Versions(start, older, settings.delay)
        self._inbox = Inbox(settings.run, settings.gate, settings.rule.fixed_lanes, self._lanes, self.statistics)
        self._attempts = Attempts(tried, self._lanes, self._versions, self._out)
        self._forwarding = Forwarding(settings, self._lanes, self._versions, self._inbox, self._attempts, self._out)
        self._pending: deque[Pending] = deque()
        self._unanswered = 0  # appends
        self._refold = Refold(settings.rule, self._lanes, self._versions, self._pending, self._weights_of)
        self._sought: Hop | None = None  # what the journal was last read for
        self._rebuilding: int | None = None
        self._saving = Saving(start.version, settings.snapshot_bytes, settings.snapshot_seconds)
        self._computing = False
        self._halted = False

    # --- the door ---------------------------------------------------------------------------------

    def on(self, event: e.Event) -> list[e.Instruction]:
        """Take an event; return what has to be done, in order."""
        if self._halted:
            return []
        _HANDLERS[type(event)](self, event)
        self._begin_next()
        out = self._out.copy()
        self._out.clear()
        return out

    @property
    def certain(self) -> GateState:
        """What the journal has."""
        return self._versions.certain

    @property
    def newest(self) -> GateState:
        """What the journal has, plus what is speculated on."""
        return self._versions.newest

    @property
    def states(self) -> dict[int, GateState]:
        """Those at hand, by version."""
        return self._versions.at_hand

    @property
    def idle(self) -> bool:
        """Nothing is begun and not finished."""
        begun = self._computing or self._pending or self._unanswered or self._refold.adrift or self._saving.under_way
        return not begun

    @property
    def flushed(self) -> bool:
        """Nothing waits to be sent."""
        return self._forwarding.flushed

    def congested(self, direction: str) -> frozenset[int]:
        """Lanes whose waiting inputs have reached the bound."""
        return self._inbox.congested(direction, self.settings.backlog)

    def next_input(self, direction: str, lane: int) -> int:
        """Seq of the lane's next input."""
        own = self._lanes[lane]
        return own.next_forward if direction == "forward" else own.next_backward

    def cautious(self, lane: int) -> bool:
        """Whether ForwardDelivered matters in this lane."""
        return self._attempts.caution.cautious(lane)

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
        self._versions.rebuilt(event.state)
        self._rebuilding = None

    # --- one computation at a time ----------------------------------------------------------------

    def _begin_next(self) -> None:
        """Start the next computation, if none runs: folding first, then backward before forward."""
        if self._computing or self._halted:
            return
        while self._may_begin and (
            self._begin_backward()
            or (self._may_begin and self._begin_forward())
            or (self._may_begin and self._attempts.let_others())
        ):
            pass
        if self._refold.adrift and not self._halted:
            self._go_on_folding()
        self._consider_snapshot()

    @property
    def _may_begin(self) -> bool:
        """Looked at before each beginning: looking for weights may find that the journal has to be read first."""
        return not (self._computing or self._refold.adrift or self._halted or self.leaving)

    def _compute(self, job: e.ComputeForward | e.ComputeBackward | e.Fold) -> None:
        self._computing = True
        self._out.append(job)

    def _begin_backward(self) -> bool:
        """True if something was begun, or done on the spot."""
        for lane in self._backward_order():
            if self._ready_backward(lane):
                return True
            if self._refold.adrift or self._halted:
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
        if given and not self._attempts.may_begin(lane.number, "backward", message.seq):
            return False
        lane.backwards.popleft()
        key = mask_key(self.settings.run, self.settings.gate, lane.number, message.seq)
        self._compute(e.ComputeBackward(event.offset, message, hop, then.params, tape, source, self.newest, key))
        return True

    def _why_zeroed(self, lane: Lane, message: Backward, hop: Hop) -> str:
        """Why there is no gradient of this batch; empty if there is."""
        if self.settings.rule.within_reach(hop, self.newest.version):
            return self._attempts.given_up(lane.number, "backward", message.seq)
        # its forward was made by somebody who had slept, with weights that nobody else may have any more
        late = self.newest.version - hop.version
        return f"made with weights of {late} updates ago, they are at hand for {self.settings.rule.reach}"

    def _zeroed(self, event: e.BackwardArrived, why: str) -> Backward:
        """The gradient's message without one, told to whoever looks."""
        zeroed = f"gate {self.settings.gate} ({self.settings.name}): {why}"
        self._refuse("backward", event.message.lane, event.offset, zeroed)
        return replace(event.message, dy=None, zeroed=zeroed)

    def _attempt_noted(self, event: e.AttemptNoted) -> None:
        self._attempts.caution.noted(event.lane, event.direction, event.seq)

    def _forward_delivered(self, event: e.ForwardDelivered) -> None:
        self._attempts.caution.delivered(event.lane, event.seq)

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
        found = self._versions.find(hop)
        if isinstance(found, GateState):
            return found
        match found:
            case Absent.AHEAD:
                self._catch_up(hop)
            case Absent.FORGOTTEN if self._rebuilding is None:
                self._rebuilding = hop.version
                self._out.append(e.RebuildState(hop.version))
            case Absent.FOREIGN:
                self._halt(
                    f"a batch was forwarded with version {hop.version} of history {hop.chain.hex()}, the journal's "
                    f"version {hop.version} has history {self.states[hop.version].chain[:TRAIL_CHAIN_BYTES].hex()}"
                )
        return None

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
        """True if something was begun, or done on the spot."""
        begun = self._forwarding.begin()
        if isinstance(begun, e.ComputeForward):
            self._compute(begun)
        return begun is not False

    def _forward_computed(self, event: e.ForwardComputed) -> None:
        self._computing = False
        self._forwarding.computed(event)

    # --- backward results: the order of effects ---------------------------------------------------

    def _backward_computed(self, event: e.BackwardComputed) -> None:
        self._computing = False
        message = event.job.message
        lane = self._lanes[message.lane]
        lane.stash.pop(message.seq, None)
        lane.inputs.pop(message.seq, None)
        if event.failure:
            self._refuse("backward", message.lane, event.job.offset, event.failure)
        current = event.job.base is self.newest and not self._refold.adrift
        state = event.state if current else None
        if state is not None:
            self._versions.extend(state)
        self._pending.append(Pending(event, state))
        stamps = computed(message.stamps, event.spent)
        back = replace(message, source=event.job.offset, dy=event.dx, zeroed=event.zeroed, stamps=stamps)
        self._out.append(e.SendBackward(back))

    def _backward_delivered(self, event: e.BackwardDelivered) -> None:
        for pending in self._pending:
            record = pending.computed.record
            if (record.lane, record.seq) == (event.lane, event.seq):
                pending.delivered = True
        self._append_due()

    def _append_due(self) -> None:
        """Append what is delivered, in the order of the versions."""
        if self._refold.adrift:
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
        if self._refold.adrift:
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
        self._make_certain(pending.state, pending.computed.record)
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
        self._saving.appended(len(computed.value))

    def _make_certain(self, state: GateState, record: JournalRecord) -> None:
        """The journal has the record: outputs of this version may leave."""
        self._versions.commit(state)
        self._forwarding.commit()
        self._forget_states()
        if record.needs_weights:
            self.named.append((state.version, record.hop.version))

    def _forget_states(self) -> None:
        """Keep what is certain or newer, what open batches name, and the fixed schedule's ring."""
        needed = {stashed.hop.version for lane in self._lanes for stashed in lane.stash.values()}
        gate = self.settings.gate
        needed.update(b.message.trail[gate].version for lane in self._lanes for _, b in lane.backwards)
        needed.update(self._refold.named)
        needed.update(pending.computed.record.hop.version for pending in self._pending)
        self._versions.forget(needed)

    # --- when offsets are not what they should be ------------------------------------------------

    def _drift(self) -> None:
        """Throw speculation away; once all appends are answered, read the journal and fold."""
        if self._refold.adrift:
            return
        self.statistics.rollbacks += 1
        self._refold.begin()
        self._forwarding.take_back()

    def _go_on_folding(self) -> None:
        if self._unanswered:
            return
        asked = self._refold.next()
        if isinstance(asked, e.Fold):
            self._compute(asked)
        elif asked is not None:
            self._out.append(asked)
        elif not self._refold.adrift:
            self._forget_states()
            self._append_due()
            self._begin_next()

    def _weights_of(self, record: JournalRecord) -> Params | None:
        """Weights of a record's forward; where none are needed, its version may be gone for ever."""
        if not record.needs_weights:
            return {}
        state = self._state_at(record.hop)
        return state.params if state is not None else None

    def _journal_read(self, event: e.JournalRead) -> None:
        if event.end < self.certain.next_offset:
            self._halt(
                f"the journal ends at offset {event.end}, {self.certain.next_offset} records of it were acknowledged"
            )
        self._refold.read(event)

    def _folded(self, event: e.Folded) -> None:
        self._computing = False
        if self._refold.folded(event):
            self._make_certain(event.state, event.job.record)

    # --- snapshots, time, the end -----------------------------------------------------------------

    def _ticked(self, event: e.Ticked) -> None:
        self._saving.ticked(event.now)

    def _consider_snapshot(self) -> None:
        last = self.leaving and not self._pending and not self._computing
        if self._saving.due(self.certain.version, last=last) and not self._refold.adrift:
            self.take_snapshot()

    def take_snapshot(self) -> None:
        """Save the certain state and the older weights that open batches name."""
        self._saving.begun()
        self._out.append(e.TakeSnapshot(self.certain, self._versions.older()))

    def _snapshot_taken(self, event: e.SnapshotTaken) -> None:
        self._saving.ended(event.version, verified=event.verified)

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
