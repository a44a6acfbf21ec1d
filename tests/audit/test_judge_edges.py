"""Whatever is done to what travels between gates is found and named; so is what is void, or has a gradient of zero."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from akkafka.audit.finding import Finding
from akkafka.audit.judge import Judge
from akkafka.audit.report import facts_of, lines_of
from akkafka.broker.base import Record, TopicPartition
from akkafka.gate.snapshot import manifest_key
from akkafka.protocol import wire
from akkafka.protocol.messages import Backward, DeadLetter, Forward, Hop, JournalRecord, Message, SnapshotManifest

from .recorded import Held, Log, change, cut_end, double, drop, insert, lose, rewritten, trimmed


def test_a_gap_in_an_edge_is_named(log: Log) -> None:
    drop(log.forward(2), 5)
    assert "lane 0, offset 5: forward.2: records 5 to 5 are missing" in log.faults()


def test_a_batch_that_is_not_on_an_edge_is_named(log: Log) -> None:
    lose(log.backward(2), 5)
    told = log.judged().findings.told
    assert any((f.kind, f.lane, f.seq, f.offset) == ("missing", 0, 5, 5) for f in told), told


def test_a_late_copy_on_an_edge_is_counted_and_no_fault(log: Log) -> None:
    for held in (log.forward(0), log.forward(1), log.backward(1), log.backward(0), log.forward(3)):
        double(held, 3)
    facts = facts_of(log.judged())
    assert facts["holds"], facts["faults"]
    assert facts["duplicates"] == {"forward.0": 1, "forward.1": 1, "forward.3": 1, "backward.1": 1, "backward.0": 1}


def test_an_edge_that_lost_its_end_is_named(log: Log) -> None:
    cut_end(log.backward(3), 6)
    faults = log.faults()
    assert any("backward.3" in fault and "gate 2, lane 0" in fault for fault in faults), faults
    assert any("it ends at 6" in fault for fault in faults)


def test_a_batch_that_was_counted_and_never_issued_is_named(log: Log) -> None:
    cut_end(log.forward(0), 6)
    faults = log.faults()
    assert any("gate 0, lane 0, batch 6: batch 6 is recorded, but not in forward.0" in fault for fault in faults)


def test_a_trail_with_another_history_is_named(log: Log) -> None:
    def other(message: Message) -> Message:
        assert isinstance(message, Forward)
        hop = replace(message.trail[-1], chain=b"notours.")
        return replace(message, trail=(*message.trail[:-1], hop))

    change(log.forward(1), 7, rewritten(other))
    (fault,) = log.judged().findings.told
    assert (fault.kind, fault.gate, fault.lane, fault.seq, fault.offset) == ("history", 0, 0, 7, 7)


def test_what_was_refused_is_no_fault_if_a_receiver_said_so(log: Log) -> None:
    forge_ahead(log.forward(0))
    assert any("batch 900 follows" in fault for fault in log.faults())
    topic = log.network.topics.forward(0)
    dead = log.held[TopicPartition(log.network.topics.dead, 0)]
    letter = DeadLetter("gate-0", topic, 0, log.forward(0).high - 1, "gate 0: seq 900 comes too early", 9, b"")
    dead.records.append(Record(log.network.topics.dead, 0, dead.high, wire.encode(letter)))
    dead.high += 1
    facts = facts_of(log.judged())
    assert facts["holds"], facts["faults"]
    assert facts["refused"] == {"letters": 1, "by": {"gate 0": 1}}


def forge_ahead(held: Held) -> None:
    """Batch 900 follows the lane's last."""
    last = wire.decode(held.records[-1].value)
    assert isinstance(last, Forward)
    insert(held, len(held.records), wire.encode(replace(last, seq=900)))


def test_what_was_made_of_a_batch_that_was_never_issued_is_a_forgery_and_no_loss(log: Log) -> None:
    forge_ahead(log.forward(1))
    judge = log.judged()
    assert not judge.findings.told
    assert judge.lane("forward", 1, 0).foreign == 1


def four_and_the_last(log: Log, **facts: Any) -> Judge:
    """At gate 1 four of six batches are recorded, then the last one, with other `facts`."""
    last = wire.decode(log.journal(1).records[5].value)
    assert isinstance(last, JournalRecord) and last.seq == 5
    for held in (log.journal(0), log.journal(1), log.backward(1), log.backward(0)):
        cut_end(held, 4)
    for gate in range(2):
        log.snapshot(gate).records.clear()
    insert(log.journal(1), 4, wire.encode(replace(last, **facts)))
    return log.judged()


def missing(judge: Judge) -> list[Finding]:
    """Outputs name the versions that were cut away: that is told, too."""
    return [finding for finding in judge.findings.told if finding.kind == "missing"]


def test_a_record_whose_gradient_is_there_misses_the_one_before(single: Log) -> None:
    (fault,) = missing(four_and_the_last(single))
    assert (fault.gate, fault.lane, fault.seq, fault.offset) == (1, 0, 4, 4)


@pytest.mark.parametrize("facts", [{"seq": 900}, {"source": 4}, {"hop": Hop(5, 3, bytes(8))}])
def test_a_record_that_no_gradient_stands_behind_is_a_forgery_and_no_loss(single: Log, facts: Any) -> None:
    judge = four_and_the_last(single, **facts)
    assert not missing(judge)
    assert facts_of(judge)["gates"][1]["foreign"] == 1


def test_bytes_that_are_no_message_are_passed_over_by_the_audit_too(log: Log) -> None:
    insert(log.backward(0), 12, b"noise")
    assert not log.faults()


# --- void and zeroed --------------------------------------------------------------------------------


def rewrite_last(
    log: Log, journals: Collection[int], edges: Collection[int], *, void: str = "", zeroed: str = ""
) -> None:
    """The last batch is void, or zeroed, at these gates and on these edges on its way back."""

    def changed(message: Message) -> Message:
        if isinstance(message, JournalRecord):
            return replace(message, grads={}, void=void, zeroed=zeroed)
        assert isinstance(message, Backward)
        return replace(message, dy=None, void=void, zeroed=zeroed)

    for gate in range(3):
        log.snapshot(gate).records.clear()  # of another history now
    for held in (*map(log.journal, journals), *map(log.backward, edges)):
        change(held, 5, rewritten(changed))


def test_void_batches_are_told_with_their_gates(single: Log) -> None:
    rewrite_last(single, range(3), range(4), void="not finite")
    facts = facts_of(single.judged())
    assert facts["holds"], facts["faults"]
    assert facts["voids"] == [{"lane": 0, "seq": 5, "reason": "not finite", "gates": [0, 1, 2]}]
    assert facts["gates"][0]["voided"] == {"0": 1} and facts["gates"][0]["applied"] == {"0": 5}
    assert np.sum(list(facts["gates"][0]["staleness"].values())) == 5


def test_zeroed_batches_are_applied_and_told_with_their_gates(single: Log) -> None:
    rewrite_last(single, range(2), range(2), zeroed="gate 1 (fc2): not finite")
    facts = facts_of(single.judged())
    assert facts["holds"], facts["faults"]
    assert facts["zeroed"] == [{"lane": 0, "seq": 5, "reason": "gate 1 (fc2): not finite", "gates": [0, 1]}]
    assert [gate["zeroed"] for gate in facts["gates"]] == [{"0": 1}, {"0": 1}, {"0": 0}]
    assert [gate["applied"] for gate in facts["gates"]] == [{"0": 6}] * 3
    told = lines_of(facts)
    assert any("6 batches applied (1 with a gradient of zero), 0 void" in line for line in told)
    assert any(line.startswith("gradient of zero: lane 0, batch 5 at gates 0, 1: gate 1") for line in told)


@pytest.mark.parametrize("gate", [0, 1, 2])
def test_a_batch_that_is_void_at_one_gate_and_applied_at_others_is_a_fault(single: Log, gate: int) -> None:
    rewrite_last(single, [gate], [], void="not finite")
    told = single.judged().findings.told
    others = {gate - 1, gate + 1} & {0, 1, 2}
    assert {f.gate for f in told if f.message == f"it is void at gate {gate}, but applied here"} == others
    assert all((f.kind, f.lane, f.seq) == ("void", 0, 5) for f in told)


def test_a_batch_that_becomes_void_on_its_way_back_is_a_fault(single: Log) -> None:
    # Past rule: a gradient that could not be formed voided its batch there and below, and no audit called it a fault.
    rewrite_last(single, [0, 1], [0, 1], void="gate 1: not finite")
    told = [str(fault) for fault in single.judged().findings.told]
    assert "gate 2, lane 0, batch 5: it is void at gate 1, but applied here" in told
    assert "gate 1, lane 0, batch 5: it is void, but the gradient in backward.2 is not" in told
    assert "gate 1, lane 0, batch 5: it is void, but its gradient in backward.2 is not" in told


def test_a_void_batch_that_comes_to_life_is_a_fault(single: Log) -> None:
    rewrite_last(single, [1, 2], [1, 2, 3], void="not finite")
    told = [str(fault) for fault in single.judged().findings.told]
    assert "gate 0, lane 0, batch 5: it is not void, but the gradient in backward.1 is" in told
    assert "gate 0, lane 0, batch 5: it is not void, but its gradient in backward.1 is" in told


def test_a_gradient_made_from_one_of_zero_is_a_fault(single: Log) -> None:
    rewrite_last(single, [1], [1], zeroed="gate 1: not finite")
    told = [(f.kind, str(f)) for f in single.judged().findings.told]
    assert ("zeroed", "gate 0, lane 0, batch 5: it has a gradient, but the gradient in backward.1 was zeroed") in told


def test_a_void_output_that_is_answered_with_a_gradient_is_a_fault(single: Log) -> None:
    def void(message: Message) -> Message:
        assert isinstance(message, Forward)
        return replace(message, x=None, rows=None, void="too large")

    change(single.forward(3), 5, rewritten(void))
    (fault,) = single.faults()
    assert fault.endswith("batch 5: forward.3 says that it is void, backward.3 does not")


def test_partly_void_batches_are_found_by_their_sums_when_the_records_are_gone(log: Log) -> None:
    held = trimmed(log).snapshot(1)
    oldest = log.judged().gates[1].snapshots[-1].manifest

    def voided(message: Message) -> Message:
        assert isinstance(message, SnapshotManifest)
        first = message.sums[0]
        return replace(message, sums=((first[0] + 1, *first[1:]), *message.sums[1:]))

    key = manifest_key(oldest.version, oldest.writer)
    change(held, next(i for i, r in enumerate(held.records) if r.key == key and r.value), rewritten(voided))
    count = oldest.applied[0]
    assert f"gate 1, lane 0: of the first {count} batches 1 are void here, at gate 2 0" in log.faults()
