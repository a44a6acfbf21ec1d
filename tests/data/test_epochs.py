"""A batch follows from its cursor; an epoch holds each sample of its shard once, however lanes share it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akkafka.data.dataset import Dataset
from akkafka.data.epochs import Cursor, Plan, Shard, permutation, take
from akkafka.errors import ConfigError, DataError


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    samples = draw(st.integers(1, 400))
    start = draw(st.integers(0, samples - 1))
    shard = draw(st.none() | st.builds(Shard, st.just(start), st.integers(start + 1, samples)))
    return Plan(samples, shard, draw(st.integers(1, 450)), draw(st.integers(0, 2**64 - 1)), draw(st.booleans()))


def epoch_of(plan: Plan, epoch: int) -> list[list[int]]:
    return [plan.ids(Cursor(epoch, batch)).tolist() for batch in range(plan.batches_per_epoch)]


@given(plans(), st.integers(0, 2**40))
def test_the_batches_of_an_epoch_hold_each_sample_of_the_shard_once(plan: Plan, epoch: int) -> None:
    rows = [row for batch in epoch_of(plan, epoch) for row in batch]
    assert sorted(rows) == list(range(plan.rows.start, plan.rows.stop))


@given(plans(), st.integers(0, 5))
def test_all_batches_but_the_last_are_full_and_none_is_empty(plan: Plan, epoch: int) -> None:
    sizes = [len(batch) for batch in epoch_of(plan, epoch)]
    assert set(sizes[:-1]) <= {plan.batch_size}
    assert 1 <= sizes[-1] <= plan.batch_size


@given(plans(), st.integers(1, 6))
def test_lanes_that_take_every_tth_batch_share_the_batches_without_loss_or_repeat(plan: Plan, lanes: int) -> None:
    epochs = 3
    counted = range(epochs * plan.batches_per_epoch)
    shares = [[k for k in counted if k % lanes == lane] for lane in range(lanes)]
    taken = [tuple(plan.ids(plan.cursor_of(k)).tolist()) for share in shares for k in share]
    whole = [tuple(batch) for epoch in range(epochs) for batch in epoch_of(plan, epoch)]
    assert sorted(taken) == sorted(whole)


@given(plans(), st.integers(0, 2**50))
def test_cursors_and_counted_batches_are_one_to_one(plan: Plan, k: int) -> None:
    cursor = plan.cursor_of(k)
    assert plan.index(cursor) == k
    assert 0 <= cursor.batch < plan.batches_per_epoch
    assert plan.cursor_of(k + 1) > cursor


@given(plans(), st.lists(st.integers(0, 40), min_size=1, max_size=12))
def test_a_batch_does_not_depend_on_what_was_read_before_it(plan: Plan, order: list[int]) -> None:
    for k in order:
        fresh = Plan(plan.samples, plan.shard, plan.batch_size, plan.seed, plan.shuffle)
        cursor = plan.cursor_of(k)
        assert plan.ids(cursor).tolist() == fresh.ids(cursor).tolist()


def test_batches_are_cut_from_the_permutation_and_offset_by_the_shard() -> None:
    plan = Plan(samples=100, shard=Shard(40, 51), batch_size=4, seed=9)
    order = permutation(11, 9, 2) + 40
    assert [plan.ids(Cursor(2, batch)).tolist() for batch in range(3)] == [
        order[:4].tolist(),
        order[4:8].tolist(),
        order[8:].tolist(),
    ]


def test_without_shuffling_rows_come_in_their_own_order_in_every_epoch() -> None:
    plan = Plan(samples=10, shard=Shard(2, 9), batch_size=3, seed=1, shuffle=False)
    assert epoch_of(plan, 0) == epoch_of(plan, 7) == [[2, 3, 4], [5, 6, 7], [8]]


def test_row_numbers_are_uint32_and_the_callers_own() -> None:
    for shuffle in (True, False):
        plan = Plan(samples=6, shard=None, batch_size=6, seed=0, shuffle=shuffle)
        ids = plan.ids(Cursor(0, 0))
        before = ids.tolist()
        ids[:] = 0
        assert ids.dtype == np.uint32
        assert plan.ids(Cursor(0, 0)).tolist() == before


def test_no_more_than_two_epochs_are_remembered() -> None:
    plan = Plan(samples=20, shard=None, batch_size=20, seed=0)
    for epoch in (0, 1, 0, 5, 4, 6, 5):
        plan.ids(Cursor(epoch, 0))
        assert len(plan._kept) <= 2


def test_two_lanes_across_an_epochs_border_sort_each_epoch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_epochs: list[int] = []

    def counting(n: int, seed: int, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
        sorted_epochs.append(epoch)
        return permutation(n, seed, epoch)

    monkeypatch.setattr("akkafka.data.epochs.permutation", counting)
    plan = Plan(samples=64, shard=None, batch_size=1, seed=0)
    for k in range(32, 160):
        plan.ids(plan.cursor_of(k))
        plan.ids(plan.cursor_of(k + 40))
    assert sorted_epochs == [0, 1, 2, 3]


@pytest.mark.parametrize("cursor", [Cursor(0, 3), Cursor(0, -1), Cursor(-1, 0)])
def test_a_cursor_outside_its_epoch_is_refused_by_name(cursor: Cursor) -> None:
    plan = Plan(samples=7, shard=None, batch_size=3, seed=0)
    with pytest.raises(ConfigError, match=f"no batch {cursor.batch} in epoch {cursor.epoch}: an epoch has 3 batches"):
        plan.ids(cursor)
    with pytest.raises(ConfigError):
        plan.index(cursor)


def test_a_negative_batch_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="got -1"):
        Plan(samples=7, shard=None, batch_size=3, seed=0).cursor_of(-1)


@pytest.mark.parametrize(
    ("samples", "shard", "batch_size", "seed", "named"),
    [
        (0, None, 1, 0, "1 to 4294967295 samples, got 0"),
        (2**32, None, 1, 0, "got 4294967296"),
        (5, None, 0, 0, "batch_size must be at least 1, got 0"),
        (5, None, 1, -1, "seed must be 0"),
        (5, None, 1, 2**64, "seed must be 0"),
        (5, Shard(2, 6), 1, 0, "shard 2:6 reaches behind the data set's 5 samples"),
    ],
)
def test_a_plan_without_batches_is_refused_by_name(
    samples: int, shard: Shard | None, batch_size: int, seed: int, named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        Plan(samples, shard, batch_size, seed)


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_a_shard_is_read_as_it_is_written(start: int, length: int) -> None:
    shard = Shard(start, start + length)
    assert Shard.parse(str(shard)) == shard
    assert len(shard) == length


@pytest.mark.parametrize(
    "text", ["", ":", "5", "1:", ":5", "a:b", "1:2:3", "-1:4", "1.0:2", "٣:٩", "1:99999999999", "1:2\n3"]
)
def test_what_is_no_range_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="is not of the form <start>:<stop>") as caught:
        Shard.parse(text)
    assert "0:30000" in caught.value.hint


@pytest.mark.parametrize("text", ["3:3", "4:3"])
def test_an_empty_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f"shard {text} holds no row"):
        Shard.parse(text)


def test_a_shard_behind_the_end_is_refused_when_the_size_is_told() -> None:
    assert Shard.parse("0:5", samples=5) == Shard(0, 5)
    with pytest.raises(ConfigError, match="reaches behind the data set's 4 samples"):
        Shard.parse("0:5", samples=4)


def numbered(n: int) -> Dataset:
    x = np.arange(n * 6, dtype=np.float32).reshape(n, 2, 3)
    return Dataset("numbered", "train", x, np.arange(n, dtype=np.int32), classes=n)


@given(st.lists(st.integers(0, 9), max_size=20))
def test_take_gathers_rows_in_the_order_asked_for(rows: list[int]) -> None:
    dataset = numbered(10)
    x, y = take(dataset, np.array(rows, dtype=np.uint32))
    assert y.tolist() == rows
    assert np.array_equal(x, dataset.x[rows])
    assert x.shape == (len(rows), 2, 3)
    assert x.flags.c_contiguous and x.flags.owndata and x.flags.writeable
    assert (x.dtype.name, y.dtype.name) == ("float32", "int32")


def test_take_of_a_row_that_is_not_there_names_the_data_set() -> None:
    with pytest.raises(DataError, match=r"'numbered', split 'train'.*not among its 10 samples"):
        take(numbered(10), np.array([3, 10], dtype=np.uint32))
