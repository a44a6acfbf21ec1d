"""What an audit tells: plain JSON values, and lines for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from akkafka.audit.journal import GateAudit
from akkafka.audit.judge import Judge
from akkafka.gate.sums import bucket_name
from akkafka.protocol.tally import Tally

Facts = dict[str, Any]
SHOWN_BATCHES = 20  # of those that are void, and of those that were zeroed


def facts_of(judge: Judge) -> Facts:
    """The verdict with all that it rests on."""
    findings = judge.findings
    return {
        "network": judge.subject.name,
        "run": str(judge.subject.run),
        "holds": not findings.told,
        "faults": [finding.facts for finding in findings.told],
        "more_faults": findings.untold,
        "gates": [_gate(gate, judge.subject.training) for gate in judge.gates],
        "lanes": [_lane(judge, lane) for lane in judge.subject.training],
        "voids": _told(judge, lambda gate: gate.voids),
        "zeroed": _told(judge, lambda gate: gate.zeroed),
        "duplicates": {own.name: count for own in judge.lanes.values() if (count := _duplicates(judge, own.name))},
        "refused": {"letters": len(judge.letters), "by": judge.reasons},
    }


def _gate(gate: GateAudit, training: tuple[int, ...]) -> Facts:
    state = gate.state
    return {
        "gate": gate.gate,
        "name": gate.name,
        "version": state.version,
        "records_seen_from_version": gate.first.version,
        "records_seen_from_offset": gate.first.next_offset,
        "applied": {str(lane): state.applied[lane] - state.sums.lane(lane).voided for lane in training},
        "voided": {str(lane): state.sums.lane(lane).voided for lane in training},
        "zeroed": {str(lane): state.sums.lane(lane).zeroed for lane in training},
        "untold": sum(state.applied) - sum(sums.told for sums in state.sums.lanes),
        "staleness": {bucket_name(at): count for at, count in enumerate(state.sums.staleness) if count},
        "duplicates": gate.duplicates,
        "foreign": gate.foreign + gate.forged,
        "snapshots": [snapshot.state.version for snapshot in gate.snapshots],
    }


def _lane(judge: Judge, lane: int) -> Facts:
    gates = [gate for gate in judge.gates if gate.known]
    issued = judge.lane("forward", 0, lane).next_seq
    counted = [gate.state.applied[lane] for gate in gates]
    return {
        "lane": lane,
        "issued": max([issued, *counted]),
        "counted": min(counted, default=0),
        "open": max([issued, *counted]) - min(counted, default=0),
        "home": judge.lane("backward", 0, lane).next_seq,
        "epochs_whole": min((_epochs(judge, gate, lane) for gate in gates), default=0),
        "samples": min((_samples(gate, lane) for gate in gates), default=0),
    }


def _samples(gate: GateAudit, lane: int) -> int:
    sums = gate.state.sums.lane(lane)
    return sums.past_samples + sums.samples


def _epochs(judge: Judge, gate: GateAudit, lane: int) -> int:
    """Epochs of which the lane has brought all of its batches."""
    sums = gate.state.sums.lane(lane)
    if not sums.told:
        return 0
    cursor = judge.subject.courses.cursor(lane, gate.state.applied[lane], Tally(0, 0, 0, sums.first, sums.beyond))
    return cursor.epoch if cursor is not None else sums.epoch


def _duplicates(judge: Judge, name: str) -> int:
    return sum(own.duplicates for own in judge.lanes.values() if own.name == name)


def _told(judge: Judge, of: Callable[[GateAudit], Iterable[tuple[int, int, str]]]) -> list[Facts]:
    """Batches with a reason, and at which gates: without a step at all of them, or zeroed at one and those below."""
    found: dict[tuple[int, int], Facts] = {}
    for gate in judge.gates:
        for lane, seq, reason in of(gate):
            entry = found.setdefault((lane, seq), {"lane": lane, "seq": seq, "reason": reason, "gates": []})
            entry["gates"].append(gate.gate)
    return [found[place] for place in sorted(found)]


def lines_of(facts: Facts) -> list[str]:
    """For people: the verdict first and last, as the faults may be many."""
    lines = [f"network {facts['network']!r}, run {facts['run']}"]
    for gate in facts["gates"]:
        lines += _gate_lines(gate)
    for lane in facts["lanes"]:
        lines.append(
            f"lane {lane['lane']}: {lane['issued']} batches issued, {lane['counted']} counted once at every gate, "
            f"{lane['open']} open; {lane['epochs_whole']} whole epochs, {lane['samples']} samples"
        )
    for what, name in (("void", "voids"), ("gradient of zero", "zeroed")):
        for batch in facts[name][:SHOWN_BATCHES]:
            gates = ", ".join(map(str, batch["gates"]))
            lines.append(f"{what}: lane {batch['lane']}, batch {batch['seq']} at gates {gates}: {batch['reason']}")
        if len(facts[name]) > SHOWN_BATCHES:
            lines.append(f"… and {len(facts[name]) - SHOWN_BATCHES} more: {what}")
    lines.append(f"duplicates passed over: {sum(facts['duplicates'].values())}; refused: {facts['refused']['letters']}")
    lines += [f"fault: {_place(fault)}" for fault in facts["faults"]]
    lines += [f"… and {count} more of kind {kind!r}" for kind, count in facts["more_faults"].items()]
    lines.append("all of it holds" if facts["holds"] else "it does not hold")
    return lines


def _gate_lines(gate: Facts) -> list[str]:
    seen = f"records seen from version {gate['records_seen_from_version']} on"
    if gate["records_seen_from_version"]:
        seen += ", sums of a snapshot before"
    applied, voided, zeroed = (sum(gate[name].values()) for name in ("applied", "voided", "zeroed"))
    of_zero = f" ({zeroed} with a gradient of zero)" if zeroed else ""
    staleness = ", ".join(f"{name}: {count}" for name, count in gate["staleness"].items())
    lines = [
        f"gate {gate['gate']} ({gate['name']}): version {gate['version']}, "
        f"{applied} batches applied{of_zero}, {voided} void; {seen}; "
        f"snapshots {', '.join(map(str, gate['snapshots'])) or 'none'}",
        f"  staleness {staleness or 'none'}",
    ]
    if gate["untold"]:
        lines.append(f"  {gate['untold']} records do not tell their samples")
    if gate["duplicates"] or gate["foreign"]:
        lines.append(f"  journal: {gate['duplicates']} late copies and {gate['foreign']} other records passed over")
    return lines


def _place(fault: Facts) -> str:
    words = (("gate", "gate"), ("lane", "lane"), ("batch", "seq"), ("offset", "offset"))
    told = ", ".join(f"{word} {fault[name]}" for word, name in words if name in fault)
    return f"{told}: {fault['message']}" if told else str(fault["message"])
