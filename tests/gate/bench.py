"""A core on a bench: the test plays all of its shell, with the simulation's toy arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from akkafka.data.epochs import Cursor
from akkafka.gate import events as e
from akkafka.gate.caution import Caution, Direction, Step
from akkafka.gate.core import GateCore
from akkafka.gate.lane import LaneStart
from akkafka.gate.settings import CoreSettings
from akkafka.gate.state import CountingRule, GateState, apply_record, initial_state
from akkafka.protocol import wire
from akkafka.protocol.messages import Backward, Forward, Hop, JournalRecord, Mode, Run

from ..simulation import toy

RUN, OTHER = Run(b"d" * 8, b"1" * 8), Run(b"d" * 8, b"2" * 8)
I = TypeVar("I")  # noqa: E741


def zero(lanes: int = 2) -> GateState:
    return initial_state({"w": toy.word(5)}, {"m": toy.word(0)}, lanes)


def forward(
    seq: int, lane: int = 0, *, run: Run = RUN, mode: Mode = Mode.TRAIN, trail: tuple[Hop, ...] = (), void: str = ""
) -> Forward:
    x = None if void else toy.word(100 * lane + seq + 1)
    return Forward(run, mode, lane, seq, Cursor(0, seq), Cursor(0, seq + 1), trail, x, void=void)


def record_of(
    seq: int, lane: int, hop: Hop, *, source: int = 0, void: str = "", zeroed: str = "", writer: str = "other"
) -> JournalRecord:
    grads = {} if void or zeroed else {"w": toy.word(7 + seq)}
    return JournalRecord(RUN, 0, lane, seq, hop, source, grads, void=void, writer=writer, zeroed=zeroed)


def entry(record: JournalRecord) -> tuple[JournalRecord | None, bytes]:
    return record, wire.encode(record)


def after(state: GateState, record: JournalRecord, then: GateState | None = None) -> GateState:
    return apply_record(state, record, wire.encode(record), (then or state).params, toy.step)


class Carefree(Caution):
    """Has nothing put down and waits for nothing: benches of other rules need not play that part."""

    def step(self, lane: int, direction: Direction, seq: int) -> Step:
        return Step.GO

    def cautious(self, lane: int) -> bool:
        return False


class Bench:
    """Collects what a core of gate 0 asks for; `did` gives it out by kind, once."""

    def __init__(
        self, *, start: GateState | None = None, lanes: list[LaneStart] | None = None, **settings: Any
    ) -> None:
        fixed = settings.pop("fixed", 0)
        older = settings.pop("older", {})
        start = start or zero()
        settings = {"snapshot_seconds": 1e30, **settings}
        self.core = GateCore(
            CoreSettings(run=RUN, name="fc", gate=0, rule=CountingRule(0, fixed), **settings),
            start,
            older,
            lanes or [LaneStart() for _ in start.applied],
            {},
        )
        self.core._attempts.caution = Carefree({}, self.core._attempts.in_the_log)
        self.asked: list[e.Instruction] = []

    def on(self, event: e.Event) -> list[e.Instruction]:
        asked = self.core.on(event)
        self.asked += asked
        return asked

    def did(self, kind: type[I]) -> list[I]:
        """Instructions of a kind that were not looked at yet."""
        found: list[I] = [i for i in self.asked if isinstance(i, kind)]
        self.asked = [i for i in self.asked if not isinstance(i, kind)]
        return found

    def one(self, kind: type[I]) -> I:
        (found,) = self.did(kind)
        return found

    # --- the shell's part ---------------------------------------------------------------------------

    def forward(self, seq: int, lane: int = 0, *, offset: int | None = None, **facts: Any) -> list[e.Instruction]:
        return self.on(e.ForwardArrived(seq if offset is None else offset, forward(seq, lane, **facts)))

    def backward(
        self,
        seq: int,
        lane: int = 0,
        *,
        hop: Hop | None = None,
        run: Run = RUN,
        void: str = "",
        zeroed: str = "",
    ) -> list[e.Instruction]:
        """The gradient of a batch; `hop` is what the first copy's trail names (version 0 if not told)."""
        hop = hop or zero().hop(seq)
        dy = None if void or zeroed else toy.word(50 + seq)
        return self.on(e.BackwardArrived(seq, Backward(run, lane, seq, (hop,), seq, dy, void, zeroed=zeroed)))

    def compute(self, *, failure: str = "") -> e.ComputeForward | e.ComputeBackward | e.Fold:
        """Answer the one computation that was asked for."""
        (job,) = [i for i in self.asked if isinstance(i, e.ComputeForward | e.ComputeBackward | e.Fold)]
        self.asked.remove(job)
        match job:
            case e.ComputeForward():
                y = toy.forward(toy.number(job.message.x), toy.number(job.state.params["w"]), job.key)
                self.on(e.ForwardComputed(job, None if failure else toy.word(y), tape="tape", failure=failure))
            case e.ComputeBackward():
                self.on(self._backward(job, failure))
            case e.Fold():
                self.on(e.Folded(job, apply_record(job.base, job.record, job.value, job.then, toy.step)))
        return job

    def _backward(self, job: e.ComputeBackward, failure: str) -> e.BackwardComputed:
        m = job.message
        zeroed = m.zeroed or failure
        record = record_of(m.seq, m.lane, job.hop, source=job.offset, void=m.void, zeroed=zeroed, writer="me")
        value = wire.encode(record)
        state = apply_record(job.base, record, value, job.then, toy.step)
        dx = toy.word(9) if record.needs_weights else None
        return e.BackwardComputed(job, dx, record, value, state, zeroed, failure)

    def compute_all(self) -> None:
        while any(isinstance(i, e.ComputeForward | e.ComputeBackward | e.Fold) for i in self.asked):
            self.compute()

    def delivered(self, seq: int, lane: int = 0) -> list[e.Instruction]:
        return self.on(e.BackwardDelivered(lane, seq))

    def round(self, seq: int, lane: int = 0, *, offset: int | None = None) -> None:
        """One batch there and back; its record is acknowledged where it is expected."""
        self.forward(seq, lane)
        self.compute_all()
        hop = self.core.certain.hop(seq)
        self.backward(seq, lane, hop=hop)
        self.compute_all()
        self.delivered(seq, lane)
        self.on(e.Appended(self.core.certain.next_offset if offset is None else offset))


def renamed(hop: Hop, *, version: int | None = None, chain: bytes | None = None) -> Hop:
    """A hop with other facts."""
    return replace(hop, version=hop.version if version is None else version, chain=chain or hop.chain)
