"""A log that is whole is found whole; whatever is done to what gates save is found and named. No broker is needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from akkafka.audit.judge import Judge, Stretch, subject_of
from akkafka.audit.report import facts_of, lines_of
from akkafka.broker.base import Record, TopicPartition
from akkafka.gate.snapshot import manifest_key
from akkafka.protocol import wire
from akkafka.protocol.messages import Forward, JournalRecord, Message, Run, SnapshotManifest
from akkafka.protocol.narrow import wide

from .recorded import BATCHES, Log, change, cut_end, cut_head, double, drop, flip, lose, rewritten, trimmed


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


def test_many_faults_of_a_kind_are_counted(log: Log) -> None:
    def other(message: Message) -> Message:
        assert isinstance(message, JournalRecord) and message.tally is not None
        return replace(message, tally=replace(message.tally, ids=1))

    for at in range(BATCHES):
        change(log.journal(2), at, rewritten(other))
    facts = facts_of(log.judged())
    assert facts["more_faults"]["samples"] == BATCHES - 20
    assert not facts["holds"] and lines_of(facts)[-1] == "it does not hold"


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
        return replace(message, grads={name: 2 * wide(grad) for name, grad in message.grads.items()})

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
