"""A gate among others of its kind: first copies, other histories, lost weights; batches that are void or zeroed."""

from __future__ import annotations

import pytest

from akkafka.gate import events as e
from akkafka.gate.state import GateState

from ..simulation import toy
from .bench import Bench, after, entry, forward, record_of, renamed, zero

FIRST = zero().hop(0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- several processes ---------------------------------------------------------------------------------------


def test_a_trail_that_names_a_version_of_another_process_makes_us_read_the_journal(bench: Bench) -> None:
    theirs = record_of(0, 1, FIRST)
    hop = after(zero(), theirs).hop(0)
    bench.forward(0)
    bench.compute()
    bench.backward(0, hop=hop)
    assert bench.one(e.ReadJournal).start == 0
    bench.on(e.JournalRead([entry(theirs)], end=1))
    bench.compute()
    bench.on(e.InputFetched(0, 0, 0, forward(0)))
    assert bench.one(e.ComputeBackward).hop == hop


def test_a_version_that_the_journal_does_not_hold_says_that_the_log_was_lost(bench: Bench) -> None:
    bench.forward(0)
    bench.compute()
    bench.backward(0, hop=renamed(FIRST, version=4))
    bench.on(e.JournalRead([], end=0))
    assert "version 4" in str(bench.one(e.Halt).error)


def test_another_history_of_a_version_says_that_the_log_was_lost(bench: Bench) -> None:
    bench.forward(0)
    bench.compute()
    bench.backward(0, hop=renamed(FIRST, chain=b"another!"))
    assert "history" in str(bench.one(e.Halt).error)


def test_nothing_begins_in_the_same_breath_in_which_the_journal_turns_out_to_be_needed(bench: Bench) -> None:
    # Past fault: a trail named another's version 1, while we speculated on a version 1 of our own. Forwards taken back
    # were dropped as done, the loop looked at the backward again, and took that second look for a journal without it.
    bench.forward(0)
    bench.compute()
    bench.backward(0)
    bench.compute()
    bench.forward(0, lane=1)
    bench.compute()
    bench.asked.clear()
    bench.backward(0, lane=1, hop=after(zero(), record_of(0, 0, FIRST)).hop(0))
    assert [type(i) for i in bench.asked] == [e.ReadJournal]


def test_the_first_copys_trail_counts_not_our_own_copys(bench: Bench) -> None:
    bench.round(0, lane=1)
    bench.forward(0)
    bench.compute()
    bench.core.states[0] = zero()
    bench.backward(0, hop=FIRST)
    assert bench.one(e.FetchInput).offset == FIRST.offset
    bench.on(e.InputFetched(0, 0, 0, forward(0)))
    job = bench.one(e.ComputeBackward)
    assert (job.tape, job.hop) == (None, FIRST)
    assert job.then is bench.core.states[0].params


def test_a_forward_of_a_batch_that_has_come_back_already_is_dropped(bench: Bench) -> None:
    bench.forward(0, lane=1)
    bench.backward(0, hop=FIRST)
    bench.forward(0)
    bench.compute()
    bench.did(e.SendForward)
    bench.on(e.InputFetched(0, 0, 0, forward(0)))
    bench.compute_all()
    assert bench.did(e.SendForward) == []
    assert bench.core.open_batches == 1, "lane 1 is open, lane 0 is not"


def test_an_input_that_comes_after_its_batch_was_counted_is_not_kept(bench: Bench) -> None:
    bench.backward(0, hop=FIRST)
    bench.round(0, lane=1, offset=1)  # somebody else was first: the journal is read
    bench.on(e.JournalRead([entry(record_of(0, 0, FIRST)), entry(record_of(0, 1, FIRST))], end=2))
    bench.compute_all()
    assert bench.core.certain.applied == (1, 1)
    bench.on(e.InputFetched(0, 0, 0, forward(0)))
    assert bench.core._lanes[0].inputs == {}


def test_an_input_that_is_another_batch_says_that_the_log_was_lost(bench: Bench) -> None:
    bench.backward(0, hop=FIRST)
    bench.on(e.InputFetched(0, 0, 0, forward(3)))
    assert "another record at offset 0" in str(bench.one(e.Halt).error)


def test_weights_that_nobody_keeps_are_rebuilt_once(bench: Bench) -> None:
    for lane in (0, 1):
        bench.backward(0, lane, hop=FIRST)
    bench.core.states.clear()
    bench.asked.clear()
    bench.on(e.Ticked(1.0))
    bench.on(e.Ticked(2.0))
    assert bench.one(e.RebuildState).version == 0
    bench.on(e.StateRebuilt(zero()))
    assert bench.core.states[0].version == 0


# --- void ------------------------------------------------------------------------------------------------


def test_a_void_batch_passes_without_computation(bench: Bench) -> None:
    bench.forward(0, void="too large")
    message = bench.one(e.SendForward).message
    assert (message.void, message.x, len(message.trail)) == ("too large", None, 1)


def test_an_input_that_does_not_fit_is_voided_and_told(bench: Bench) -> None:
    bench = Bench(check_input=lambda x: "a shape of (1,)")
    bench.forward(0)
    assert bench.one(e.SendForward).message.void == "gate 0 (fc): a shape of (1,)"
    assert bench.one(e.Refuse).offset == 0


def test_a_failed_forward_is_voided_and_told(bench: Bench) -> None:
    bench.forward(0)
    bench.compute(failure="not finite")
    assert bench.one(e.SendForward).message.void == "gate 0 (fc): not finite"
    assert len(bench.did(e.Refuse)) == 1


def test_a_void_batch_counts_without_a_step(bench: Bench) -> None:
    bench.forward(0, void="too large")
    bench.backward(0, void="too large")
    bench.compute()
    assert bench.one(e.SendBackward).message.void == "too large"
    bench.delivered(0)
    bench.on(e.Appended(0))
    assert bench.core.certain.version == 1
    assert toy.number(bench.core.certain.params["w"]) == toy.number(zero().params["w"])
    assert bench.core.statistics.voids == 1


def test_a_void_record_is_folded_without_the_weights_it_names(bench: Bench) -> None:
    # Past fault: the fold asked for the weights of a void record, which may be gone for ever.
    bench.round(0)
    bench.forward(1)
    bench.compute()
    bench.backward(1, hop=bench.core.certain.hop(1))
    bench.compute()
    bench.delivered(1)
    bench.asked.clear()
    bench.on(e.Appended(2))
    bench.on(e.JournalRead([entry(record_of(0, 1, FIRST, void="too large")), (None, b"")], end=3))
    assert 0 not in bench.core.states
    bench.compute_all()
    assert bench.did(e.RebuildState) == []
    assert bench.core.certain.version == 2


# --- zeroed ----------------------------------------------------------------------------------------------


def test_what_fails_on_the_way_back_is_applied_with_a_gradient_of_zero_and_told_once(bench: Bench) -> None:
    # Past rule: it was void from here on, while the gates above had applied it already.
    bench.forward(0)
    bench.compute()
    bench.backward(0)
    bench.compute(failure="not finite")
    sent = bench.one(e.SendBackward).message
    assert (sent.zeroed, sent.void, sent.dy) == ("not finite", "", None)
    assert [refused.reason for refused in bench.did(e.Refuse)] == ["not finite"]
    bench.delivered(0)
    record = bench.one(e.AppendRecord).record
    assert (record.zeroed, record.void) == ("not finite", "")
    bench.on(e.Appended(0))
    assert weight_and_momentum(bench.core.certain) == toy.stepped(5, 0, 0, 5, 0)
    assert (bench.core.statistics.zeroed, bench.core.statistics.voids) == (1, 0)


def test_what_was_zeroed_above_is_zeroed_here_without_weights_or_input(bench: Bench) -> None:
    bench.core.states.clear()  # nobody has the weights of the forward
    bench.backward(0, zeroed="gate 1 (fc2): not finite")
    assert not bench.did(e.FetchInput)
    bench.compute()
    sent = bench.one(e.SendBackward).message
    assert (sent.zeroed, sent.dy) == ("gate 1 (fc2): not finite", None)
    assert not bench.did(e.Refuse), "the gate where it arose has told it"
    bench.delivered(0)
    assert bench.one(e.AppendRecord).record.zeroed == "gate 1 (fc2): not finite"


def test_a_zeroed_record_is_folded_with_the_weights_there_are(bench: Bench) -> None:
    bench.round(0)
    bench.forward(1)
    bench.compute()
    bench.backward(1, hop=bench.core.certain.hop(1))
    bench.compute()
    bench.delivered(1)
    bench.asked.clear()
    before = weight_and_momentum(bench.core.certain)
    bench.on(e.Appended(2))
    bench.on(e.JournalRead([entry(record_of(0, 1, FIRST, zeroed="not finite")), (None, b"")], end=3))
    assert 0 not in bench.core.states
    bench.compute()
    w, m = before
    assert weight_and_momentum(bench.core.certain) == toy.stepped(w, m, 0, w, 1)
    assert list(bench.core.named) == [(1, 0)], "it names no weights that anybody needs"


def weight_and_momentum(state: GateState) -> tuple[int, int]:
    return toy.number(state.params["w"]), toy.number(state.optimizer["m"])
