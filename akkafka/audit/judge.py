"""Judges a log: facts in, findings out; no broker, no clock. Whoever has the records feeds them in `order`."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Protocol

from akkafka.audit.courses import Courses, courses_of
from akkafka.audit.edge import Direction, HopCheck, LaneAudit
from akkafka.audit.finding import Findings
from akkafka.audit.journal import GateAudit
from akkafka.broker.base import Record, TopicPartition
from akkafka.broker.network import Network
from akkafka.errors import ProtocolError
from akkafka.gate.restore import counting_rule
from akkafka.gate.state import CountingRule
from akkafka.protocol import wire
from akkafka.protocol.messages import DeadLetter, Hop, Mode, Run
from akkafka.protocol.topics import Topics


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a partition holds: offsets `low` to before `high`; up to before `sure`, other partitions know of it.

    Records do not stand still while they are read. Ends are looked up twice: what lies before the first end (`sure`)
    was written before the second ends were looked up, so whatever it names has to lie before these.
    """

    low: int
    high: int
    sure: int


Cut = Mapping[TopicPartition, Stretch]


class Fated(Protocol):
    """Batches of a lane, whether on an edge or in a journal."""

    @property
    def void(self) -> set[int]:
        """Seqs of those that are void."""

    @property
    def zeroed(self) -> set[int]:
        """Of those whose gradient was zeroed."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose log it is."""

    name: str
    run: Run
    topics: Topics
    gates: tuple[str, ...]  # names
    rules: tuple[CountingRule, ...]  # by gate
    lanes: int
    training: tuple[int, ...]  # lanes
    courses: Courses


def subject_of(network: Network) -> Subject:
    """A network as its definition topic tells it."""
    gates = network.definition.gates
    return Subject(
        network.name,
        network.run,
        network.topics,
        tuple(gate.name for gate in gates),
        tuple(counting_rule(network, gate) for gate in range(len(gates))),
        network.lane_count,
        tuple(network.lanes_of(Mode.TRAIN)),
        courses_of(network),
    )


class Judge:
    """Feed every partition of `order` by `open`, `take` and `close`, then call `conclude`."""

    def __init__(self, subject: Subject, cut: Cut) -> None:
        self.subject, self.findings = subject, Findings()
        self.cut = cut
        self._topics = subject.topics
        self.gates = [
            GateAudit(subject.run, gate, name, subject.lanes, rule, subject.courses, self.findings)
            for gate, (name, rule) in enumerate(zip(subject.gates, subject.rules, strict=True))
        ]
        self.lanes: dict[TopicPartition, LaneAudit] = {
            where: LaneAudit(
                subject.run,
                direction,
                index,
                where.partition,
                len(subject.gates),
                self.findings,
                self._hop_check(where, index - 1),
                subject.courses,
            )
            for direction, index, where in self._edges()
        }
        self._journals = {subject.topics.journal(gate.gate): gate for gate in self.gates}
        self._shelves = {subject.topics.snapshot(gate.gate): gate for gate in self.gates}
        self.letters: set[tuple[str, int, int]] = set()
        self.reasons: dict[str, int] = {}
        self._take: Callable[[Record], None] = self._take_letter  # of the open partition

    # --- feeding ----------------------------------------------------------------------------------

    def order(self) -> list[TopicPartition]:
        """Dead letters, snapshots, journals, edges."""
        gates = range(len(self.gates))
        return [
            TopicPartition(self._topics.dead, 0),
            *(TopicPartition(self._topics.snapshot(gate), 0) for gate in gates),
            *(TopicPartition(self._topics.journal(gate), 0) for gate in gates),
            *self.lanes,
        ]

    def open(self, where: TopicPartition) -> None:
        """The records of this partition come next."""
        lane, journal, shelf = self.lanes.get(where), self._journals.get(where.topic), self._shelves.get(where.topic)
        if lane is not None:
            lane.open(self.cut[where].low, self.cut[where].high)
            self._take = lambda record: lane.take(record.offset, record.value)
        elif journal is not None:
            journal.open(self.cut[where].low, self.cut[where].high)
            self._take = lambda record: journal.take(record.offset, record.value)
        elif shelf is not None:
            self._take = lambda record: shelf.put(record.key, record.value)
        else:
            self._take = self._take_letter

    def reopen(self, where: TopicPartition, low: int) -> bool:
        """The open partition was trimmed up to `low` while it was read; True if it can be fed from there on."""
        if where not in self.lanes:
            return False
        stretch = self.cut[where]
        self.lanes[where].open(min(low, stretch.high), stretch.high)
        return True

    def take(self, record: Record) -> None:
        """A record of the open partition, in order."""
        self._take(record)

    def close(self, where: TopicPartition) -> None:
        """The open partition has been read to its end."""
        if where in self.lanes:
            issued = self.lane("forward", 0, where.partition)
            own = self.lanes[where]
            own.close(self.letters, where.topic, issued.next_seq if own is not issued else None)
        elif where.topic in self._journals:
            self._journals[where.topic].close()

    def conclude(self, ends: Mapping[TopicPartition, int]) -> Findings:
        """All was fed; `ends` are the partitions' ends now."""
        for gate in self.gates:
            gate.check_end(ends[TopicPartition(self._topics.journal(gate.gate), 0)])
        for where, stretch in self.cut.items():
            if where in self.lanes and ends[where] < stretch.high:
                what = f"{self.lanes[where].name} ends at offset {ends[where]}, it was {stretch.high} a moment ago"
                self.findings.add("shorter", what, lane=where.partition, offset=ends[where])
        for gate in self.gates:
            if gate.known:
                for lane in self.subject.training:
                    self._check_records(gate, lane)
                    self._check_ahead(gate, lane)
                self._check_sources(gate, ends)
        for where, own in self.lanes.items():
            self._check_answers(where, own)
        for above, below in pairwise(reversed(self.gates)):
            for lane in self.subject.training if above.known and below.known else ():
                self._check_neighbours(above, below, lane)
        return self.findings

    # --- lanes ------------------------------------------------------------------------------------

    def lane(self, direction: Direction, index: int, lane: int) -> LaneAudit:
        """One lane of one edge."""
        return self.lanes[self._where(direction, index, lane)]

    def _where(self, direction: Direction, index: int, lane: int) -> TopicPartition:
        topic = self._topics.forward(index) if direction == "forward" else self._topics.backward(index)
        return TopicPartition(topic, lane)

    def _edges(self) -> Iterable[tuple[Direction, int, TopicPartition]]:
        for index in range(len(self.gates) + 1):
            for lane in range(self.subject.lanes):
                yield "forward", index, self._where("forward", index, lane)
            for lane in self.subject.training:
                yield "backward", index, self._where("backward", index, lane)

    def _take_letter(self, record: Record) -> None:
        try:
            letter = wire.decode(record.value)
        except ProtocolError:
            return
        if isinstance(letter, DeadLetter):
            self.letters.add((letter.topic, letter.partition, letter.offset))
            reason = letter.reason.split(":")[0]
            self.reasons[reason] = self.reasons.get(reason, 0) + 1

    # --- what names what ----------------------------------------------------------------------------

    def _hop_check(self, where: TopicPartition, gate: int) -> HopCheck:
        """A trail's entry of a gate must be of its journal's history, and not of a version that does not exist."""

        def check(offset: int, hop: Hop) -> str:
            judged = self.gates[gate]
            if not judged.known:
                return ""
            if hop.version > judged.state.version:
                if offset >= self.cut[where].sure:
                    return ""
                return f"it names version {hop.version}, the journal of gate {gate} makes {judged.state.version}"
            chain = judged.chain_at(hop.version)
            if chain is None or chain == hop.chain:
                return ""
            return f"it names history {hop.chain.hex()} of version {hop.version}, the journal's is {chain.hex()}"

        return check

    def _check_records(self, gate: GateAudit, lane: int) -> None:
        """Every record comes from the first copy of its gradient, made from the first copy of its input."""
        records = gate.lanes[lane]
        given, source = self.lane("backward", gate.gate + 1, lane), self.lane("forward", gate.gate, lane)
        issued = self.lane("forward", 0, lane)
        end = records.end
        for topic, held in (("forward.0: it was never issued", issued), (f"{given.name}: it has no gradient", given)):
            if end > held.next_seq and (held.offsets or held.low == 0):
                what = f"batch {held.next_seq} is recorded, but not in {topic}"
                self.findings.add("missing", what, gate=gate.gate, lane=lane, seq=held.next_seq)
        self._same(records.base, records.sources, given, "record", gate.gate, lane)
        self._same(records.base, records.hop_offsets, source, "record's trail", gate.gate, lane)
        both = range(max(records.base, given.base), min(end, given.next_seq))
        self._check_fate(records, given, both, f"the gradient in {given.name}", gate.gate, lane)
        for seq in both:
            version, named = records.hop_versions[seq - records.base], given.hop_versions[seq - given.base]
            if version != named:
                what = f"it was made with version {version}, its trail names {named}"
                self.findings.add("history", what, gate=gate.gate, lane=lane, seq=seq)

    def _check_fate(self, own: Fated, given: Fated, both: range, what: str, gate: int, lane: int) -> None:
        """Void is what was void before, no more and no less; a gradient of zero makes others of zero."""
        for seq in sorted(own.void ^ given.void):
            if seq in both:
                told = f"it is void, but {what} is not" if seq in own.void else f"it is not void, but {what} is"
                self.findings.add("void", told, gate=gate, lane=lane, seq=seq)
        for seq in sorted(given.zeroed - own.zeroed):
            if seq in both and seq not in own.void:
                told = f"it has a gradient, but {what} was zeroed"
                self.findings.add("zeroed", told, gate=gate, lane=lane, seq=seq)

    def _check_neighbours(self, above: GateAudit, below: GateAudit, lane: int) -> None:
        """A batch is applied at both gates or void at both, also where edges and records are gone."""
        one, other = above.lanes[lane], below.lanes[lane]
        both = range(max(one.base, other.base), min(one.end, other.end))
        for seq in sorted(one.void ^ other.void):
            if seq in both:
                void, applied = (above, below) if seq in one.void else (below, above)
                told = f"it is void at gate {void.gate}, but applied here"
                self.findings.add("void", told, gate=applied.gate, lane=lane, seq=seq)
        if both.start > both.stop:
            return
        counts = [
            gate.first.sums.lane(lane).voided + sum(seq < both.start for seq in gate.lanes[lane].void)
            for gate in (above, below)
        ]
        if counts[0] != counts[1]:
            told = f"of the first {both.start} batches {counts[1]} are void here, at gate {above.gate} {counts[0]}"
            self.findings.add("void", told, gate=below.gate, lane=lane)

    def _check_ahead(self, gate: GateAudit, lane: int) -> None:
        """A record that comes too early was made from a gradient, so those before it are lost; or it is a forgery."""
        given, due = self.lane("backward", gate.gate + 1, lane), gate.state.applied[lane]
        for ahead in gate.ahead.get(lane, ()):
            if ahead.seq < given.base or ahead.made_from(given):
                place = {"gate": gate.gate, "lane": lane, "seq": due, "offset": ahead.offset}
                self.findings.add("missing", ahead.why(due), **place)
                return  # all that follow miss the same one
            gate.forged += 1

    def _same(self, base: int, named: array[int], held: LaneAudit, who: str, gate: int, lane: int) -> None:
        """Offsets that are named, by seq from `base` on, are those of the first copies."""
        first = max(base, held.base)
        own = islice(named, first - base, None)
        there = islice(held.offsets, first - held.base, None)
        for seq, (name, offset) in enumerate(zip(own, there, strict=False), first):
            if name != offset:
                what = f"the {who} names offset {name} of {held.name}, the batch's first copy lies at {offset}"
                self.findings.add("copy", what, gate=gate, lane=lane, seq=seq, offset=name)

    def _check_answers(self, where: TopicPartition, own: LaneAudit) -> None:
        """What lies on an edge was made from the first copy of what lies on the one before."""
        if own.direction == "forward" and own.index > 0:
            held, named = self.lane("forward", own.index - 1, own.lane), own.hop_offsets
        elif own.direction == "backward" and own.index == len(self.gates):
            held, named = self.lane("forward", own.index, own.lane), own.sources
        elif own.direction == "backward":
            held, named = self.lane("backward", own.index + 1, own.lane), own.sources
        else:
            return
        self._same(own.base, named, held, f"batch in {own.name}", max(0, own.index - 1), own.lane)
        self._check_void_kept(own, held)
        sure = sum(offset < self.cut[where].sure for offset in own.offsets)
        if own.base + sure > held.next_seq and (held.offsets or held.low == 0):
            what = f"{own.name} has the batch, {held.name}, which it was made from, has not"
            self.findings.add("missing", what, lane=own.lane, seq=held.next_seq)

    def _check_void_kept(self, own: LaneAudit, held: LaneAudit) -> None:
        """On the way back nothing becomes void, and on neither way what is void comes to life."""
        both, gate = range(max(own.base, held.base), min(own.next_seq, held.next_seq)), max(0, own.index - 1)
        turned = own.direction == held.direction == "backward"
        if turned:
            gate = own.index
            self._check_fate(own, held, both, f"its gradient in {held.name}", gate, own.lane)
        for seq in sorted(held.void - own.void) if not turned else ():
            if seq in both:
                what = f"{held.name} says that it is void, {own.name} does not"
                self.findings.add("void", what, gate=gate, lane=own.lane, seq=seq)

    def _check_sources(self, gate: GateAudit, ends: Mapping[TopicPartition, int]) -> None:
        for lane in self.subject.training:
            where = self._where("backward", gate.gate + 1, lane)
            if gate.state.sources[lane] > ends[where]:
                what = f"its journal has read backward.{gate.gate + 1} up to {gate.state.sources[lane]}, it ends at "
                self.findings.add("shorter", f"{what}{ends[where]}", gate=gate.gate, lane=lane, offset=ends[where])
