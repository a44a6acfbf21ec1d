"""Every way in which an IDX file can be wrong has its message, and nothing but DataError ever comes out."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from akkafka.data.idx import parse_idx
from akkafka.errors import DataError
from tests.data.conftest import IDX_CODES, idx_bytes

ARRAYS = hnp.arrays(
    st.sampled_from(sorted(IDX_CODES)), hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6)
)
SAMPLE = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
PLAIN = idx_bytes(SAMPLE)
PACKED = gzip.compress(PLAIN, mtime=0)


@given(ARRAYS, st.booleans())
def test_what_was_written_is_read(array: NDArray[Any], packed: bool) -> None:
    data = idx_bytes(array)
    got = parse_idx(gzip.compress(data) if packed else data, "a file")
    assert got.dtype == array.dtype and got.dtype.isnative
    assert got.shape == array.shape
    assert got.tobytes() == array.tobytes()
    assert got.flags.c_contiguous and not got.flags.writeable


@given(ARRAYS, st.booleans(), st.data())
def test_a_file_cut_short_anywhere_is_told(array: NDArray[Any], packed: bool, data: st.DataObject) -> None:
    whole = gzip.compress(idx_bytes(array)) if packed else idx_bytes(array)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(DataError, match=r"^some\.gz: "):
        parse_idx(cut, "some.gz")


@given(st.data())
def test_a_flipped_bit_in_a_gzip_file_is_told_or_changes_nothing(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(PACKED) - 1))
    damaged = bytearray(PACKED)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        got = parse_idx(bytes(damaged), "some.gz")
    except DataError:
        return
    assert np.array_equal(got, SAMPLE)  # the header's time and system, which mean nothing


@given(st.binary(max_size=200), st.sampled_from([b"", b"\0\0\x08", b"\0\0\x08\x01", b"\x1f\x8b\x08\0"]))
def test_noise_gives_no_other_error_than_dataerror(noise: bytes, start: bytes) -> None:
    try:
        parse_idx(start + noise, "noise")
    except DataError as error:
        assert error.hint


def damaged_crc() -> bytes:
    return PACKED[:-8] + bytes([PACKED[-8] ^ 1]) + PACKED[-7:]


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "not an IDX file: begins with nothing, expected 00 00"),
        (b"\x89PNG....", "not an IDX file: begins with 89 50 4e 47"),
        (b"\0\0\x07\x01\0\0\0\0", "not an IDX file: begins with 00 00 07 01"),
        (b"\0\0\x08\0", "an IDX header of 0 dimensions takes 4 bytes"),
        (b"\0\0\x08\x03\0\0\0\x02", "an IDX header of 3 dimensions takes 16 bytes, got 8"),
        (PLAIN[:-1], "truncated: got 39 bytes, expected 40 for 2 x 3 x 4 values and their header"),
        (PLAIN + b"!!", "trailing bytes: got 42 bytes, expected 40"),
        (gzip.compress(PLAIN[:-3]), "truncated: got 37 bytes unpacked, expected 40"),
        (gzip.compress(PLAIN + b"!" * 99), "trailing bytes: got at least 139 bytes unpacked, expected 40"),
        (PACKED + b"!", "1 bytes behind the end of the gzip stream"),
        (PACKED + PACKED, f"{len(PACKED)} bytes behind the end of the gzip stream"),
        (damaged_crc(), "not a sound gzip file: .*incorrect data check"),
        (PACKED[:-4], "the gzip file ends before its check sum"),
        (idx_bytes(np.zeros((1,), np.uint8))[:4] + b"\xff\xff\xff\xff", "truncated: got 8 bytes, expected 4294967303"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_each_fault_is_named_with_file_and_sizes(data: bytes, named: str) -> None:
    with pytest.raises(DataError, match=f"^train.gz: {named}") as caught:
        parse_idx(data, "train.gz")
    assert "fetch it anew" in caught.value.hint


def test_a_header_of_astronomic_sizes_is_refused_not_allocated() -> None:
    head = bytes([0, 0, 0x0E, 255]) + b"\xff" * (4 * 255)
    for data in (head, gzip.compress(head), gzip.compress(head + b"\0" * 5000)):
        with pytest.raises(DataError, match="truncated"):
            parse_idx(data, "bomb")


def test_a_gzip_bomb_is_unpacked_no_further_than_its_header_announces() -> None:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as out:
        out.write(PLAIN)
        for _ in range(64):
            out.write(b"\0" * (1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="trailing bytes"):
            parse_idx(packed.getvalue(), "bomb")
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
