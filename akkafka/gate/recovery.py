"""How a gate finds its place again, from the log alone: snapshot, journal behind it, last records of its own outputs.

Nothing here reads: the callers (shell, simulation, replay) bring the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from akkafka.errors import LogLostError, NewerSchemaError, ProtocolError
from akkafka.gate.lane import LaneStart
from akkafka.gate.snapshot import Snapshot
from akkafka.gate.state import CountingRule, GateState, Stepper, apply_record, pass_over
from akkafka.protocol import wire
from akkafka.protocol.messages import TRAIL_CHAIN_BYTES, Forward, Hop, JournalRecord, Run
from akkafka.protocol.sequence import Verdict, judge

JournalEntry = tuple[JournalRecord | None, bytes]


def read_entry(run: Run, value: bytes | None) -> JournalEntry:
    """A journal record as every reader takes it: None if it is no record of this run.

    Raises NewerSchemaError: passing over what a newer akkafka wrote would make another history.
    """
    try:
        message = wire.decode(value)
    except NewerSchemaError:
        raise
    except ProtocolError:
        return None, b""
    if not isinstance(message, JournalRecord) or message.run != run:
        return None, b""
    return message, value or b""


@dataclass(frozen=True, slots=True)
class Folding:
    """The rules of a fold."""

    rule: CountingRule
    step: Stepper
    ring: int = 0  # newest versions to keep besides: the fixed schedule's D


class MissingWeightsError(LogLostError):
    """The fold needs weights of a version that lies before the snapshot it began with."""


def fold(
    start: GateState,
    older: Mapping[int, GateState],
    entries: Sequence[JournalEntry],
    folding: Folding,
    keep: Iterable[int] = (),
    *,
    until: int | None = None,
    named: list[tuple[int, int]] | None = None,
) -> tuple[GateState, dict[int, GateState]]:
    """(newest state, states of the versions in `keep` and of the ring) after all entries, or at version `until`.

    `named` is given (version made, version named) of each record that counts and needs those weights.
    Memory: weights are kept only as long as a later record or `keep` names their version.
    Raises MissingWeightsError if a record names weights that are not to be had from here.
    """
    wanted = set(keep)
    last_use = {record.hop.version: i for i, (record, _) in enumerate(entries) if record is not None}
    states = {**older, start.version: start}
    state = start
    for i, (record, value) in enumerate(entries):
        if until is not None and state.version >= until:
            break
        if record is None or not folding.rule.counts(state, record):
            state = states[state.version] = pass_over(state)
            continue
        then = states.get(record.hop.version)
        if then is None and record.needs_weights:
            raise MissingWeightsError(
                f"gate {folding.rule.gate}: journal record {state.next_offset} names the weights of version "
                f"{record.hop.version}, which are not in the snapshot of version {start.version}"
            )
        if then is not None and then.chain[:TRAIL_CHAIN_BYTES] != record.hop.chain:
            raise LogLostError(
                f"gate {folding.rule.gate}: journal record {state.next_offset} was made with another history of "
                f"version {record.hop.version} than the journal holds",
                hint="The broker has lost a part of its log: restore its data, or start anew with `akkafka reset`.",
            )
        state = apply_record(state, record, value, then.params if then is not None else {}, folding.step)
        states[state.version] = state
        if named is not None and record.needs_weights:
            named.append((state.version, record.hop.version))
        for version in [
            v for v in states if v < state.version - folding.ring and v not in wanted and last_use.get(v, -1) <= i
        ]:
            del states[version]
    return state, states


@dataclass(frozen=True, slots=True)
class OutputFact:
    """What a record of a gate's own output topic tells of one batch."""

    seq: int
    hop: Hop
    training: bool = True  # else nothing ever comes back: the batch is not open


def output_fact(run: Run, gate: int, value: bytes | None, lane: int | None = None) -> OutputFact | None:
    """The fact in a record of `forward.<gate+1>`, or None if it is no message of this run from this gate (and lane)."""
    try:
        message = wire.decode(value)
    except ProtocolError:
        return None
    if not isinstance(message, Forward) or message.run != run or len(message.trail) != gate + 1:
        return None
    if lane is not None and message.lane != lane:
        return None
    return OutputFact(message.seq, message.trail[gate], message.mode.training)


def first_copies(facts: Iterable[OutputFact]) -> list[OutputFact]:
    """What counts among the facts of a lane: the next seq each time; late copies and what is too early do not.

    `facts` begin at the lane's head, or where it was trimmed: in both places a first copy stands.
    """
    found: list[OutputFact] = []
    for fact in facts:
        expected = found[-1].seq + 1 if found else fact.seq
        if judge(fact.seq, expected) is Verdict.NEXT:
            found.append(fact)
    return found


def lane_start(facts: Sequence[OutputFact], applied: int) -> tuple[LaneStart, int]:
    """(what the core has to know, offset of the next input) from the newest facts of a lane, in log order.

    Of several copies of one batch the first counts. `facts` reach back to batch `applied`, or to the lane's head.
    """
    first: dict[int, OutputFact] = {}
    for fact in facts:
        first.setdefault(fact.seq, fact)
    if not first:
        return LaneStart(), 0
    last = max(first)
    open_batches = tuple((seq, fact.hop) for seq, fact in sorted(first.items()) if seq >= applied and fact.training)
    return LaneStart(last + 1, open_batches), first[last].hop.offset + 1


def begin(
    snapshots: Iterable[Snapshot], initial: GateState | None, first_held: int
) -> Iterable[tuple[GateState, Mapping[int, GateState]]]:
    """Where a fold may begin: whole snapshots, newest first, then version 0 if the journal still holds its head.

    `initial`: version 0; None will do where the journal's head is gone.
    """
    for snapshot in snapshots:
        if snapshot.state.next_offset >= first_held:
            yield snapshot.state, snapshot.older
    if first_held == 0 and initial is not None:
        yield initial, {}


def check_outputs(gate: int, state: GateState, facts: Iterable[OutputFact]) -> None:
    """Raise LogLostError if batches left the gate with weights that the journal does not hold (output commit)."""
    newest = max((fact.hop.version for fact in facts), default=0)
    if newest > state.version:
        raise LogLostError(
            f"gate {gate}: batches were forwarded with version {newest}, the journal holds {state.version} versions",
            hint="The broker has lost a part of its log: restore its data, or start anew with `akkafka reset`.",
        )
