"""The rules of design sections 3 and 5, one by one; tests/simulation has them all at once."""

from __future__ import annotations

import pytest

from akkafka.errors import LogLostError
from akkafka.gate import events as e
from akkafka.protocol.messages import Hop, Mode

from ..simulation import toy
from .bench import OTHER, Bench, after, entry, record_of, renamed, zero

FIRST = zero().hop(0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- sequence ---------------------------------------------------------------------------------------


def test_a_forward_that_was_there_before_is_counted_and_dropped(bench: Bench) -> None:
    bench.forward(0)
    bench.compute()
    assert bench.forward(0, offset=1) == []
    assert bench.core.statistics.duplicates == 1


def test_a_backward_that_was_there_before_is_counted_and_dropped(bench: Bench) -> None:
    bench.round(0)
    bench.asked.clear()
    assert bench.backward(0) == []
    assert bench.core.statistics.duplicates == 1


def test_a_forward_ahead_of_its_turn_is_refused_and_changes_nothing(bench: Bench) -> None:
    (refused,) = bench.forward(1)
    assert isinstance(refused, e.Refuse) and "next is 0" in refused.reason
    bench.asked.clear()
    bench.forward(0)
    assert bench.one(e.ComputeForward).message.seq == 0


def test_a_backward_ahead_of_its_turn_is_refused_and_changes_nothing(bench: Bench) -> None:
    bench.forward(0)
    bench.compute()
    bench.backward(1)
    assert bench.one(e.Refuse).direction == "backward"
    bench.backward(0)
    assert bench.one(e.ComputeBackward).message.seq == 0


def test_messages_of_another_run_are_refused(bench: Bench) -> None:
    bench.forward(0, run=OTHER)
    bench.backward(0, run=OTHER)
    assert [r.direction for r in bench.did(e.Refuse)] == ["forward", "backward"]
    assert bench.asked == []


def test_a_lane_that_is_not_there_is_refused(bench: Bench) -> None:
    bench.forward(0, lane=2)
    assert "lane 2 of 2" in bench.one(e.Refuse).reason


def test_a_trail_of_another_length_is_refused(bench: Bench) -> None:
    bench.forward(0, trail=(FIRST,))
    assert "a trail of 1 gates" in bench.one(e.Refuse).reason


def test_lanes_have_sequences_of_their_own(bench: Bench) -> None:
    bench.forward(0, lane=0)
    bench.forward(0, lane=1)
    bench.compute_all()
    assert [(s.message.lane, s.message.seq) for s in bench.did(e.SendForward)] == [(0, 0), (1, 0)]


# --- one computation at a time, backward first ----------------------------------------------------------


def test_backward_goes_before_forward_when_both_wait(bench: Bench) -> None:
    bench.forward(0)
    bench.compute()
    bench.forward(1)
    bench.forward(2)
    bench.backward(0)
    bench.compute()
    assert isinstance(bench.compute(), e.ComputeBackward)
    assert isinstance(bench.compute(), e.ComputeForward)


def test_a_new_computation_waits_for_the_one_that_runs(bench: Bench) -> None:
    bench.forward(0)
    assert bench.forward(1) == []


# --- order of effects -----------------------------------------------------------------------------------


def test_a_record_is_appended_only_after_its_gradient_is_delivered(bench: Bench) -> None:
    bench.forward(0)
    bench.compute()
    bench.backward(0)
    bench.compute()
    assert len(bench.did(e.SendBackward)) == 1
    assert bench.did(e.AppendRecord) == []
    bench.delivered(0)
    assert bench.one(e.AppendRecord).record.seq == 0


def test_a_version_exists_once_its_record_is_acknowledged(bench: Bench) -> None:
    bench.forward(0)
    bench.compute()
    bench.backward(0)
    bench.compute()
    bench.delivered(0)
    assert (bench.core.certain.version, bench.core.newest.version) == (0, 1)
    bench.on(e.Appended(0))
    assert bench.core.certain is bench.core.newest
    assert bench.core.certain.version == 1


def test_records_are_appended_in_the_order_of_versions_whatever_is_delivered_first(bench: Bench) -> None:
    for lane in (0, 1):
        bench.forward(0, lane)
        bench.compute()
    for lane in (0, 1):
        bench.backward(0, lane)
        bench.compute()
    bench.delivered(0, lane=1)
    assert bench.did(e.AppendRecord) == []
    bench.delivered(0, lane=0)
    assert [a.record.lane for a in bench.did(e.AppendRecord)] == [0, 1]


def test_a_forward_leaves_only_when_its_version_exists(bench: Bench) -> None:
    bench.forward(0)
    bench.compute()
    bench.backward(0)
    bench.compute()
    bench.did(e.SendForward)
    bench.forward(1)
    bench.compute()
    bench.forward(0, lane=1, mode=Mode.VALIDATE)
    bench.compute()
    assert bench.did(e.SendForward) == []
    assert not bench.core.flushed
    bench.delivered(0)
    bench.on(e.Appended(0))
    assert [s.message.trail[0].version for s in bench.did(e.SendForward)] == [1, 1]
    assert bench.core.flushed


def test_a_trail_names_input_offset_version_and_history(bench: Bench) -> None:
    bench.round(0)
    bench.did(e.SendForward)
    bench.forward(1, offset=17)
    bench.compute()
    (hop,) = bench.one(e.SendForward).message.trail
    assert hop == Hop(17, 1, bench.core.certain.chain[:8])


def test_the_gradient_is_formed_with_the_weights_of_its_forward_and_applied_to_the_newest(bench: Bench) -> None:
    bench.forward(0, lane=1)
    bench.compute()
    bench.round(0, lane=0)
    bench.backward(0, lane=1, hop=FIRST)
    job = bench.one(e.ComputeBackward)
    assert job.then is bench.core.states[0].params
    assert job.base is bench.core.newest and job.base.version == 1
    assert job.tape == "tape"


def test_staleness_is_counted_in_versions(bench: Bench) -> None:
    bench.forward(0, lane=1)
    bench.compute()
    bench.round(0, lane=0)
    bench.backward(0, lane=1, hop=FIRST)
    bench.compute()
    bench.delivered(0, lane=1)
    bench.on(e.Appended(1))
    assert (bench.core.statistics.staleness_max, bench.core.statistics.updates) == (1, 2)


# --- appends that do not end where they should -------------------------------------------------------------


def started(bench: Bench) -> Bench:
    """Batch 0 is on its way into the journal, a forward waits for it."""
    bench.forward(0)
    bench.compute()
    bench.backward(0)
    bench.compute()
    bench.delivered(0)
    bench.forward(1)
    bench.compute()
    bench.asked.clear()
    return bench


def test_after_an_unexpected_offset_the_journal_is_read_before_anything_else(bench: Bench) -> None:
    started(bench).on(e.Appended(1))
    assert [type(i) for i in bench.asked] == [e.ReadJournal]
    assert bench.core.newest is bench.core.certain
    assert bench.forward(2) == []


def test_an_offset_below_the_expected_one_says_that_the_log_was_lost(bench: Bench) -> None:
    bench.round(0)
    bench.forward(1)
    bench.compute()
    bench.backward(1, hop=bench.core.certain.hop(1))
    bench.compute()
    bench.delivered(1)
    bench.on(e.Appended(0))
    error = bench.one(e.Halt).error
    assert isinstance(error, LogLostError) and "offset 0" in str(error) and error.hint
    assert bench.forward(2) == [], "a halted core does nothing more"


def test_an_unknown_append_waits_for_all_answers_before_the_journal_is_read(bench: Bench) -> None:
    for lane in (0, 1):
        bench.forward(0, lane)
        bench.compute()
    for lane in (0, 1):
        bench.backward(0, lane)
        bench.compute()
        bench.delivered(0, lane)
    bench.on(e.AppendUnknown())
    assert bench.did(e.ReadJournal) == []
    bench.on(e.AppendUnknown())
    assert bench.one(e.ReadJournal).start == 0


def test_an_unknown_record_that_is_in_the_journal_is_not_appended_again(bench: Bench) -> None:
    for_journal = started(bench).core._pending[0].computed
    bench.on(e.AppendUnknown())
    bench.on(e.JournalRead([(for_journal.record, for_journal.value)], end=1))
    bench.compute_all()
    assert bench.did(e.AppendRecord) == []
    assert bench.core.certain.version == 1
    assert bench.one(e.SendForward).message.seq == 1


def test_an_unknown_record_that_is_not_in_the_journal_is_appended_again(bench: Bench) -> None:
    started(bench).on(e.AppendUnknown())
    bench.on(e.JournalRead([], end=0))
    bench.compute_all()
    assert bench.one(e.AppendRecord).record.seq == 0
    assert bench.core.certain.version == 0
    bench.on(e.Appended(0))
    assert bench.core.certain.version == 1


def test_anothers_record_of_the_same_batch_counts_and_ours_is_due_no_more(bench: Bench) -> None:
    theirs = record_of(0, 0, FIRST)
    started(bench).on(e.Appended(1))
    bench.on(e.JournalRead([entry(theirs), (None, b"")], end=2))
    assert bench.compute().base.version == 0  # type: ignore[union-attr]
    expected = after(zero(), theirs)
    assert bench.core.certain.chain == expected.chain
    assert toy.number(bench.core.certain.params["w"]) == toy.number(expected.params["w"])
    assert bench.core.certain.next_offset == 2
    assert bench.did(e.AppendRecord) == []


def test_anothers_record_of_another_batch_comes_first_and_ours_is_put_on_top(bench: Bench) -> None:
    theirs = record_of(0, 1, FIRST)
    started(bench).on(e.Appended(1))
    ours = bench.core._pending[0].computed.record
    bench.on(e.JournalRead([entry(theirs)], end=1))
    bench.compute_all()
    assert bench.one(e.AppendRecord).record is ours
    assert (bench.core.certain.version, bench.core.newest.version) == (1, 2)
    assert bench.core.newest.chain == after(after(zero(), theirs), ours, zero()).chain


def test_records_that_do_not_count_are_passed_over(bench: Bench) -> None:
    started(bench).on(e.AppendUnknown())
    early, future = record_of(5, 0, FIRST), record_of(0, 0, renamed(FIRST, version=3))
    bench.on(e.JournalRead([(None, b""), entry(early), entry(future)], end=3))
    assert (bench.core.certain.version, bench.core.certain.next_offset) == (0, 3)
    bench.compute_all()
    assert len(bench.did(e.AppendRecord)) == 1


def test_a_forward_of_a_version_that_never_came_about_is_computed_again(bench: Bench) -> None:
    theirs = record_of(0, 0, FIRST)
    started(bench).on(e.Appended(1))
    bench.on(e.JournalRead([entry(theirs), (None, b"")], end=2))
    bench.compute_all()
    (hop,) = bench.one(e.SendForward).message.trail
    assert hop.chain == after(zero(), theirs).chain[:8]


def test_a_forward_in_the_making_is_not_sent_after_a_roll_back(bench: Bench) -> None:
    bench.forward(0)
    bench.compute()
    bench.backward(0)
    bench.compute()
    bench.delivered(0)
    bench.asked.clear()
    bench.forward(1)
    bench.on(e.AppendUnknown())
    bench.compute()
    assert bench.did(e.SendForward) == []
    bench.on(e.JournalRead([], end=0))
    bench.compute_all()
    bench.on(e.Appended(0))
    assert bench.one(e.SendForward).message.seq == 1


def test_a_journal_that_ends_before_what_was_acknowledged_says_that_the_log_was_lost(bench: Bench) -> None:
    bench.round(0)
    bench.forward(1)
    bench.compute()
    bench.backward(1, hop=bench.core.certain.hop(1))
    bench.compute()
    bench.delivered(1)
    bench.on(e.AppendUnknown())
    bench.on(e.JournalRead([], end=0))
    assert "1 records" in str(bench.one(e.Halt).error)
