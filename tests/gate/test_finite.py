"""One entry that is not finite is found wherever it stands, and a sum that overflows is no such entry."""

from __future__ import annotations

import numpy as np
import pytest

from akkafka.gate.finite import finite, not_finite


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("at", [0, 517, 999])
def test_a_single_entry_that_is_not_finite_is_found(bad: float, at: int) -> None:
    array = np.ones(1000, np.float32)
    assert finite(array)
    array[at] = bad
    assert not finite(array)


def test_infinities_that_would_cancel_out_are_found() -> None:
    assert not finite(np.array([np.inf, -np.inf], np.float32))


def test_large_entries_whose_sum_overflows_are_finite() -> None:
    assert finite(np.full(10, 3e38, np.float32))


@pytest.mark.parametrize("array", [np.zeros((0, 3), np.float32), np.arange(3), np.ones(2, bool)])
def test_what_has_no_such_entries_is_finite(array: np.ndarray) -> None:
    assert finite(array)


def test_the_array_is_named() -> None:
    good, bad = np.ones(3, np.float32), np.array([1, np.nan], np.float32)
    assert not_finite({"0.weight": good, "0.bias": bad, "1.weight": bad}) == "0.bias"
    assert not_finite({"0.weight": good}) == ""
