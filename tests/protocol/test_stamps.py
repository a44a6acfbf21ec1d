"""Times that a batch collects, one station at a time, and how many they may be."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from akkafka.protocol import wire
from akkafka.protocol.messages import Backward, DeadLetter
from akkafka.protocol.stamps import (
    EVERY,
    MAX_GATES,
    MOST,
    PER_STATION,
    arrived,
    begun,
    computed,
    leaving,
    sent,
    stations,
)
from tests.protocol.cases import EXAMPLES, RUN


def batch(stamps: tuple[int, ...] | None) -> Backward:
    return Backward(RUN, 0, 0, (), 0, None, stamps=stamps)


def test_a_station_adds_six_times_in_order() -> None:
    first = begun(EVERY, 1, time.time_ns())
    assert first is not None and len(first) == PER_STATION - 1
    out = leaving(batch(first))
    came = arrived(out, sent(out), time.time_ns())
    assert isinstance(came, Backward) and came.stamps is not None and len(came.stamps) == PER_STATION + 3
    there = leaving(replace(came, stamps=computed(came.stamps, (time.time_ns(), time.time_ns()))))
    assert there.stamps is not None and len(there.stamps) == 2 * PER_STATION
    assert list(there.stamps) == sorted(there.stamps) and there.stamps[:PER_STATION] == out.stamps
    assert stations(there.stamps, 0) is not None


def test_a_batch_without_stamps_gets_none_and_costs_nothing() -> None:
    message = batch(None)
    assert leaving(message) is message and arrived(message, (), 1) is message and sent(message) == ()
    assert computed(None, (1, 2)) is None
    letter = EXAMPLES["letter"]
    assert isinstance(letter, DeadLetter) and arrived(letter, (), 1) is letter


@pytest.mark.parametrize(("seq", "gates", "told"), [(0, 3, True), (1, 3, False), (EVERY, MAX_GATES, True)])
def test_one_batch_in_so_many_collects(seq: int, gates: int, told: bool) -> None:
    assert (begun(seq, gates, 1) is not None) == told
    assert begun(0, MAX_GATES + 1, 1) is None


def test_stamps_that_would_be_too_many_are_dropped_and_the_batch_goes_on() -> None:
    """A list of so many as a reader takes, and six more, would be refused by the next gate: the lane would stop."""
    for count in (MOST - PER_STATION + 1, MOST, 512):
        came = wire.decode(wire.encode(batch(tuple(range(count)))))
        assert isinstance(came, Backward)
        kept = arrived(came, (), 1)
        assert isinstance(kept, Backward) and kept.stamps is None
    whole = arrived(batch(tuple(range(MOST - PER_STATION))), (), 1)
    assert isinstance(whole, Backward)
    last = leaving(replace(whole, stamps=computed(whole.stamps, (1, 2))))
    assert last.stamps is not None and len(last.stamps) == MOST
    wire.decode(wire.encode(last))


@pytest.mark.parametrize("header", [b"soon", b"-5", b"9" * 40, b""])
def test_a_header_that_is_no_time_is_passed_over(header: bytes) -> None:
    came = arrived(batch((1,)), (("sent", header),), 7)
    assert isinstance(came, Backward) and came.stamps is not None and came.stamps[:3] == (1, 0, 7)
