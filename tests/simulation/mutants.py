"""Faults put into the cores on purpose: a simulation that overlooks one of them proves nothing about the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from akkafka.gate import core, inbox, ledger, recovery
from akkafka.gate import events as e
from akkafka.gate.caution import Caution, Direction, Step
from akkafka.gate.core import GateCore
from akkafka.gate.forwarding import Forwarding
from akkafka.gate.lane import Lane, LaneStart
from akkafka.gate.ledger import Kept
from akkafka.gate.needs import Needs
from akkafka.gate.recovery import OutputFact
from akkafka.gate.refold import Refold
from akkafka.gate.state import CountingRule, GateState, Params, Stepper, apply_record
from akkafka.gate.versions import Versions
from akkafka.protocol import wire
from akkafka.protocol.messages import Hop, JournalRecord
from akkafka.protocol.sequence import Verdict
from akkafka.sentinel import passes, training
from akkafka.sentinel.needs import OutputNeeds
from akkafka.sentinel.passes import PassCore
from akkafka.sentinel.training import TrainCore

from . import gate_process

Patch = pytest.MonkeyPatch
_TRIMMING: Mapping[str, Any] = {
    "trims": True, "snapshots": True, "gates": 1, "lanes": 2, "eval_lanes": 0, "window": 3, "batches": 8, "steps": 250,
    "fixed": False, "forging": False, "poison": frozenset(), "backlog": 64, "max_staleness": 64,
}  # fmt: skip

_SPOILED: Mapping[str, Any] = {
    "gates": 2, "lanes": 2, "eval_lanes": 0, "window": 3, "batches": 8, "fixed": False, "snapshots": True,
    "poison": frozenset((lane, seq) for lane in range(2) for seq in range(4)),
}  # fmt: skip
_POISONED: Mapping[str, Any] = {"window": 3, "poison": frozenset({(0, 1), (0, 2)}), "snapshots": False}
_CROWDED: Mapping[str, Any] = {"lanes": 3, "gates": 1, "fixed": False, "window": 3, "batches": 9, "eval_lanes": 0}
_DEADLY: Mapping[str, Any] = {
    "killers": frozenset({(0, "backward", 0, 1)}), "faults": False, "lanes": 1, "batches": 4, "fixed": False,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A fault and how it gets in; `scenario` sets what it needs to show."""

    name: str
    put: Callable[[Patch], None]
    scenario: Mapping[str, Any] = field(default_factory=dict)


def _takes_duplicates(seq: int, expected: int) -> Verdict:
    return Verdict.NEXT if seq <= expected else Verdict.AHEAD


def _takes_gaps(seq: int, expected: int) -> Verdict:
    return Verdict.NEXT if seq >= expected else Verdict.DUPLICATE


def _appends_before_delivery(patch: Patch) -> None:
    def computed(self: GateCore, event: e.BackwardComputed) -> None:
        GateCore._backward_computed(self, event)
        self._pending[-1].delivered = True
        self._append_due()

    patch.setitem(core._HANDLERS, e.BackwardComputed, computed)


def _forwards_before_commit(patch: Patch) -> None:
    def flush(self: Forwarding, lane: Lane) -> None:
        while lane.outbox:
            self._asked.append(e.SendForward(lane.outbox.popleft().message))

    patch.setattr(Forwarding, "_flush", flush)


def _snapshots_speculation(patch: Patch) -> None:
    honest = GateCore.take_snapshot

    def take(self: GateCore) -> None:
        honest(self)
        asked = self._out[-1]
        assert isinstance(asked, e.TakeSnapshot)
        self._out[-1] = replace(asked, state=self.newest)

    patch.setattr(GateCore, "take_snapshot", take)


def _changed_job(patch: Patch, change: Callable[[GateCore, e.ComputeBackward], e.ComputeBackward]) -> None:
    honest = GateCore._compute

    def compute(self: GateCore, job: e.ComputeForward | e.ComputeBackward | e.Fold) -> None:
        honest(self, change(self, job) if isinstance(job, e.ComputeBackward) and not job.message.void else job)

    patch.setattr(GateCore, "_compute", compute)


def _uses_live_weights(patch: Patch) -> None:
    _changed_job(patch, lambda self, job: replace(job, then=self.newest.params))


def _trusts_its_own_copy(patch: Patch) -> None:
    def change(self: GateCore, job: e.ComputeBackward) -> e.ComputeBackward:
        own = self._lanes[job.message.lane].stash.get(job.message.seq)
        return job if own is None else replace(job, hop=own.hop)

    _changed_job(patch, change)


def _trusts_its_own_tape(patch: Patch) -> None:
    def change(self: GateCore, job: e.ComputeBackward) -> e.ComputeBackward:
        own = self._lanes[job.message.lane].stash.get(job.message.seq)
        return job if own is None or own.tape is None else replace(job, tape=own.tape)

    _changed_job(patch, change)


def _trusts_any_offset(patch: Patch) -> None:
    def appended(self: GateCore, event: e.Appended) -> None:
        expected = self.certain.next_offset
        GateCore._appended(self, e.Appended(expected) if event.offset > expected and not self._refold.adrift else event)

    patch.setitem(core._HANDLERS, e.Appended, appended)


def _keeps_speculation(patch: Patch) -> None:
    honest = Refold.begin

    def begin(self: Refold) -> None:
        states = [pending.state for pending in self._pending]
        honest(self)
        for pending, state in zip(self._pending, states, strict=True):
            pending.state = state

    patch.setattr(Refold, "begin", begin)


def _counts_again(patch: Patch) -> None:
    patch.setattr(Refold, "_drop", lambda self, record: None)
    patch.setattr(Refold, "_due", lambda self, record: True)


def _appends_unknown_as_certain(patch: Patch) -> None:
    def unknown(self: GateCore, event: e.AppendUnknown) -> None:
        GateCore._appended(self, e.Appended(self.certain.next_offset))

    patch.setitem(core._HANDLERS, e.AppendUnknown, unknown)


def _ignores_the_chain(patch: Patch) -> None:
    honest = GateCore._state_at

    def state_at(self: GateCore, hop: Hop) -> GateState | None:
        return self.states.get(hop.version) or honest(self, hop)

    patch.setattr(GateCore, "_state_at", state_at)


def _resumes_too_far(patch: Patch) -> None:
    honest = recovery.lane_start

    def lane_start(facts: Sequence[OutputFact], applied: int) -> tuple[LaneStart, int]:
        start, offset = honest(facts, applied)
        return start, offset + bool(facts)

    patch.setattr(recovery, "lane_start", lane_start)


def _counts_late_copies(patch: Patch) -> None:
    def counts(self: CountingRule, state: GateState, record: JournalRecord) -> bool:
        return record.gate == self.gate and record.lane < len(state.applied) and record.hop.version <= state.version

    patch.setattr(CountingRule, "counts", counts)


def _forgets_older_weights(patch: Patch) -> None:
    honest = GateCore.take_snapshot

    def take(self: GateCore) -> None:
        honest(self)
        asked = self._out[-1]
        assert isinstance(asked, e.TakeSnapshot)
        self._out[-1] = replace(asked, older={})

    patch.setattr(GateCore, "take_snapshot", take)
    _lets_go_all_but_two(patch)


def _lets_go_all_but_two(patch: Patch) -> None:
    def oldest(kept: Sequence[Kept], version: int, reach: int, named: object) -> Kept | None:
        return kept[1] if len(kept) > 1 else None

    patch.setattr(ledger, "oldest_needed", oldest)


def _counts_what_is_out_of_reach(patch: Patch) -> None:
    patch.setattr(CountingRule, "within_reach", lambda self, hop, version: True)


def _steps_with_what_is_out_of_reach(patch: Patch) -> None:
    def ready(self: GateCore, lane: Lane) -> bool:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(CountingRule, "within_reach", lambda self, hop, version: True)
            return honest(self, lane)

    honest = GateCore._ready_backward
    patch.setattr(GateCore, "_ready_backward", ready)


def _trims_open_inputs(patch: Patch) -> None:
    patch.setattr(Needs, "forward", lambda self, lane, applied: self._taken["forward"][lane].needless(1 << 60))


def _trims_unread_gradients(patch: Patch) -> None:
    patch.setattr(Needs, "backward", lambda self, lane, applied: self._taken["backward"][lane].needless(1 << 60))


def _trims_unanswered_outputs(patch: Patch) -> None:
    def outputs(self: OutputNeeds, lane: int) -> int | None:
        return self._taken[lane].needless(1 << 60) if lane in self._taken else None

    patch.setattr(OutputNeeds, "outputs", outputs)


def _forgets_the_ring(patch: Patch) -> None:
    def forget(self: Versions, needed: Set[int]) -> None:
        for version in [v for v in self.at_hand if v < self.certain.version]:
            del self.at_hand[version]

    patch.setattr(Versions, "forget", forget)


def _begins_while_adrift(patch: Patch) -> None:
    patch.setattr(GateCore, "_may_begin", property(lambda self: not (self._computing or self._halted or self.leaving)))


def _forwards_too_early(patch: Patch) -> None:
    patch.setattr(Forwarding, "_too_early", lambda self, message: False)


def _fixed_takes_the_newest(patch: Patch) -> None:
    patch.setattr(Forwarding, "_state_for", lambda self, message: self._versions.newest)


def _backward_in_order_of_arrival(patch: Patch) -> None:
    def order(self: GateCore) -> list[Lane]:
        waiting = [lane for lane in self._lanes if lane.backwards]
        return sorted(waiting, key=lambda lane: lane.backwards[0][0])

    patch.setattr(GateCore, "_backward_order", order)


def _believes_all_outputs(patch: Patch) -> None:
    patch.setattr(recovery, "first_copies", list)


def _folds_without_rollback(patch: Patch) -> None:
    honest = Forwarding._take_back

    def take_back(self: Forwarding, lane: Lane) -> None:
        kept = list(lane.outbox)
        honest(self, lane)
        lane.forwards.clear()
        lane.outbox.extend(kept)

    patch.setattr(Forwarding, "_take_back", take_back)


def _void_overtakes(patch: Patch) -> None:
    honest = TrainCore._settle

    def settle(self: TrainCore, offset: int, message: Any, void: str, dy: Any) -> None:
        mine = [a for a in self._answers[message.lane] if a.offset == offset]
        self._answers[message.lane].remove(mine[0])
        self._answers[message.lane].appendleft(mine[0])
        honest(self, offset, message, void, dy)

    patch.setattr(TrainCore, "_settle", settle)


def _believes_any_homecoming(patch: Patch) -> None:
    def home(self: TrainCore, event: Any) -> None:
        own = self._lanes.get(event.lane)
        if own is not None:
            own.home = max(own.home, event.seq)
        honest(self, event)

    honest = TrainCore._home
    patch.setattr(TrainCore, "_home", home)


def _begins_lanes_anew(patch: Patch) -> None:
    honest = TrainCore._take
    patch.setattr(TrainCore, "_take", lambda self, standing: honest(self, replace(standing, cursor=None)))


def _takes_any_batch_for_its_own(patch: Patch) -> None:
    patch.setattr(PassCore, "_carries", lambda self, message, batch: True)


def _forgets_lost_batches(patch: Patch) -> None:
    patch.setattr(PassCore, "_again", lambda self, batches: None)


def _voids_what_fails(patch: Patch) -> None:
    """As it was once: void from this gate on, while the gates above have applied it."""
    honest = GateCore._backward_computed

    def computed(self: GateCore, event: e.BackwardComputed) -> None:
        zeroed = event.record.zeroed
        if zeroed:
            record = replace(event.record, zeroed="", void=zeroed)
            job = replace(event.job, message=replace(event.job.message, void=zeroed))
            value = wire.encode(record)
            state = apply_record(event.job.base, record, value, {}, _no_step)
            event = replace(event, job=job, record=record, value=value, state=state, zeroed="")
        honest(self, event)

    patch.setitem(core._HANDLERS, e.BackwardComputed, computed)


def _no_step(*args: Any) -> Any:
    raise AssertionError("a void record makes no step")


def _keeps_to_itself_what_failed(patch: Patch) -> None:
    honest = GateCore._backward_computed
    patch.setitem(core._HANDLERS, e.BackwardComputed, lambda self, event: honest(self, replace(event, zeroed="")))


def _zeroed_makes_no_step(patch: Patch) -> None:
    def applied(base: GateState, record: JournalRecord, value: bytes, then: Params, step: Stepper) -> GateState:
        state = apply_record(base, record, value, then, step)
        return replace(state, params=base.params, optimizer=base.optimizer) if record.zeroed else state

    for room in (recovery, gate_process):
        patch.setattr(room, "apply_record", applied)


def _refolds_zeroed_with_the_forwards_weights(patch: Patch) -> None:
    def applied(base: GateState, record: JournalRecord, value: bytes, then: Params, step: Stepper) -> GateState:
        if record.zeroed and then:
            return apply_record(base, record, value, then, lambda state, grads, _, tau: step(state, grads, then, tau))
        return apply_record(base, record, value, then, step)

    patch.setattr(recovery, "apply_record", applied)


def _zeroed_must_be_within_reach(patch: Patch) -> None:
    honest = CountingRule.counts

    def counts(self: CountingRule, state: GateState, record: JournalRecord) -> bool:
        return honest(self, state, record) and self.within_reach(record.hop, state.version)

    patch.setattr(CountingRule, "counts", counts)


def _forgets_attempts(patch: Patch) -> None:
    patch.setattr(Caution, "times", lambda self, lane, direction, seq: 0)


def _begins_before_it_is_put_down(patch: Patch) -> None:
    honest = Caution.step

    def step(self: Caution, lane: int, direction: Direction, seq: int) -> Step:
        self.noted(lane, direction, seq)
        return honest(self, lane, direction, seq)

    patch.setattr(Caution, "step", step)


MUTANTS = [
    Mutant("a gate takes duplicates for new batches", lambda p: p.setattr(inbox, "judge", _takes_duplicates)),
    Mutant("a gate takes batches ahead of their turn", lambda p: p.setattr(inbox, "judge", _takes_gaps)),
    Mutant("a record is appended before its gradient is delivered", _appends_before_delivery),
    Mutant("forwards leave before their version exists", _forwards_before_commit),
    Mutant("a snapshot is ahead of the journal", _snapshots_speculation),
    Mutant("live weights are used for w_f", _uses_live_weights),
    Mutant("the own copy's hop is used instead of the first one's", _trusts_its_own_copy),
    Mutant("the own copy's tape is used instead of the first one's", _trusts_its_own_tape),
    Mutant("an unexpected offset is trusted", _trusts_any_offset),
    Mutant("an unknown append is taken for done", _appends_unknown_as_certain),
    Mutant("speculation is kept after a foreign record", _keeps_speculation),
    Mutant("forwards of a rolled back version leave", _folds_without_rollback),
    Mutant("a counted record is appended again as if it counted", _counts_again),
    Mutant("late copies of a record count", _counts_late_copies),
    Mutant("versions are compared without their history", _ignores_the_chain, _CROWDED),
    Mutant("a restart resumes one input too far", _resumes_too_far),
    Mutant("a restart believes forged outputs", _believes_all_outputs, {"forging": True}),
    Mutant("a snapshot forgets older weights and the journal goes", _forgets_older_weights, _TRIMMING),
    Mutant("all but two snapshots go, whatever is within reach", _lets_go_all_but_two, _TRIMMING),
    Mutant("what is out of reach counts", _counts_what_is_out_of_reach, {**_TRIMMING, "reach": 3}),
    Mutant("what is out of reach makes a step", _steps_with_what_is_out_of_reach, {**_TRIMMING, "reach": 3}),
    Mutant("what fails on the way back is void from there on", _voids_what_fails, _SPOILED),
    Mutant("gates below do not hear that there is no gradient", _keeps_to_itself_what_failed, _SPOILED),
    Mutant("a gradient of zero makes no step", _zeroed_makes_no_step, _SPOILED),
    Mutant("zeroed steps are folded with other weights than made", _refolds_zeroed_with_the_forwards_weights, _SPOILED),
    Mutant("what is zeroed has to be within reach", _zeroed_must_be_within_reach, {**_TRIMMING, "reach": 3}),
    Mutant("inputs go before their gradients are in the journal", _trims_open_inputs, _TRIMMING),
    Mutant("gradients go before they are in the journal", _trims_unread_gradients, _TRIMMING),
    Mutant("outputs go before they are answered", _trims_unanswered_outputs, _TRIMMING),
    Mutant(
        "the ring of the fixed schedule is forgotten",
        _forgets_the_ring,
        {"fixed": True, "delay": 3, "max_staleness": 64},
    ),
    Mutant("work begins while the journal is unknown", _begins_while_adrift),
    Mutant("a restarted gate forwards before its backlog is applied", _forwards_too_early, {"lanes": 1, "window": 1}),
    Mutant("the fixed schedule takes the newest weights", _fixed_takes_the_newest, {"fixed": True}),
    Mutant("the fixed schedule applies as things come", _backward_in_order_of_arrival, {"fixed": True, "lanes": 2}),
    Mutant("a training sentinel answers duplicates", lambda p: p.setattr(training, "judge", _takes_duplicates)),
    Mutant("a void batch overtakes one whose loss is computed", _void_overtakes, _POISONED),
    Mutant("any homecoming counts for all before it", _believes_any_homecoming, {"lanes": 1, "window": 1}),
    Mutant("a lane that changes hands begins anew", _begins_lanes_anew),
    Mutant("a pass counts whatever comes out", _takes_any_batch_for_its_own, {"eval_lanes": 2}),
    Mutant(
        "a pass counts outputs ahead of their turn",
        lambda p: p.setattr(passes, "judge", _takes_gaps),
        {"eval_lanes": 1, "forging": True},
    ),
    Mutant("a pass forgets the batches of a lost lane", _forgets_lost_batches, {"eval_lanes": 1}),
    Mutant("what others died of is forgotten", _forgets_attempts, _DEADLY),
    Mutant("a batch is begun before that is put down", _begins_before_it_is_put_down, _DEADLY),
]
