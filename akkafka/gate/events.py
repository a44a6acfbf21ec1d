"""What a gate's core hears (past tense) and what it asks for (imperative)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from akkafka.errors import AkkafkaError
from akkafka.gate.caution import Direction
from akkafka.gate.state import GateState, Params
from akkafka.protocol.messages import Array, Backward, Forward, Hop, JournalRecord, Narrow

# --- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class ForwardArrived:
    """A decoded record of the gate's forward topic."""

    offset: int
    message: Forward


@dataclass(frozen=True, slots=True, eq=False)
class BackwardArrived:
    """A decoded record of the gate's backward topic."""

    offset: int
    message: Backward


@dataclass(frozen=True, slots=True, eq=False)
class ForwardComputed:
    """The answer to ComputeForward: y, or why there is none."""

    job: ComputeForward
    y: Array | Narrow | None
    tape: Any = None
    failure: str = ""
    spent: tuple[int, int] = (0, 0)  # ns of wall clock when it began and was done, of a batch with stamps


@dataclass(frozen=True, slots=True, eq=False)
class BackwardComputed:
    """The answer to ComputeBackward: the input gradient, the journal record's bytes, the next state."""

    job: ComputeBackward
    dx: Array | Narrow | None
    record: JournalRecord
    value: bytes
    state: GateState
    zeroed: str = ""  # why the gates below get a gradient of zero
    failure: str = ""  # what went wrong here, for the dead letters
    spent: tuple[int, int] = (0, 0)  # as of ForwardComputed


@dataclass(frozen=True, slots=True, eq=False)
class Folded:
    """The answer to Fold."""

    job: Fold
    state: GateState


@dataclass(frozen=True, slots=True)
class ForwardDelivered:
    """A copy of this batch's output is in the log; told as long as the core is cautious about the lane."""

    lane: int
    seq: int


@dataclass(frozen=True, slots=True)
class AttemptNoted:
    """It has been put down that we begin this batch."""

    lane: int
    direction: Direction
    seq: int


@dataclass(frozen=True, slots=True)
class BackwardDelivered:
    """A copy of this batch's gradient is in the log."""

    lane: int
    seq: int


@dataclass(frozen=True, slots=True)
class Appended:
    """A journal record was acknowledged at this offset."""

    offset: int


@dataclass(frozen=True, slots=True)
class AppendUnknown:
    """A journal record may or may not be in the log."""


@dataclass(frozen=True, slots=True, eq=False)
class JournalRead:
    """The journal from the asked offset to its end, gapless; None where the bytes are no record of this run."""

    records: list[tuple[JournalRecord | None, bytes]]
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class InputFetched:
    """The input of a batch was read again."""

    lane: int
    seq: int
    offset: int
    message: Forward


@dataclass(frozen=True, slots=True, eq=False)
class StateRebuilt:
    """An older state was rebuilt from snapshot and journal."""

    state: GateState


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time went on (seconds, any origin)."""

    now: float


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """The snapshot that was asked for has been written and verified, or has failed."""

    version: int
    verified: bool


@dataclass(frozen=True, slots=True)
class LeaveAsked:
    """Finish what is begun, begin nothing more."""


Event = (
    ForwardArrived
    | BackwardArrived
    | ForwardComputed
    | BackwardComputed
    | Folded
    | ForwardDelivered
    | AttemptNoted
    | BackwardDelivered
    | Appended
    | AppendUnknown
    | JournalRead
    | InputFetched
    | StateRebuilt
    | Ticked
    | SnapshotTaken
    | LeaveAsked
)

# --- instructions ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class ComputeForward:
    """Run the layers; one computation at a time."""

    offset: int
    message: Forward
    state: GateState
    key: int


@dataclass(frozen=True, slots=True, eq=False)
class ComputeBackward:
    """Differentiate with the weights of the forward, make the record, step from `base`."""

    offset: int
    message: Backward
    hop: Hop
    then: Params  # weights of the forward, w_f
    tape: Any  # None: run the forward again on `x` first
    source: Forward | None  # the input again, where there is no tape
    base: GateState
    key: int


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Apply a record that counts."""

    base: GateState
    record: JournalRecord
    value: bytes
    then: Params


@dataclass(frozen=True, slots=True, eq=False)
class SendForward:
    """Into the next gate's topic, in lane order, once."""

    message: Forward


@dataclass(frozen=True, slots=True, eq=False)
class SendBackward:
    """Into the previous gate's topic, in lane order; answer with BackwardDelivered."""

    message: Backward


@dataclass(frozen=True, slots=True, eq=False)
class AppendRecord:
    """Into the journal, in this order; answer each with Appended or AppendUnknown, in this order."""

    value: bytes
    record: JournalRecord


@dataclass(frozen=True, slots=True)
class ReadJournal:
    """From this offset to the end as it is now; answer with JournalRead."""

    start: int


@dataclass(frozen=True, slots=True)
class FetchInput:
    """Read an input again; answer with InputFetched."""

    lane: int
    seq: int
    offset: int


@dataclass(frozen=True, slots=True)
class RebuildState:
    """Rebuild an older state from the log; answer with StateRebuilt."""

    version: int


@dataclass(frozen=True, slots=True, eq=False)
class TakeSnapshot:
    """Write this state; answer with SnapshotTaken."""

    state: GateState
    older: Mapping[int, GateState]  # states that open batches still name


@dataclass(frozen=True, slots=True)
class Refuse:
    """Put a record into the dead-letter topic; nothing else happens because of it."""

    direction: str  # "forward" or "backward"
    lane: int
    offset: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Halt:
    """Stop the process: going on would train on something that is not so."""

    error: AkkafkaError


@dataclass(frozen=True, slots=True)
class NoteAttempt:
    """Put down that this process begins a batch, its first one of the lane; answer with AttemptNoted."""

    lane: int
    direction: Direction
    seq: int
    times: int  # processes in a row that began with it, this one included


Instruction = (
    ComputeForward
    | ComputeBackward
    | Fold
    | SendForward
    | SendBackward
    | AppendRecord
    | ReadJournal
    | FetchInput
    | RebuildState
    | TakeSnapshot
    | NoteAttempt
    | Refuse
    | Halt
)
