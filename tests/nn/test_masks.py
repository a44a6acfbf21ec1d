"""Masks are the same bits on every machine, for ever, and are as good as chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akkafka.nn import kernels
from akkafka.nn.layer import Pass
from akkafka.nn.mask import Mask

from . import twin

KEYS = st.integers(0, 2**128 - 1)


def bits(key: int, size: int, keep: float = 0.5) -> str:
    """The mask as a word of 0 and 1."""
    return "".join("1" if kept else "0" for kept in Mask(keep, 1.0).apply(np.ones(size, np.float32), key))


def test_the_finalizer_is_that_of_splitmix64() -> None:
    """The first five numbers of the seed 1234567, as published with many implementations of SplitMix64."""
    state, gamma = 1234567, 0x9E3779B97F4A7C15
    numbers = [int(kernels.masks.mix(np.uint64((state + k * gamma) % 2**64))) for k in range(1, 6)]
    assert numbers == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_masks_are_what_they_have_always_been() -> None:
    """Worked out with Python's own whole numbers, from the formula alone."""
    assert bits(0, 40) == "0100111101110011000111100101001010110001"
    assert bits(2**128 - 1, 40) == "0100011010101111010111111100011011101100"
    assert bits(1 << 64, 40) == "1001101010101100000110000100100101101011"
    assert bits(0x0123456789ABCDEF0011223344556677, 41, keep=0.8) == "11010111100111101001101111111111111101101"


@given(KEYS, st.integers(0, 70), st.floats(0.01, 1.0))
def test_the_kernel_draws_the_mask_of_the_plain_twin(key: int, size: int, keep: float) -> None:
    x = np.arange(1, size + 1, dtype=np.float32)
    expected = np.where(twin.kept(key, (size,), keep), x * np.float32(1.7), np.float32(0))
    np.testing.assert_array_equal(Mask(keep, 1.7).apply(x, key), expected)


@given(KEYS)
def test_keeping_all_keeps_all(key: int) -> None:
    assert bits(key, 1001, keep=1.0) == "1" * 1001


@given(KEYS, st.integers(1, 60), st.integers(0, 60))
def test_an_elements_fate_does_not_depend_on_how_many_come_after_it(key: int, size: int, more: int) -> None:
    assert bits(key, size + more)[:size] == bits(key, size)


@pytest.mark.parametrize("keep", (0.1, 0.5, 0.8))
def test_the_fraction_kept_is_the_one_asked_for(keep: float) -> None:
    """200 keys of 5,000 elements: within 5 standard deviations, and spread as independent ones are."""
    counts = np.array([bits(key << 60, 5000, keep).count("1") for key in range(200)])
    deviation = (5000 * keep * (1 - keep)) ** 0.5
    assert abs(counts.mean() - 5000 * keep) < 5 * deviation / 200**0.5
    assert 0.75 < counts.std() / deviation < 1.25


def test_masks_of_neighbouring_keys_positions_and_elements_are_unrelated() -> None:
    size = 40_000
    base = Pass(True, 77)

    def signs(key: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return Mask(0.5, 2.0).apply(np.ones(size, np.float32), key).astype(np.float64) - 1

    others = [base.key + 1, base.key ^ (1 << 64), base.at(0).key, base.at(1).key, base.at(0).at(0).key]
    first = signs(base.key)
    related = [abs(float((first * signs(key)).mean())) for key in others]
    related += [abs(float((first[lag:] * first[:-lag]).mean())) for lag in (1, 2, 3, 10, 50)]
    assert max(related) < 5 / size**0.5
