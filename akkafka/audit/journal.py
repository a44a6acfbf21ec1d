"""A gate's snapshots and journal as an audit reads them: the fold without its arithmetic."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace

from akkafka.audit.courses import Courses
from akkafka.audit.edge import LaneAudit
from akkafka.audit.finding import Findings
from akkafka.errors import ConfigError
from akkafka.gate.recovery import read_entry
from akkafka.gate.snapshot import Shelf, Snapshot
from akkafka.gate.state import CountingRule, GateState, Params, apply_record, initial_state, pass_over
from akkafka.gate.sums import LaneSums
from akkafka.protocol.messages import TRAIL_CHAIN_BYTES, JournalRecord, Run

KEPT = 2  # versions of snapshots that must be usable: a torn newest one leaves one that is whole


@dataclass(slots=True)
class LaneRecords:
    """Counted records of one lane, by seq from `base` on."""

    base: int
    sources: array[int] = field(default_factory=lambda: array("q"))
    hop_offsets: array[int] = field(default_factory=lambda: array("q"))
    hop_versions: array[int] = field(default_factory=lambda: array("q"))
    void: set[int] = field(default_factory=set)
    zeroed: set[int] = field(default_factory=set)

    @property
    def end(self) -> int:
        """Behind the newest one."""
        return self.base + len(self.sources)


@dataclass(frozen=True, slots=True)
class Ahead:
    """A record that comes too early in its lane: those between were lost, or somebody has made it up."""

    offset: int
    lane: int
    seq: int
    source: int
    hop_offset: int
    hop_version: int
    version: int  # that the journal had reached

    def made_from(self, given: LaneAudit) -> bool:
        """True if the gradient that it names is there."""
        if not given.base <= self.seq < given.next_seq:
            return False
        at = self.seq - given.base
        named = (self.source, self.hop_offset, self.hop_version)
        return named == (given.offsets[at], given.hop_offsets[at], given.hop_versions[at])

    def why(self, due: int) -> str:
        """What is missing; `due`: the lane's next batch."""
        if self.seq == due:
            return (
                f"batch {due} was made with version {self.hop_version} where the journal has {self.version}: "
                "records before it are missing"
            )
        return f"batch {self.seq} is recorded, but batch {due} of its lane is not: its record is missing"


class GateAudit:
    """Call `put` for the snapshot topic, then `open`, `take` and `close` for the journal; look at what it has."""

    def __init__(
        self, run: Run, gate: int, name: str, lanes: int, rule: CountingRule, courses: Courses, findings: Findings
    ) -> None:
        self.gate, self.name = gate, name
        self.shelf = Shelf(run, gate, lanes)
        self.snapshots: list[Snapshot] = []  # whole ones, newest first, without their arrays
        self.known = True  # there is something to begin with
        self.duplicates = self.foreign = 0
        self.forged = 0  # of this run by their looks, but made from no gradient that there is
        self.voids: list[tuple[int, int, str]] = []  # lane, seq, reason; of the records seen
        self.zeroed: list[tuple[int, int, str]] = []  # likewise
        self.ahead: dict[int, list[Ahead]] = {}  # by lane, since its last record that counts
        self.lanes: list[LaneRecords] = []
        self._run, self._lane_count, self._rule, self._courses, self._findings = run, lanes, rule, courses, findings
        self._chains: list[bytes] = []  # as trails carry them, from the first version seen on
        self._older: dict[int, bytes] = {}
        self._next = 0

    # --- snapshots --------------------------------------------------------------------------------

    def put(self, key: bytes | None, value: bytes | None) -> None:
        """A record of the snapshot topic, in order."""
        self.shelf.put(key, value)

    def _close_shelf(self) -> None:
        strange = list(self.shelf.faults)
        for snapshot in self.shelf.snapshots():
            state = replace(snapshot.state, params={}, optimizer={})
            older = {version: replace(old, params={}) for version, old in snapshot.older.items()}
            self.snapshots.append(Snapshot(snapshot.manifest, state, older))
            self._older.update({version: old.chain[:TRAIL_CHAIN_BYTES] for version, old in older.items()})
        whole = {id(snapshot.manifest) for snapshot in self.snapshots}
        broken = [manifest for manifest in self.shelf.manifests() if id(manifest) not in whole]
        newest = sorted({snapshot.state.version for snapshot in self.snapshots}, reverse=True)[:KEPT]
        needed = newest[-1] if len(newest) == KEPT else 0
        told = zip(broken, self.shelf.faults[len(strange) :], strict=True)
        # One that is older than those in use was finished late, by a writer whose first chunks were cleared away.
        for fault in [*strange, *(fault for manifest, fault in told if manifest.version >= needed)]:
            self._findings.add("snapshot", fault, gate=self.gate)

    # --- the journal ------------------------------------------------------------------------------

    def open(self, low: int, high: int) -> None:
        """The journal holds these offsets."""
        self._close_shelf()
        self.low, self.high = low, high
        self.first = self.state = self._begin(low)
        self.lanes = [LaneRecords(applied) for applied in self.state.applied]
        self._chains = [self.state.chain[:TRAIL_CHAIN_BYTES]]
        self._next = self.state.next_offset
        self._check_past()
        self._check_snapshots()

    def _begin(self, low: int) -> GateState:
        """Version 0 if the journal is whole, else the oldest snapshot that it reaches back to.

        The newest two versions need it; an older one may have been left by a process that was killed while it cleared
        away, or may have been written late by one that was asleep.
        """
        reached = {snapshot.state.version for snapshot in self.snapshots if snapshot.state.next_offset >= low}
        newest = sorted({snapshot.state.version for snapshot in self.snapshots}, reverse=True)[:KEPT]
        for snapshot in self.snapshots:
            if snapshot.state.version in newest and snapshot.state.version not in reached:
                self._findings.add(
                    "head",
                    f"the journal begins at offset {low}; the snapshot of version {snapshot.state.version} needs it "
                    f"from {snapshot.state.next_offset} on: it was cut too early",
                    gate=self.gate,
                    offset=snapshot.state.next_offset,
                )
        if low == 0:
            return initial_state({}, {}, self._lane_count)
        for snapshot in reversed(self.snapshots):
            if low <= snapshot.state.next_offset <= self.high:
                return snapshot.state
        what = f"the journal begins at offset {low}, and no whole snapshot stands for the records before"
        self._findings.add("head", what, gate=self.gate, offset=low)
        self.known = False
        unknown = initial_state({}, {}, self._lane_count)
        return replace(unknown, next_offset=low)

    def take(self, offset: int, value: bytes | None) -> None:
        """A record of the journal, in order; those before the beginning are passed over."""
        if not self.known or offset < self.state.next_offset:
            return
        if offset != self._next:
            what = f"records {self._next} to {offset - 1} of the journal are missing"
            self._findings.add("gap", what, gate=self.gate, offset=self._next)
            self.state = pass_over(self.state, offset - self.state.next_offset)
        self._next = offset + 1
        record, raw = read_entry(self._run, value)
        if record is None or record.gate != self.gate or record.lane >= self._lane_count:
            self.foreign += 1
            self.state = pass_over(self.state)
        elif self._rule.counts(self.state, record):
            self._count(record, raw)
        else:
            self._pass(offset, record)

    def _count(self, record: JournalRecord, raw: bytes) -> None:
        self._check_hop(record)
        self._check_tally(record)
        lane = self.lanes[record.lane]
        lane.sources.append(record.source)
        lane.hop_offsets.append(record.hop.offset)
        lane.hop_versions.append(record.hop.version)
        if record.void:
            lane.void.add(record.seq)
            self.voids.append((record.lane, record.seq, record.void))
        if record.zeroed:
            lane.zeroed.add(record.seq)
            self.zeroed.append((record.lane, record.seq, record.zeroed))
        self.state = apply_record(self.state, record, raw, {}, _stay)
        self._chains.append(self.state.chain[:TRAIL_CHAIN_BYTES])
        self._check_snapshots()
        self.ahead.pop(record.lane, None)  # what was due has come after all

    def _pass(self, offset: int, record: JournalRecord) -> None:
        due, hop, version = self.state.applied[record.lane], record.hop, self.state.version
        if record.seq < due or (record.seq == due and self._too_late(record)):
            self.duplicates += 1
        else:
            ahead = Ahead(offset, record.lane, record.seq, record.source, hop.offset, hop.version, version)
            self.ahead.setdefault(record.lane, []).append(ahead)
        self.state = pass_over(self.state)

    def _too_late(self, record: JournalRecord) -> bool:
        """Others' records have put its weights out of reach: its writer makes it anew."""
        return record.needs_weights and not self._rule.within_reach(record.hop, self.state.version)

    def close(self) -> None:
        """The journal has been read to its end."""
        if not self.known:
            return
        if self._next < self.high:
            what = f"records {self._next} to {self.high - 1} of the journal are missing"
            self._findings.add("gap", what, gate=self.gate, offset=self._next)
        for snapshot in self.snapshots:
            if snapshot.state.next_offset > self.high:
                continue  # written since, or the journal was cut: the judge looks at its end again
            if snapshot.state.version > self.state.version:
                what = (
                    f"{_told(snapshot)} is newer than the {self.state.version} versions that the journal makes: "
                    "records are missing"
                )
                self._findings.add("missing", what, gate=self.gate, offset=snapshot.state.next_offset)

    def check_end(self, high: int) -> None:
        """`high`: the journal's end after the snapshots were read; it only ever grows."""
        for what, end in [("an earlier look", self.high), *((_told(s), s.state.next_offset) for s in self.snapshots)]:
            if end > high:
                self._findings.add(
                    "shorter",
                    f"the journal ends at offset {high}, {what} knew it up to {end}: the broker has lost its end",
                    gate=self.gate,
                    offset=high,
                )

    # --- what it has gathered -----------------------------------------------------------------------

    def chain_at(self, version: int) -> bytes | None:
        """The history of a version as trails name it; None if it was not seen."""
        at = version - self.first.version
        if 0 <= at < len(self._chains):
            return self._chains[at]
        return self._older.get(version)

    # --- checks -----------------------------------------------------------------------------------

    def _check_hop(self, record: JournalRecord) -> None:
        chain = self.chain_at(record.hop.version)
        if chain is not None and chain != record.hop.chain:
            self._findings.add(
                "history",
                f"it was made with history {record.hop.chain.hex()} of version {record.hop.version}, the journal's is "
                f"{chain.hex()}",
                gate=self.gate,
                lane=record.lane,
                seq=record.seq,
                offset=self.state.next_offset,
            )

    def _check_tally(self, record: JournalRecord) -> None:
        if record.tally is None:
            return
        try:
            expected = self._courses.tally(record.lane, record.seq, record.tally)
            problem = "" if expected in (None, record.tally) else f"brings {record.tally}, its place holds {expected}"
        except ConfigError as error:
            problem = str(error)
        if problem:
            self._findings.add(
                "samples", problem, gate=self.gate, lane=record.lane, seq=record.seq, offset=self.state.next_offset
            )

    def _check_past(self) -> None:
        """What the records before the first one seen add up to."""
        for lane, applied in enumerate(self.first.applied):
            sums = self.first.sums.lane(lane)
            if sums.told != applied:
                continue  # some were told nothing of: an older akkafka wrote them
            try:
                expected = self._courses.sums(lane, applied, sums)
                problem = "" if expected in (None, sums) else _difference(sums, expected)
            except ConfigError as error:
                problem = str(error)
            if problem:
                what = f"the first {applied} batches of the lane: {problem}"
                self._findings.add("samples", what, gate=self.gate, lane=lane, offset=self.first.next_offset)

    def _check_snapshots(self) -> None:
        for snapshot in self.snapshots:
            there = snapshot.state
            if there.version != self.state.version or there is self.first:
                continue
            differs = [
                f"{name} {getattr(there, name)!r}, by the journal {getattr(self.state, name)!r}"
                for name in ("chain", "applied", "sources", "sums")
                if getattr(there, name) != getattr(self.state, name)
            ]
            if differs and self.known:
                self._findings.add(
                    "history", f"{_told(snapshot)} holds {'; '.join(differs)}", gate=self.gate, offset=there.next_offset
                )


def _stay(state: GateState, grads: Params | None, then: Params, staleness: int) -> tuple[Params, Params]:
    return {}, {}


def _told(snapshot: Snapshot) -> str:
    return f"the snapshot of version {snapshot.state.version} by {snapshot.manifest.writer}"


def _difference(sums: LaneSums, expected: LaneSums | None) -> str:
    assert expected is not None, "the caller looks"
    names = [name for name in LaneSums._fields if getattr(sums, name) != getattr(expected, name)]
    return "; ".join(f"{name} {getattr(sums, name)}, must be {getattr(expected, name)}" for name in names)
