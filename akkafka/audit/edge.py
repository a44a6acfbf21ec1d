"""One lane of one edge as an audit reads it: first copies in order, what was passed over, and whom they name."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Literal

from akkafka.audit.courses import Courses
from akkafka.audit.finding import Findings
from akkafka.errors import ConfigError, NewerSchemaError, ProtocolError
from akkafka.protocol import wire
from akkafka.protocol.messages import Backward, Forward, Hop, Run
from akkafka.protocol.sequence import Verdict, judge
from akkafka.protocol.tally import tally_of

Direction = Literal["forward", "backward"]
HopCheck = Callable[[int, Hop], str]
"""(offset of the record, a gate's entry of its trail) -> why it cannot be; empty: it can."""


@dataclass(slots=True)
class LaneAudit:
    """See the module's docstring; first copies by seq from `base` on."""

    run: Run
    direction: Direction
    index: int  # of the edge
    lane: int
    gates: int
    findings: Findings
    check_hop: HopCheck  # of the gate before (forward), of the gate it goes to (backward)
    courses: Courses
    base: int = 0
    duplicates: int = 0
    foreign: int = 0
    low: int = 0
    high: int = 0
    offsets: array[int] = field(default_factory=lambda: array("q"))
    sources: array[int] = field(default_factory=lambda: array("q"))  # backward: offset of what it answers
    hop_offsets: array[int] = field(default_factory=lambda: array("q"))
    hop_versions: array[int] = field(default_factory=lambda: array("q"))
    void: set[int] = field(default_factory=set)
    zeroed: set[int] = field(default_factory=set)
    refused: list[tuple[int, int]] = field(default_factory=list)  # (offset, seq) of what came too early
    _begun: bool = False
    _expected: int = 0

    @property
    def name(self) -> str:
        """As topics are called."""
        return f"{self.direction}.{self.index}"

    @property
    def next_seq(self) -> int:
        """Behind the newest first copy."""
        return self.base + len(self.offsets)

    def offset_of(self, seq: int) -> int | None:
        """Where the first copy of a batch lies, if it is held."""
        return self.offsets[seq - self.base] if self.base <= seq < self.next_seq else None

    def open(self, low: int, high: int) -> None:
        """The lane holds these offsets; once more if it was trimmed while it was read."""
        self.low, self.high, self._expected = low, high, low
        self._begun = low == 0  # else the first message is a first copy: trimming always cuts before one
        for numbers in (self.offsets, self.sources, self.hop_offsets, self.hop_versions):
            del numbers[:]
        self.void.clear()
        self.zeroed.clear()
        self.refused.clear()
        self.base = self.duplicates = self.foreign = 0

    def take(self, offset: int, value: bytes | None) -> None:
        """A record, in order."""
        if offset != self._expected:
            self._tell_gap(offset)
        self._expected = offset + 1
        message = self._read(value)
        if message is None:
            self.foreign += 1
            return
        if not self._begun:
            self.base, self._begun = message.seq, True
        match judge(message.seq, self.next_seq):
            case Verdict.DUPLICATE:
                self.duplicates += 1
            case Verdict.AHEAD:
                self.refused.append((offset, message.seq))
                return
            case Verdict.NEXT:
                self._keep(offset, message)
        self._check_trail(offset, message)

    def close(self, letters: Collection[tuple[str, int, int]], topic: str, issued: int | None) -> None:
        """Read to the end; `letters`: (topic, lane, offset) of what receivers refused.

        `issued`: batches of the lane that there are (None: this is where they are issued). Of others nobody can have
        made anything, so such a record is a forgery, also where no receiver has come across it.
        """
        if self._expected < self.high:
            self._tell_gap(self.high)
        for offset, seq in self.refused if self._begun else ():
            if issued is not None and seq >= issued:
                self.foreign += 1
            elif seq >= self.next_seq and (topic, self.lane, offset) not in letters:
                self.findings.add(
                    "missing",
                    f"{self.name}: batch {seq} follows, batch {self.next_seq} is missing",
                    lane=self.lane,
                    seq=self.next_seq,
                    offset=offset,
                )
                return  # all that follow miss the same one

    def _tell_gap(self, offset: int) -> None:
        what = f"{self.name}: records {self._expected} to {offset - 1} are missing"
        self.findings.add("gap", what, lane=self.lane, offset=self._expected)

    def _read(self, value: bytes | None) -> Forward | Backward | None:
        try:
            message = wire.decode(value)
        except NewerSchemaError:
            raise
        except ProtocolError:
            return None
        kind = Forward if self.direction == "forward" else Backward
        trail = self.index if self.direction == "forward" else self.gates
        if not isinstance(message, kind) or (message.run, message.lane) != (self.run, self.lane):
            return None
        return message if len(message.trail) == trail else None

    def _keep(self, offset: int, message: Forward | Backward) -> None:
        self.offsets.append(offset)
        if message.void:
            self.void.add(message.seq)
        if isinstance(message, Backward):
            self.sources.append(message.source)
            if message.zeroed:
                self.zeroed.add(message.seq)
        elif self.index == 0:
            self._check_issued(offset, message)
        if self.index > 0:
            hop = message.trail[self.index - 1]
            self.hop_offsets.append(hop.offset)
            self.hop_versions.append(hop.version)

    def _check_trail(self, offset: int, message: Forward | Backward) -> None:
        """Late copies too: whoever sent them had a history."""
        if self.index == 0:
            return
        problem = self.check_hop(offset, message.trail[self.index - 1])
        if problem:
            self.findings.add(
                "history",
                f"{self.name}: {problem}",
                gate=self.index - 1,
                lane=self.lane,
                seq=message.seq,
                offset=offset,
            )

    def _check_issued(self, offset: int, message: Forward) -> None:
        """The samples are those of the batch's place in its lane, and the tally is that of the samples."""
        tally = message.tally
        if not message.mode.training or tally is None:
            return
        try:
            expected = self.courses.tally(self.lane, message.seq, tally)
            cursor = self.courses.cursor(self.lane, message.seq, tally)
            problem = "" if expected in (None, tally) else f"brings {tally}, its place holds {expected}"
            if cursor is not None and cursor != message.cursor:
                problem = f"lies at {message.cursor}, the lane's batch {message.seq} at {cursor}"
        except ConfigError as error:
            problem = str(error)
        for ids in (message.context.get("ids"), message.rows.numbers if message.rows is not None else None):
            if ids is not None and ids.dtype.kind == "u" and ids.ndim == 1:
                counted = tally_of(ids, message.cursor.epoch, tally.first, tally.beyond)
                problem = problem or ("" if counted == tally else f"says that it brings {tally}, it brings {counted}")
        if problem:
            self.findings.add("samples", f"{self.name}: {problem}", lane=self.lane, seq=message.seq, offset=offset)
