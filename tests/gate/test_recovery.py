"""A start from the log: snapshot, journal, first copies of the gate's own outputs; and what of it may go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from akkafka.errors import LogLostError, NewerSchemaError
from akkafka.gate import recovery
from akkafka.gate.recovery import Folding, MissingWeightsError, OutputFact, fold, lane_start, output_fact, read_entry
from akkafka.gate.snapshot import Shelf, Snapshot, to_records
from akkafka.gate.state import CountingRule, GateState
from akkafka.protocol import wire
from akkafka.protocol.messages import Hop, Mode

from ..simulation import toy
from .bench import OTHER, RUN, after, entry, forward, record_of, renamed, zero

FIRST = zero().hop(0)
FOLDING = Folding(CountingRule(0), toy.step)


def fact(seq: int, version: int = 0, *, offset: int | None = None, training: bool = True) -> OutputFact:
    return OutputFact(seq, Hop(seq if offset is None else offset, version, bytes(8)), training)


def history(count: int) -> tuple[list[recovery.JournalEntry], list[GateState]]:
    """Journal entries of lane 0, each made with the version before it, and the states they make."""
    entries, states = [], [zero()]
    for seq in range(count):
        record = record_of(seq, 0, states[-1].hop(seq))
        entries.append(entry(record))
        states.append(after(states[-1], record))
    return entries, states


def snapshot(state: GateState, older: dict[int, GateState] | None = None, writer: str = "me") -> Snapshot:
    shelf = Shelf(RUN, 0, len(state.applied))
    for key, value in to_records(RUN, 0, writer, state, older or {}):
        shelf.put(key, value)
    found = shelf.newest()
    assert found is not None
    return found


# --- the fold ---------------------------------------------------------------------------------------------


def test_a_fold_from_zero_and_one_from_a_snapshot_give_the_same_bits() -> None:
    entries, states = history(5)
    whole, _ = fold(zero(), {}, entries, FOLDING)
    behind, _ = fold(states[3], {}, entries[3:], FOLDING)
    for end in (whole, behind):
        assert (end.version, end.chain, end.next_offset) == (5, states[5].chain, 5)
        assert toy.number(end.params["w"]) == toy.number(states[5].params["w"])


def test_a_fold_passes_over_duplicates_and_foreign_records() -> None:
    entries, states = history(2)
    end, _ = fold(zero(), {}, [entries[0], entries[0], (None, b""), entries[1]], FOLDING)
    assert (end.version, end.next_offset, end.chain) == (2, 4, states[2].chain)


def test_a_fold_keeps_the_versions_asked_for_and_the_ring() -> None:
    entries, _ = history(6)
    _, states = fold(zero(), {}, entries, Folding(FOLDING.rule, toy.step, ring=2), keep=[1])
    assert sorted(states) == [1, 4, 5, 6]


def test_a_fold_keeps_a_version_until_the_last_record_that_names_it() -> None:
    late = record_of(0, 1, FIRST)
    entries, states = history(3)
    end, kept = fold(zero(), {}, [*entries, entry(late)], FOLDING)
    assert toy.number(end.params["w"]) == toy.number(after(states[3], late, zero()).params["w"])
    assert sorted(kept) == [4]


def test_a_fold_ends_at_the_version_asked_for() -> None:
    entries, states = history(4)
    end, _ = fold(zero(), {}, entries, FOLDING, until=2)
    assert end.chain == states[2].chain


def test_weights_from_before_the_snapshot_come_from_it_or_are_missing() -> None:
    _, states = history(3)
    late = entry(record_of(0, 1, FIRST))
    end, _ = fold(states[3], {0: zero()}, [late], FOLDING)
    assert end.version == 4
    with pytest.raises(MissingWeightsError, match="version 0"):
        fold(states[3], {}, [late], FOLDING)


def test_a_void_record_needs_no_weights() -> None:
    _, states = history(3)
    end, _ = fold(states[3], {}, [entry(record_of(0, 1, FIRST, void="too large"))], FOLDING)
    assert end.version == 4


def test_a_record_made_with_another_history_says_that_the_log_was_lost() -> None:
    with pytest.raises(LogLostError, match="another history") as caught:
        fold(zero(), {}, [entry(record_of(0, 0, renamed(FIRST, chain=b"another!")))], FOLDING)
    assert caught.value.hint


def test_bytes_that_are_no_record_of_this_run_read_as_nothing() -> None:
    foreign = replace(record_of(0, 0, FIRST), run=OTHER)
    for value in (None, b"", b"garbage", wire.encode(foreign), wire.encode(forward(0))):
        assert read_entry(RUN, value) == (None, b"")


def test_a_record_of_a_newer_schema_stops_its_reader() -> None:
    value = bytearray(wire.encode(record_of(0, 0, FIRST)))
    value[len(wire.MAGIC)] += 1
    with pytest.raises(NewerSchemaError):
        read_entry(RUN, bytes(value))


def test_a_fold_begins_at_whole_snapshots_then_at_zero_if_the_journal_is_whole() -> None:
    _, states = history(3)
    shots = [snapshot(states[3]), snapshot(states[1])]
    assert [start.version for start, _ in recovery.begin(shots, zero(), 0)] == [3, 1, 0]
    assert [start.version for start, _ in recovery.begin(shots, zero(), 2)] == [3]


# --- lanes -------------------------------------------------------------------------------------------------


def test_a_lane_goes_on_behind_the_input_of_its_last_output() -> None:
    start, offset = lane_start([fact(0, offset=4), fact(1, offset=9)], applied=1)
    assert (start.next_forward, offset) == (2, 10)
    assert start.open == ((1, fact(1, offset=9).hop),)


def test_a_lane_without_outputs_begins_at_its_head() -> None:
    start, offset = lane_start([], applied=0)
    assert (start.next_forward, start.open, offset) == (0, (), 0)


def test_of_several_copies_the_first_tells() -> None:
    start, offset = lane_start([fact(0, 1, offset=3), fact(0, 2, offset=8)], applied=0)
    assert start.open == ((0, Hop(3, 1, bytes(8))),)
    assert offset == 4


def test_batches_that_never_come_back_are_not_open() -> None:
    # Past fault: every validation batch of a lane's history was held open, and its version with it.
    start, _ = lane_start([fact(seq, training=False) for seq in range(3)], applied=0)
    assert (start.next_forward, start.open) == (3, ())


def test_first_copies_stand_in_a_row_and_all_else_does_not_count() -> None:
    facts = [fact(4), fact(900, 999), fact(5), fact(4, 1), fact(6), fact(8), fact(7)]
    assert [f.seq for f in recovery.first_copies(facts)] == [4, 5, 6, 7]
    assert [f.hop.version for f in recovery.first_copies(facts)] == [0, 0, 0, 0]


def test_facts_are_read_from_outputs_of_this_run_gate_and_lane_alone() -> None:
    ours = wire.encode(forward(3, trail=(FIRST,), mode=Mode.TRAIN))
    assert output_fact(RUN, 0, ours, 0) == OutputFact(3, FIRST)
    assert output_fact(RUN, 0, wire.encode(forward(3, trail=(FIRST,), mode=Mode.TEST))) == OutputFact(3, FIRST, False)
    assert output_fact(RUN, 0, ours, 1) is None
    assert output_fact(RUN, 1, ours) is None
    assert output_fact(OTHER, 0, ours) is None
    assert output_fact(RUN, 0, b"garbage") is None
    assert output_fact(RUN, 0, wire.encode(record_of(0, 0, FIRST))) is None


def test_outputs_of_versions_that_the_journal_lacks_say_that_the_log_was_lost() -> None:
    recovery.check_outputs(0, zero(), [fact(0, 0)])
    with pytest.raises(LogLostError, match="version 1"):
        recovery.check_outputs(0, zero(), [fact(0, 1)])
