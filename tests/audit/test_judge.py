"""A log that is whole is found whole; whatever is done to it is found and named. No broker: facts in, findings out."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from akkafka.audit.finding import Finding
from akkafka.audit.judge import Judge, Stretch, subject_of
from akkafka.audit.report import facts_of, lines_of
from akkafka.broker.base import Record, TopicPartition
from akkafka.broker.memory import MemoryBroker
from akkafka.gate.snapshot import manifest_key
from akkafka.protocol import wire
from akkafka.protocol.messages import (
    Backward,
    DeadLetter,
    Forward,
    Hop,
    JournalRecord,
    Message,
    Run,
    SnapshotManifest,
)
from tests.pipeline.fleet import small_definition, train_through

from .recorded import Held, Log, change, cut_end, cut_head, double, drop, flip, insert, lose, recorded

BATCHES = 24  # two lanes, four epochs of six batches


@pytest.fixture(scope="module")
def whole() -> Log:
    """The log of a training that was left alone."""
    broker = MemoryBroker()
    definition = small_definition("schedule.window=3", "lanes.train=2", "snapshots.every_bytes=40000")
    network, states = asyncio.run(train_through(broker, definition, "whole", epochs=4, sentinels=2, jitter=7))
    assert [state.version for state in states] == [BATCHES] * 3
    return recorded(broker, network)


@pytest.fixture
def log(whole: Log) -> Log:
    """A copy to be damaged."""
    return Log(whole.network, copy.deepcopy(whole.held))


@pytest.fixture
def single() -> Log:
    """One lane, one epoch of six batches."""
    broker = MemoryBroker()
    network, _ = asyncio.run(train_through(broker, small_definition(), "single", epochs=1))
    return recorded(broker, network)


def trimmed(log: Log) -> Log:
    """As gates would: the journal of gate 1 behind its older snapshot."""
    cut_head(log.journal(1), log.judged().gates[1].snapshots[-1].state.next_offset)
    return log


def rewritten(how: Callable[[Message], Message]) -> Callable[[bytes], bytes]:
    return lambda value: wire.encode(how(wire.decode(value)))


def test_a_log_that_was_left_alone_holds(log: Log) -> None:
    judge = log.judged()
    facts = facts_of(judge)
    assert facts["holds"] and not facts["faults"]
    for lane in facts["lanes"]:
        assert (lane["issued"], lane["counted"], lane["open"], lane["home"]) == (12, 12, 0, 12)
        assert lane["epochs_whole"] == 4
    rows = judge.subject.courses.rows["defined/None"]
    assert sum(lane["samples"] for lane in facts["lanes"]) == 4 * rows[1]
    assert all(gate["version"] == BATCHES == sum(gate["staleness"].values()) for gate in facts["gates"])
    assert lines_of(facts)[-1] == "all of it holds"


def test_a_trimmed_log_holds_by_the_sums_of_its_snapshot(log: Log) -> None:
    facts = facts_of(trimmed(log).judged())
    gate = facts["gates"][1]
    assert facts["holds"], facts["faults"]
    assert 0 < gate["records_seen_from_version"] < BATCHES == gate["version"]
    assert sum(gate["applied"].values()) == BATCHES
    assert any("sums of a snapshot before" in line for line in lines_of(facts))


def test_open_batches_are_no_fault(single: Log) -> None:
    for gate in range(3):  # the newest batch has not come back yet, and nobody has saved a state with it
        cut_end(single.backward(gate), 5)
        cut_end(single.journal(gate), 5)
        held = single.snapshot(gate)
        held.records = [r for r in held.records if not (r.key or b"").startswith(b"%020d" % 6)]
    facts = facts_of(single.judged())
    assert facts["holds"], facts["faults"]
    (lane,) = facts["lanes"]
    assert (lane["issued"], lane["counted"], lane["open"], lane["home"], lane["epochs_whole"]) == (6, 5, 1, 5, 0)


def test_a_lane_that_is_trimmed_while_it_is_read_is_read_on(log: Log) -> None:
    where = TopicPartition(log.network.topics.forward(1), 0)
    judge = Judge(subject_of(log.network), {w: Stretch(h.low, h.high, h.high) for w, h in log.held.items()})
    for each in judge.order():
        judge.open(each)
        records = log.held[each].records
        if each == where:
            for record in records[:4]:
                judge.take(record)
            assert judge.reopen(where, 7)
            records = records[7:]
        for record in records:
            judge.take(record)
        judge.close(each)
    judge.conclude({w: h.high for w, h in log.held.items()})
    assert not judge.findings.told
    assert judge.lanes[where].base == 7
    assert not judge.reopen(TopicPartition(log.network.topics.journal(0), 0), 7)


# --- journals -------------------------------------------------------------------------------------


def lane_and_seq(record: Record) -> tuple[int, int]:
    message = wire.decode(record.value)
    assert isinstance(message, JournalRecord)
    return message.lane, message.seq


@pytest.mark.parametrize("at", [0, 5, BATCHES - 1])
def test_a_journal_record_that_was_dropped_is_named(log: Log, at: int) -> None:
    drop(log.journal(1), at)
    assert f"gate 1, offset {at}: records {at} to {at} of the journal are missing" in log.faults()


@pytest.mark.parametrize("at", [0, 5])
def test_a_journal_record_that_was_never_written_is_named(log: Log, at: int) -> None:
    lane, seq = lane_and_seq(log.journal(1).records[at])
    lose(log.journal(1), at)
    told = log.judged().findings.told
    assert any((f.kind, f.gate, f.lane, f.seq) == ("missing", 1, lane, seq) for f in told), told
    assert any((f.kind, f.gate) == ("history", 1) for f in told), "trails and snapshots know another history"


def test_a_last_record_that_is_gone_is_known_by_the_snapshot_behind_it(log: Log) -> None:
    lose(log.journal(2), BATCHES - 1)
    told = log.judged().findings.told
    assert {f.kind for f in told} == {"shorter"} and {f.gate for f in told} == {2}


def test_a_record_that_is_there_twice_counts_once(log: Log) -> None:
    double(log.journal(1), 3)
    judge = log.judged()
    assert not judge.findings.told
    assert judge.gates[1].duplicates == 1


def test_a_record_with_another_gradient_is_another_history(log: Log) -> None:
    def louder(message: Message) -> Message:
        assert isinstance(message, JournalRecord)
        return replace(message, grads={name: 2 * grad for name, grad in message.grads.items()})

    change(log.journal(0), 10, rewritten(louder))  # not an early one: while the last layer is zero, so are gradients
    told = log.judged().findings.told
    assert told and {(f.kind, f.gate) for f in told} == {("history", 0)}


def test_a_flipped_bit_in_a_journal_record_is_found(log: Log) -> None:
    change(log.journal(0), 2, flip)
    assert any(f.gate == 0 for f in log.judged().findings.told)


def test_a_journal_whose_head_was_cut_too_early_is_named(log: Log) -> None:
    versions = [s.state.version for s in log.judged().gates[1].snapshots]
    cut_head(log.journal(1), versions[1] + 1)
    (fault,) = log.faults()
    assert f"gate 1, offset {versions[1]}: the journal begins at offset {versions[1] + 1}" in fault
    assert "cut too early" in fault


def test_a_journal_that_no_snapshot_reaches_is_named(log: Log) -> None:
    cut_head(log.journal(1), 3)
    log.snapshot(1).records.clear()
    (fault,) = log.faults()
    assert fault.startswith("gate 1, offset 3: the journal begins at offset 3, and no whole snapshot")


def test_a_journal_that_lost_its_end_is_named(log: Log) -> None:
    cut_end(log.journal(0), 10)
    faults = log.faults()
    assert any("the journal ends at offset 10" in fault and "the broker has lost its end" in fault for fault in faults)


def test_an_empty_journal_is_not_taken_for_a_beginning(log: Log) -> None:
    cut_end(log.journal(0), 0)
    assert any("gate 0" in fault and "the journal ends at offset 0" in fault for fault in log.faults())
    log.snapshot(0).records.clear()
    assert any("names version" in fault for fault in log.faults()), "what left the gate knows better"


# --- samples --------------------------------------------------------------------------------------


def test_a_record_that_brings_other_samples_is_named(log: Log) -> None:
    def other(message: Message) -> Message:
        assert isinstance(message, JournalRecord) and message.tally is not None
        return replace(message, tally=replace(message.tally, samples=message.tally.samples - 1))

    lane, seq = lane_and_seq(log.journal(2).records[-1])
    change(log.journal(2), -1, rewritten(other))
    told = log.judged().findings.told
    assert any((f.kind, f.gate, f.lane, f.seq) == ("samples", 2, lane, seq) for f in told), told


def test_a_batch_that_was_issued_with_a_repeated_sample_is_named(log: Log) -> None:
    def repeated(message: Message) -> Message:
        assert isinstance(message, Forward)
        assert message.rows is not None
        numbers = message.rows.numbers.copy()
        numbers[0] = numbers[1]
        return replace(message, rows=replace(message.rows, numbers=numbers))

    change(log.forward(0), 4, rewritten(repeated))
    (fault,) = log.judged().findings.told
    assert (fault.kind, fault.lane, fault.seq, fault.offset) == ("samples", 0, 4, 4)


def test_a_batch_issued_out_of_its_course_is_named(log: Log) -> None:
    fourth, fifth = wire.decode(log.forward(0).records[4].value), wire.decode(log.forward(0).records[5].value)
    assert isinstance(fourth, Forward) and isinstance(fifth, Forward)
    skipped = replace(fourth, cursor=fifth.cursor, tally=fifth.tally, context=fifth.context)
    change(log.forward(0), 4, lambda _: wire.encode(skipped))
    (fault,) = log.judged().findings.told
    assert (fault.kind, fault.seq) == ("samples", 4) and "lies at" in fault.message


def test_sums_that_do_not_add_up_are_found_when_the_records_are_gone(log: Log) -> None:
    held = trimmed(log).snapshot(1)

    def short(message: Message) -> Message:
        assert isinstance(message, SnapshotManifest)
        first = message.sums[0]
        return replace(message, sums=((*first[:6], first[6] ^ 1, *first[7:]), *message.sums[1:]))

    oldest = log.judged().gates[1].snapshots[-1].manifest
    key = manifest_key(oldest.version, oldest.writer)
    at = next(i for i, r in enumerate(held.records) if r.key == key and r.value is not None)
    change(held, at, rewritten(short))
    told = log.judged().findings.told
    assert any(f.kind == "samples" and "past_ids" in f.message and f.gate == 1 for f in told), told


# --- snapshots ------------------------------------------------------------------------------------


def newest_chunk(log: Log) -> int:
    key = log.judged().gates[0].snapshots[0].manifest
    chunks = log.snapshot(0).records
    return next(i for i, r in enumerate(chunks) if (r.key or b"").startswith(b"%020d" % key.version) and r.value)


def test_a_flipped_bit_in_a_chunk_is_named(log: Log) -> None:
    change(log.snapshot(0), newest_chunk(log), flip)
    (fault,) = log.faults()
    assert f"gate 0: snapshot of version {BATCHES}" in fault and "another hash" in fault


def test_a_torn_snapshot_is_named(log: Log) -> None:
    drop(log.snapshot(0), newest_chunk(log))
    (fault,) = log.faults()
    assert f"gate 0: snapshot of version {BATCHES}" in fault and "chunk 0 of 1 is missing" in fault


def test_an_old_snapshot_that_was_finished_too_late_is_no_fault(log: Log) -> None:
    # Past fault: its first chunks were cleared away as leftovers before its writer, asleep, wrote the manifest.
    newest = log.judged().gates[0].snapshots[0].manifest
    held = log.snapshot(0)
    key = manifest_key(newest.version, newest.writer)
    at = next(i for i, r in enumerate(held.records) if r.key == key and r.value is not None)
    late = replace(newest, version=0, writer="late")
    held.records.append(
        replace(held.records[at], key=manifest_key(0, "late"), value=wire.encode(late), offset=held.high)
    )
    held.high += 1
    assert not log.faults()


def test_a_snapshot_without_a_manifest_is_only_unfinished(log: Log) -> None:
    del log.snapshot(0).records[newest_chunk(log) + 1 :]
    judge = log.judged()
    assert not judge.findings.told
    assert BATCHES not in [s.state.version for s in judge.gates[0].snapshots]


def test_a_snapshot_of_another_run_is_named(log: Log) -> None:
    other = Run(log.network.run.definition, b"other...")

    def elsewhere(message: Message) -> Message:
        assert isinstance(message, SnapshotManifest)
        return replace(message, run=other)

    newest = log.judged().gates[0].snapshots[0].manifest
    held = log.snapshot(0)
    key = manifest_key(newest.version, newest.writer)
    change(held, next(i for i, r in enumerate(held.records) if r.key == key), rewritten(elsewhere))
    (fault,) = log.faults()
    assert "gate 0" in fault and f"of run {other}" in fault


# --- edges ----------------------------------------------------------------------------------------


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


def test_many_faults_of_a_kind_are_counted(log: Log) -> None:
    def other(message: Message) -> Message:
        assert isinstance(message, JournalRecord) and message.tally is not None
        return replace(message, tally=replace(message.tally, ids=1))

    for at in range(BATCHES):
        change(log.journal(2), at, rewritten(other))
    facts = facts_of(log.judged())
    assert facts["more_faults"]["samples"] == BATCHES - 20
    assert not facts["holds"] and lines_of(facts)[-1] == "it does not hold"


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
