"""What processes tell of themselves through the metrics topic, for eyes only: the protocol decides nothing by it.

One exception is said where it is made: `SentinelFigures.lanes` lets training sentinels see how old the open batches of
other lanes are (`max_staleness`). A wrong or lost figure there slows or loosens that bound, it never loses a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from akkafka.errors import ProtocolError
from akkafka.protocol.messages import Figures, Mode, Run


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # newer writers may add fields


class GateFigures(_Body):
    """A gate's beat, some five times a second."""

    kind: Literal["gate"] = "gate"
    gate: int
    name: str
    state: Literal["starting", "working", "standby", "waiting", "leaving"]
    waiting_for: str = ""
    version: int = 0  # last one that exists in the journal
    applied: list[tuple[int, int]] = []  # (lane, next seq to be applied)
    open: int = 0  # batches forwarded and not yet applied
    updates: int = 0  # by this process
    voids: int = 0
    zeroed: int = 0  # of the updates, those with a gradient of zero, as it could not be formed
    staleness_sum: int = 0  # over `updates`
    staleness_max: int = 0
    busy: float = 0.0  # share of the last interval that the compute thread worked
    cpu_seconds: float = 0.0
    rss_bytes: int = 0
    dead_letters: int = 0
    saved_version: int = 0  # of this process's newest verified snapshot
    saved_hash: str = ""  # of weights and optimizer state in memory at that version (gate/fingerprint.py)
    compensation: float | None = None  # |compensation| / |gradient|, where the optimizer has one
    numerics: str = ""  # what the bits of its numbers depend on besides the definition (gate/numerics.py)
    host: str = ""
    pid: int = 0


class BatchFigures(_Body):
    """One training batch, as its sentinel saw it."""

    lane: int
    seq: int
    epoch: int
    batch: int
    samples: int
    loss: float  # mean over the batch
    correct: float  # samples; of a sequence the share of its positions
    home_ns: int  # wall clock when the loss was known
    latency_ms: float  # from issue to loss
    metrics: dict[str, float] = {}  # means over the batch, by name, but for accuracy: that is `correct`


class TrainFigures(_Body):
    """Training batches of the last moments; told again after a take-over, so count by (lane, seq)."""

    kind: Literal["train"] = "train"
    batches: list[BatchFigures]


class LaneFigures(_Body):
    """Where a lane stands."""

    lane: int
    issued: int  # next seq to be issued
    home: int  # next seq to come home
    epoch: int
    finished: bool = False  # nothing more will be issued in this run of the sentinel


class SentinelFigures(_Body):
    """A sentinel's beat."""

    kind: Literal["sentinel"] = "sentinel"
    role: Mode
    state: Literal["starting", "working", "standby", "waiting", "finished", "leaving"]
    waiting_for: str = ""
    lanes: list[LaneFigures] = []
    window: int = 0  # batches in flight in each lane; 0: not told
    window_why: str = ""  # where it was found: how
    rss_bytes: int = 0
    cpu_seconds: float = 0.0
    dead_letters: int = 0
    host: str = ""
    pid: int = 0


class PassFigures(_Body):
    """One pass over a validation or test set."""

    kind: Literal["pass"] = "pass"
    role: Mode
    data: str
    samples: int
    loss: float
    accuracy: float  # 0 where there is no right and wrong: see metrics
    metrics: dict[str, float] = {}  # means over the samples, by name; perplexity where it is one
    seconds: float
    started_ms: int
    versions: list[tuple[int, int]]  # per gate: lowest and highest version that the pass saw


def reading(metrics: Mapping[str, float], between: str = ", ") -> str:
    """Metrics for eyes: shares (accuracy, top-5) in per cent, others (mae, perplexity) as numbers."""
    return between.join(
        f"{name} {value:6.2%}" if name.startswith(("accuracy", "top-")) else f"{name} {value:.4g}"
        for name, value in metrics.items()
    )


def found_window(window: int, why: str) -> str:
    """What `window = "auto"` has come to, for eyes."""
    return f"window {window}: {why}"


Body = GateFigures | TrainFigures | SentinelFigures | PassFigures
_BODY: TypeAdapter[Body] = TypeAdapter(Annotated[Body, Field(discriminator="kind")])


def to_message(run: Run, process: str, time_ms: int, body: Body) -> Figures:
    """The message that carries `body`."""
    return Figures(run, body.kind, process, time_ms, body.model_dump(mode="json"))


def from_message(message: Figures) -> Body:
    """The body of a message; raises ProtocolError if it is none that this akkafka knows."""
    try:
        return _BODY.validate_python({**message.body, "kind": message.kind})
    except ValidationError as error:
        raise ProtocolError(f"figures of kind {message.kind!r} cannot be read: {error.error_count()} faults") from error
