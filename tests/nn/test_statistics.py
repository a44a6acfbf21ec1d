"""Buffers follow the batches' statistics."""

from __future__ import annotations

import numpy as np
import pytest

from akkafka.errors import ShapeError
from akkafka.nn.layer import F32
from akkafka.nn.statistics import follow_statistics

OLD, STAT = np.array([1, -2, 3], np.float32), np.array([5, 6, -7], np.float32)


def test_a_buffer_moves_by_its_momentum_towards_the_statistic() -> None:
    old, stat = OLD.copy(), STAT.copy()
    params, grads = {"1.mean": old, "0.weight": OLD}, {"1.mean": stat, "0.weight": OLD}
    new = follow_statistics(params, grads, {"1.mean": 0.25})
    assert new.keys() == {"1.mean"}
    assert new["1.mean"].dtype == np.float32
    np.testing.assert_array_equal(new["1.mean"], [2, 0, 0.5])
    np.testing.assert_array_equal(old, OLD)
    np.testing.assert_array_equal(stat, STAT)


@pytest.mark.parametrize(("momentum", "expected"), ((0.0, OLD), (1.0, STAT)))
def test_momentum_0_keeps_the_old_and_1_takes_the_new(momentum: float, expected: F32) -> None:
    new = follow_statistics({"m": OLD}, {"m": STAT}, {"m": momentum})
    np.testing.assert_array_equal(new["m"], expected)


def test_without_buffers_nothing_follows() -> None:
    assert follow_statistics({"w": OLD}, {"w": STAT}, {}) == {}


def test_a_statistic_that_is_missing_or_of_another_shape_is_refused_by_name() -> None:
    for grads in ({}, {"1.mean": STAT[:2]}):
        with pytest.raises(ShapeError, match=r"1\.mean: got .* takes \(3,\)"):
            follow_statistics({"1.mean": OLD}, grads, {"1.mean": 0.1})
