"""The messages, one frozen class a kind: the facts that a reader of the log needs, a line by each.

Classes compare by identity (`eq=False`), as arrays have no single truth value. `wire.py` makes bytes of them and back.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from akkafka.data.epochs import Cursor
from akkafka.protocol.tally import Tally

Array = NDArray[Any]
SAMPLES_ID_BYTES = 16  # length of what names a published data set
CHAIN_BYTES = 16  # length of a journal's chain hash
TRAIL_CHAIN_BYTES = 8  # as much of it as a trail carries
MAX_GATES = 256  # of a network, so also the longest trail


class Mode(enum.StrEnum):
    """What a batch is for; carried by every message, obeyed by dropout, statistics and weights."""

    TRAIN = "train"
    VALIDATE = "validate"
    TEST = "test"
    PREDICT = "predict"

    @property
    def training(self) -> bool:
        """True if the batch comes back with a gradient."""
        return self is Mode.TRAIN


@dataclass(frozen=True, slots=True)
class Run:
    """One life of a network: what `define` made. Nothing of another run is ever taken for this one."""

    definition: bytes  # first 8 bytes of the definition's sha256: masks and seeds derive from it
    incarnation: bytes  # 8 random bytes, made anew by `define`

    def __str__(self) -> str:
        return f"{self.definition.hex()}-{self.incarnation.hex()}"

    @property
    def bytes(self) -> bytes:
        """Both parts, 16 bytes, as they stand in every envelope."""
        return self.definition + self.incarnation


@dataclass(frozen=True, slots=True)
class Hop:
    """What one gate leaves in the trail of a batch on its way forward."""

    offset: int  # of the gate's input record, in its lane of `forward.<gate>`
    version: int  # of the weights that this gate used
    chain: bytes  # first 8 bytes of the journal's chain hash at that version


class Samples(Protocol):
    """A whole data set at hand."""

    array: Array  # (N, *shape), read-only

    def take(self, numbers: Array) -> Array:
        """The rows of these numbers as a new array (batch, *shape); they have been checked."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Samples named instead of sent: rows of a data set that lies in the network's `data` topic (claim check)."""

    data: bytes  # 16 bytes: hash of the data set's dtype, shape and samples
    numbers: Array  # (batch,) uint32
    samples: Samples | None = None  # all of the data set; never on the wire: whoever has it puts it in
    missing: str = ""  # likewise: why it cannot be had

    def take(self) -> Array:
        """The batch, a new array (batch, *shape); only where `samples` has been put in and checked against."""
        assert self.samples is not None, "the shell brings the samples"
        return self.samples.take(self.numbers)


@dataclass(frozen=True, slots=True, eq=False)
class Narrow:
    """A float32 array in fewer bytes (narrow.py): how the edges of a network may be defined."""

    form: str  # bfloat16, float16 or int8
    values: Array  # (batch, *shape), of the form's dtype
    scale: Array | None = None  # (batch,) float32; int8 only

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array that it stands for."""
        return self.values.shape

    @property
    def nbytes(self) -> int:
        """As it travels."""
        return self.values.nbytes + (0 if self.scale is None else self.scale.nbytes)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True, eq=False)
class Forward:
    """Activations on their way into a gate, or out of the last one."""

    run: Run
    mode: Mode
    lane: int
    seq: int  # gapless number of the batch in its lane
    cursor: Cursor  # the batch's own place in its data
    after: Cursor  # the lane's next place: who takes the lane over goes on there
    trail: tuple[Hop, ...]  # one entry a gate passed, from gate 0 on
    x: Array | Narrow | None  # (batch, *shape); None if the batch is void, or named by `rows`
    context: Mapping[str, Array] = field(default_factory=dict)  # what the sentinel needs at the other end: targets, ids
    tag: str = ""  # what the sentinel wants to know again, e.g. the pass a validation batch belongs to
    void: str = ""  # why the batch cannot be processed; empty: it is whole
    issued_ns: int = 0  # wall clock at the sentinel, for latency figures only
    rows: Rows | None = None  # into gate 0 only, instead of x
    tally: Tally | None = None  # which samples it brings; training batches only
    stamps: tuple[int, ...] | None = None  # when it was where (stamps.py), of some batches; for figures only
    followed: bool = False  # another batch of its burst is right behind it: results may wait to travel together

    @property
    def batch(self) -> Array | Narrow:
        """The input as it came, (batch, *shape); only of a batch that is not void."""
        if self.x is not None:
            return self.x
        assert self.rows is not None, "a void batch has no input"
        return self.rows.take()


@dataclass(frozen=True, slots=True, eq=False)
class Backward:
    """The loss's gradient with respect to a gate's output, on its way back; into the sentinel it only says: home."""

    run: Run
    lane: int
    seq: int
    trail: tuple[Hop, ...]  # whole, as it came out of the last gate
    source: int  # offset of the record that this one answers, in its lane of the topic it was read from
    dy: Array | Narrow | None  # (batch, *shape); None if void, zeroed or home
    void: str = ""
    tally: Tally | None = None  # the forward's own
    zeroed: str = ""  # why a gate above could not form a gradient: the batch is applied with one of zero from here on
    stamps: tuple[int, ...] | None = None  # the forward's own, and those of the way back
    followed: bool = False  # the forward's own


@dataclass(frozen=True, slots=True, eq=False)
class JournalRecord:
    """One update of one gate. It counts if its seq is the next of its lane; else it is passed over by all alike."""

    run: Run
    gate: int
    lane: int
    seq: int
    hop: Hop  # this gate's own entry of the batch's trail: which weights the gradient was formed with
    source: int  # offset of the backward message it came from, in its lane of `backward.<gate+1>`
    grads: Mapping[str, Array | Narrow]  # by value, with batch statistics; empty if void or zeroed
    void: str = ""
    writer: str = ""  # process that appended it; tells nothing but who
    tally: Tally | None = None  # the batch's own: what `akkafka audit` adds up
    zeroed: str = ""  # why the gradient could not be formed: the step is made with one of zero

    @property
    def needs_weights(self) -> bool:
        """Whether its step looks at the weights of the forward: a void record has none, a gradient of zero no use."""
        return not (self.void or self.zeroed)


@dataclass(frozen=True, slots=True, eq=False)
class SnapshotChunk:
    """A piece of a gate's state."""

    run: Run
    gate: int
    version: int
    writer: str
    index: int
    data: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """A process of a gate begins a batch, its first one of this lane and direction: gate/caution.py says what for."""

    run: Run
    gate: int
    lane: int
    backward: bool
    seq: int
    times: int  # processes in a row that began with it, this one included
    writer: str


@dataclass(frozen=True, slots=True, eq=False)
class SnapshotManifest:
    """Written last: only what it names, and whose hashes agree, is a snapshot."""

    run: Run
    gate: int
    version: int
    writer: str
    chain: bytes  # chain hash at this version, 16 bytes
    next_offset: int  # of the journal: the first record that is not in this state
    applied: Mapping[int, int]  # lane -> next seq to be applied
    sources: Mapping[int, int]  # lane -> where to read `backward.<gate+1>` on
    chunks: tuple[bytes, ...]  # sha256 of each chunk's data, in order
    size: int  # bytes of all chunks together
    sums: tuple[tuple[int, ...], ...] = ()  # by lane: what the counted records up to here add up to (gate/sums.py)
    staleness: tuple[int, ...] = ()  # histogram over the counted records that are not void, likewise


@dataclass(frozen=True, slots=True, eq=False)
class OlderWeights:
    """Weights of a version that batches still on their way were forwarded with."""

    version: int
    chain: bytes  # chain hash at that version, 16 bytes
    weights: Mapping[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class StateImage:
    """A gate's arrays, as a snapshot holds them: cut into chunks after encoding."""

    weights: Mapping[str, Array]
    optimizer: Mapping[str, Array]
    older: tuple[OlderWeights, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SamplesChunk:
    """A piece of a published data set."""

    run: Run
    data: bytes  # the data set's name, 16 bytes
    index: int
    piece: bytes


@dataclass(frozen=True, slots=True, eq=False)
class SamplesManifest:
    """Written last: where the pieces of a data set lie, and what they must be."""

    run: Run
    data: bytes  # 16 bytes
    dtype: str  # numpy's code
    shape: tuple[int, ...]  # (N, *shape of one sample)
    start: int  # offset of the first chunk in the topic's second partition
    end: int  # offset behind the last
    chunks: tuple[bytes, ...]  # sha256 of each piece, in order


@dataclass(frozen=True, slots=True, eq=False)
class Defined:
    """A network's definition; the first in the topic after a reset wins."""

    run: Run
    definition: str  # canonical JSON
    akkafka: str  # version that wrote it
    created_ms: int
    # Whether anything is trimmed. Here, where every process looks, as one that had not been told would trim for all;
    # and not in the definition, as a log that is kept must not change masks and seeds, which derive from its hash.
    keep_log: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class LaneClaim:
    """A sentinel with data of its own takes a spare lane; the first claim of a lane wins."""

    run: Run
    lane: int
    mode: Mode
    source: str  # canonical JSON of the lane's data source
    claimant: str


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """A process tells what it does and measures; `kind` says which body (see protocol/figures.py)."""

    run: Run
    kind: str
    process: str
    time_ms: int
    body: Mapping[str, Any]  # plain msgpack values


@dataclass(frozen=True, slots=True, eq=False)
class DeadLetter:
    """A record that was refused, and why. Nothing else happened because of it."""

    process: str
    topic: str
    partition: int
    offset: int
    reason: str
    size: int  # bytes of the refused value
    head: bytes  # its first bytes, for a look


Message = (
    Forward
    | Backward
    | JournalRecord
    | SnapshotChunk
    | SnapshotManifest
    | Attempt
    | StateImage
    | SamplesChunk
    | SamplesManifest
    | Defined
    | LaneClaim
    | Figures
    | DeadLetter
)
