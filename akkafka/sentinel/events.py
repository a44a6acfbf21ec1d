"""What a sentinel's cores hear (past tense) and what they ask for (imperative)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from akkafka.data.epochs import Cursor
from akkafka.protocol.messages import Array, Backward, Forward, Narrow

# --- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LaneStanding:
    """Where a lane stands, read from the last records of its topics."""

    lane: int
    issued: int = 0  # next seq to be issued
    cursor: Cursor | None = None  # next place in the data; None: nothing was issued yet
    home: int = 0  # next seq to come home
    answered: int = 0  # next seq of the open end to be answered


@dataclass(frozen=True, slots=True)
class LaneTaken:
    """This process works on the lane from now on."""

    standing: LaneStanding


@dataclass(frozen=True, slots=True)
class LaneLost:
    """Another process works on the lane from now on."""

    lane: int


@dataclass(frozen=True, slots=True, eq=False)
class OutputArrived:
    """A decoded record of the open end."""

    offset: int
    message: Forward


@dataclass(frozen=True, slots=True)
class HomeArrived:
    """A batch is home: its gradient has passed all gates. Heard for all training lanes."""

    lane: int
    seq: int


@dataclass(frozen=True, slots=True)
class WindowSet:
    """So many batches may be in flight in each lane from now on; what is in flight beyond it comes home as it is."""

    window: int


@dataclass(frozen=True, slots=True)
class LaneTold:
    """Another process's figures: how far a lane has been issued."""

    lane: int
    issued: int
    home: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """The answer to Evaluate. `loss` is the mean over the batch; `void` says why there is no gradient."""

    offset: int
    message: Forward
    samples: int
    loss: float
    correct: float  # samples; of a sequence the share of its positions
    dy: Array | Narrow | None
    void: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)  # means over the batch


@dataclass(frozen=True, slots=True)
class LeaveAsked:
    """Issue nothing more; answer what comes until all of our batches are home."""


@dataclass(frozen=True, slots=True)
class PassAsked:
    """Go over a set of `batches` batches once."""

    tag: str
    number: int
    batches: int


# --- instructions ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Issue:
    """Make the batch at `cursor` and send it into gate 0, in lane order."""

    lane: int
    seq: int
    cursor: Cursor
    after: Cursor
    tag: str = ""
    followed: bool = False  # by another of its burst


@dataclass(frozen=True, slots=True, eq=False)
class Evaluate:
    """Compute the loss (and the gradient, if training); answer with Evaluated."""

    offset: int
    message: Forward


@dataclass(frozen=True, slots=True, eq=False)
class SendGradient:
    """Into the last gate's backward topic, in lane order."""

    message: Backward


@dataclass(frozen=True, slots=True)
class Refuse:
    """Put a record of the open end into the dead-letter topic."""

    lane: int
    offset: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """A training batch was evaluated: tell the figures."""

    evaluated: Evaluated


@dataclass(frozen=True, slots=True, eq=False)
class PassEnded:
    """All batches of a pass were evaluated, in the order of the data."""

    tag: str
    results: tuple[Evaluated, ...]


Instruction = Issue | Evaluate | SendGradient | Refuse | Report | PassEnded
