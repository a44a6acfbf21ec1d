"""The fold: which records count, and what they make of a state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from akkafka.gate.state import CountingRule, GateState, apply_record, next_chain, pass_over
from akkafka.protocol import wire

from ..simulation import toy
from .bench import after, record_of, renamed, zero

FIRST = zero().hop(0)


def applied(state: GateState, *counts: int) -> GateState:
    return replace(state, applied=counts, version=sum(counts))


def test_the_next_batch_of_a_lane_counts_and_no_other() -> None:
    rule, state = CountingRule(0), applied(zero(), 2, 0)
    assert [rule.counts(state, record_of(seq, 0, FIRST)) for seq in range(5)] == [False, False, True, False, False]
    assert rule.counts(state, record_of(0, 1, FIRST))


def test_a_record_of_another_gate_or_lane_does_not_count() -> None:
    assert not CountingRule(1).counts(zero(), record_of(0, 0, FIRST))
    assert not CountingRule(0).counts(zero(), record_of(0, 2, FIRST))


def test_a_record_made_with_weights_of_the_future_does_not_count() -> None:
    assert not CountingRule(0).counts(zero(), record_of(0, 0, renamed(FIRST, version=1)))


@pytest.mark.parametrize(("lane", "counts"), [(0, False), (1, True)])
def test_under_the_fixed_schedule_only_the_next_batch_of_all_counts(lane: int, counts: bool) -> None:
    state = applied(zero(), 1, 0)
    assert CountingRule(0, fixed_lanes=2).counts(state, record_of(state.applied[lane], lane, FIRST)) is counts


def test_under_the_fixed_schedule_other_lanes_never_count() -> None:
    # lane 2 of two: its number 0 * 2 + 2 is that of lane 0's second batch
    state = applied(zero(3), 1, 1, 0)
    assert not CountingRule(0, fixed_lanes=2).counts(state, record_of(0, 2, FIRST))


def test_a_record_moves_version_history_lane_and_positions_on() -> None:
    record = record_of(0, 1, FIRST, source=7)
    state = after(zero(), record)
    assert (state.version, state.applied, state.sources, state.next_offset) == (1, (0, 1), (0, 8), 1)
    assert state.chain == next_chain(bytes(16), wire.encode(record))
    assert (toy.number(state.params["w"]), toy.number(state.optimizer["m"])) == toy.stepped(5, 0, 7, 5, 0)


def test_staleness_is_the_distance_to_the_version_of_the_forward() -> None:
    one = after(zero(), record_of(0, 0, FIRST))
    two = after(one, record_of(0, 1, FIRST), zero())
    w, m = toy.number(one.params["w"]), toy.number(one.optimizer["m"])
    assert toy.number(two.params["w"]) == toy.stepped(w, m, 7, 5, 1)[0]


def test_the_state_before_is_left_as_it_was() -> None:
    before = zero()
    after(before, record_of(0, 0, FIRST))
    assert (before.version, before.applied, toy.number(before.params["w"])) == (0, (0, 0), 5)


def test_a_zeroed_record_counts_with_a_step_of_todays_weights() -> None:
    record = record_of(0, 0, FIRST, zeroed="not finite")
    state = after(zero(), record)
    assert (toy.number(state.params["w"]), toy.number(state.optimizer["m"])) == toy.stepped(5, 0, 0, 5, 0)
    other = apply_record(zero(), record, wire.encode(record), {}, toy.step)
    assert toy.number(other.params["w"]) == toy.number(state.params["w"]), "the forward's weights do not matter"


def test_a_void_record_counts_without_a_step_and_without_weights() -> None:
    record = record_of(0, 0, FIRST, void="too large")
    state = apply_record(zero(), record, wire.encode(record), {}, toy.step)
    assert (state.version, toy.number(state.params["w"])) == (1, 5)


def test_histories_differ_in_order_and_in_a_single_byte() -> None:
    a, b = bytes(16), b"\x01" + bytes(15)
    assert len({next_chain(a, b"x"), next_chain(a, b"y"), next_chain(b, b"x"), a}) == 4
    assert next_chain(next_chain(a, b"x"), b"y") != next_chain(next_chain(a, b"y"), b"x")


def test_what_does_not_count_moves_only_the_position_on() -> None:
    state = pass_over(zero(), 3)
    assert (state.version, state.next_offset, state.chain) == (0, 3, bytes(16))
