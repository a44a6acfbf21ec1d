"""What counted records add up to: the same for every order of samples, another for every lost or repeated one."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from akkafka.data.epochs import Cursor, Plan, Shard
from akkafka.errors import ProtocolError
from akkafka.gate.snapshot import Shelf, to_records
from akkafka.gate.sums import BUCKETS, EXACT, LaneSums, Sums, bucket, bucket_name, read_sums
from akkafka.protocol.tally import Tally, planned, tally_of

from .bench import RUN, after, record_of, zero

FIRST = zero().hop(0)


def told(seq: int, tally: Tally | None, lane: int = 0, *, void: str = "", zeroed: str = "") -> Sums:
    return Sums().after(replace(record_of(seq, lane, FIRST, void=void, zeroed=zeroed), tally=tally), 0)


def summed(*tallies: Tally) -> Sums:
    sums = Sums()
    for seq, tally in enumerate(tallies):
        sums = sums.after(replace(record_of(seq, 0, FIRST), tally=tally), seq)
    return sums


def test_an_epoch_adds_up_to_the_same_in_whatever_batches_its_samples_came() -> None:
    large, small = (Plan(10, None, size, seed) for size, seed in ((6, 1), (3, 2)))
    one = summed(*(planned(large, Cursor(4, batch)) for batch in range(large.batches_per_epoch)))
    other = summed(*(planned(small, Cursor(4, batch)) for batch in range(small.batches_per_epoch)))
    assert (one.lane(0).samples, one.lane(0).ids) == (other.lane(0).samples, other.lane(0).ids)
    assert one.lane(0).samples == 10


@pytest.mark.parametrize("rows", [[0, 1, 1, 3], [0, 1, 2], [0, 1, 2, 4], [0, 1, 2, 3, 3, 3]])
def test_a_lost_a_repeated_or_another_sample_adds_up_to_something_else(rows: list[int]) -> None:
    assert tally_of(np.array(rows), 0, 0, 5).ids != tally_of(np.arange(4), 0, 0, 5).ids


def test_a_sample_lost_in_one_epoch_and_repeated_in_another_does_not_cancel_out() -> None:
    right = summed(tally_of(np.arange(4), 0, 0, 4), tally_of(np.arange(4), 1, 0, 4), tally_of(np.arange(1), 2, 0, 4))
    wrong = summed(
        tally_of(np.arange(3), 0, 0, 4), tally_of(np.array([0, 1, 2, 3, 3]), 1, 0, 4), tally_of(np.arange(1), 2, 0, 4)
    )
    assert right.lane(0).past_samples == wrong.lane(0).past_samples == 8
    assert right.lane(0).past_ids != wrong.lane(0).past_ids


def test_a_tally_names_the_rows_of_its_shard() -> None:
    tally = planned(Plan(100, Shard(20, 40), 8, 1), Cursor(0, 2))
    assert (tally.samples, tally.first, tally.beyond) == (4, 20, 40)


def test_void_records_bring_their_samples_and_no_staleness() -> None:
    tally = tally_of(np.arange(3), 0, 0, 3)
    sums = told(0, tally, void="not finite")
    assert (sums.lane(0).voided, sums.lane(0).samples, sum(sums.staleness)) == (1, 3, 0)


@pytest.mark.parametrize("tally", [tally_of(np.arange(3), 0, 0, 3), None])
def test_zeroed_records_are_steps_and_counted_besides(tally: Tally | None) -> None:
    sums = told(0, tally, zeroed="not finite")
    assert (sums.lane(0).zeroed, sums.lane(0).voided, sum(sums.staleness)) == (1, 0, 1)


def test_records_without_a_tally_are_known_to_be_untold() -> None:
    assert told(0, None).lane(0).told == 0
    assert told(0, None, lane=1).lanes == told(0, None, lane=1).lanes[:2]


def test_staleness_is_counted_in_places_without_gaps() -> None:
    places = [bucket(staleness) for staleness in range(5000)]
    assert places[:EXACT] == list(range(EXACT))
    assert all(later - now in (0, 1) for now, later in pairwise(places))
    assert bucket(1 << 60) == BUCKETS - 1
    assert [bucket_name(at) for at in (0, 15, 16, 17, BUCKETS - 1)] == ["0", "15", "16-31", "32-63", "8388608+"]
    assert (bucket(31), bucket(32)) == (16, 17)


def test_a_snapshot_brings_the_sums_back() -> None:
    state = after(zero(), replace(record_of(0, 1, FIRST), tally=Tally(3, 2, 99, 0, 80)))
    shelf = Shelf(RUN, 0, 2)
    for key, value in to_records(RUN, 0, "me", state, {}):
        shelf.put(key, value)
    found = shelf.newest()
    assert found is not None and found.state.sums == state.sums
    assert state.sums.lane(1).ids == 99 and state.sums.staleness[0] == 1


def test_sums_of_another_form_are_refused() -> None:
    assert read_sums((), ()) == Sums()
    for length in (2, 8, 11):
        with pytest.raises(ProtocolError, match="10 numbers a lane"):
            read_sums((tuple(range(length)),), ())


def test_sums_from_before_batches_were_zeroed_have_none() -> None:
    assert read_sums((tuple(range(9)),), ()).lane(0) == LaneSums(0, 1, 2, 3, 4, 5, 6, 7, 8, zeroed=0)
