"""float32 to fewer bits and back, against numpy's float16 and against plain arithmetic on bits, number by number."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from akkafka.nn import kernels
from akkafka.nn.layer import F32

U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
BLOCK = 4096  # of the kernels: lengths around it are tried
MOST = np.finfo(np.float32).max
any_bits = hnp.arrays(np.uint32, st.integers(1, 40), elements=st.integers(0, 2**32 - 1))
quiet = settings(deadline=None)


def bits_of(x: F32) -> U32:
    return x.view(np.uint32)


def bfloat16(x: F32) -> U16:
    out = np.empty(x.shape, np.uint16)
    kernels.casts.to_bfloat16(x, out)
    return out


def float16(x: F32) -> U16:
    out = np.empty(x.shape, np.uint16)
    kernels.casts.to_float16(x, out)
    return out


def from_bfloat16(x: U16) -> F32:
    out = np.empty(x.shape, np.float32)
    kernels.casts.from_bfloat16(x, out)
    return out


def from_float16(x: U16) -> F32:
    out = np.empty(x.shape, np.float32)
    kernels.casts.from_float16(x, out)
    return out


def nearest_bfloat16(bits: int) -> int:
    """By exact arithmetic: the neighbour below or above, whichever is nearer; of equals the even one."""
    low = bits >> 16
    number, below, above = (
        struct.unpack("<d", struct.pack("<d", _value(word)))[0] for word in (bits, low << 16, (low + 1) << 16)
    )
    if number - below == above - number:
        return low + (low & 1)
    return low if number - below < above - number else low + 1


def _value(bits: int) -> float:
    """Of a float32 without its sign, as if its exponents went on: infinity is the number that would come next."""
    exponent, fraction = bits >> 23, bits & 0x7FFFFF
    return math.ldexp(fraction, -149) if exponent == 0 else math.ldexp(0x800000 | fraction, exponent - 150)


@quiet
@given(any_bits)
def test_bfloat16_is_the_nearest_one_of_equals_the_even_one(bits: U32) -> None:
    for number, got in zip(bits.tolist(), bfloat16(bits.view(np.float32)).tolist(), strict=True):
        sign, size = number >> 31 << 15, number & 0x7FFFFFFF
        if size > 0x7F800000:
            assert got & 0x7FFF > 0x7F80, "not-a-number stays one"
            assert got & 0x40, "and is quiet"
        else:
            assert got == sign | (0x7F80 if size == 0x7F800000 else nearest_bfloat16(size))


def test_every_bfloat16_comes_back_as_itself() -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    wide = from_bfloat16(every)
    assert (bits_of(wide) == every.astype(np.uint32) << 16).all()
    numbers = ~np.isnan(wide)
    assert (bfloat16(wide) == every)[numbers].all()


@quiet
@given(any_bits)
def test_float16_is_numpys(bits: U32) -> None:
    x = bits.view(np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        expected = x.astype(np.float16)
    number = ~np.isnan(x)
    assert (float16(x) == expected.view(np.uint16))[number].all()
    assert np.isnan(float16(x).view(np.float16)[~number]).all()


def test_float16_is_numpys_at_every_number_half_way_and_its_neighbours() -> None:
    """Both neighbours of each tie between two float16, subnormal ones, and the tie to infinity included."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = halves + (np.append(halves[1:], np.float32(65536)) - halves) / 2
    x = np.concatenate([halves, ties, np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(np.inf))])
    x = np.concatenate([x, -x])
    with np.errstate(over="ignore", under="ignore"):
        assert (float16(x) == x.astype(np.float16).view(np.uint16)).all()


def test_every_float16_comes_back_as_numpys() -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    wide, expected = from_float16(every), every.view(np.float16).astype(np.float32)
    number = ~np.isnan(expected)
    assert (bits_of(wide) == bits_of(expected))[number].all()
    assert np.isnan(wide[~number]).all()


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_blocks_join_without_a_seam(size: int) -> None:
    x = np.random.default_rng(size).standard_normal(size, dtype=np.float32)
    assert (float16(x) == x.astype(np.float16).view(np.uint16)).all()
    assert (from_float16(float16(x)) == x.astype(np.float16).astype(np.float32)).all()


def int8(x: F32) -> tuple[NDArray[np.int8], F32, F32]:
    values, scale, back = np.empty(x.shape, np.int8), np.empty(len(x), np.float32), np.empty(x.shape, np.float32)
    kernels.casts.to_int8(x, values, scale)
    kernels.casts.from_int8(values, scale, back)
    return values, scale, back


finite_rows = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=st.floats(-(2.0**100), 2.0**100, width=32)
)


@quiet
@given(finite_rows)
def test_int8_is_what_numpy_makes_of_each_row_and_near_to_it(x: F32) -> None:
    values, scale, back = int8(x)
    for row, q, s, again in zip(x, values, scale, back, strict=True):
        assert s == np.float32(np.abs(row).max() / np.float32(127))
        if s == 0:
            assert not q.any()
            continue
        with np.errstate(over="ignore", under="ignore"):
            assert (q == np.clip(np.rint(row / s), -127, 127).astype(np.int8)).all()
            assert (again == q.astype(np.float32) * s).all()
        if s > np.finfo(np.float32).tiny:
            assert (np.abs(again - row) <= 0.5001 * s).all()


def test_the_greatest_of_a_row_comes_back_and_rows_do_not_meet() -> None:
    x = np.array([[1.0, -127.0, 0.4], [1e-3, 0.0, -1e-3], [0.0, 0.0, 0.0]], np.float32)
    values, scale, back = int8(x)
    assert values.tolist() == [[1, -127, 0], [127, 0, -127], [0, 0, 0]]
    assert scale.tolist() == [1.0, np.float32(1e-3) / np.float32(127), 0.0]
    assert back[0].tolist() == [1.0, -127.0, 0.0] and not back[2].any()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_with_what_is_not_finite_is_not_a_number_and_no_other_row_is(bad: float) -> None:
    values, scale, back = int8(np.array([[1.0, bad], [2.0, MOST]], np.float32))
    assert scale[1] * np.float32(127) <= MOST, "or the greatest number would come back infinite"
    assert np.isnan(scale[0]) and not values[0].any() and np.isnan(back[0]).all()
    assert np.isfinite(back[1]).all() and values[1].tolist() == [0, 127]
