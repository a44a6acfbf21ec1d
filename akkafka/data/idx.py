"""Reads IDX, the format of MNIST and its kin, and names every way in which such a file can be wrong.

Format: two zero bytes, a dtype code, the number of dimensions d, d big-endian uint32 sizes, then the values,
big-endian, last index fastest. Source: the MNIST database's own page (LeCun, Cortes, Burges), section "THE
IDX FILE FORMAT".
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akkafka.errors import DataError

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib's way to say: gzip header and CRC, any window
_HINT = "the file is cut short or damaged: fetch it anew, or delete it to have it downloaded"


def parse_idx(data: bytes, where: str) -> NDArray[Any]:
    """The array in the bytes of an IDX file, plain or gzipped; native byte order, C-contiguous, read-only.

    `where` names the file in errors. Never unpacks more than the header announces, whatever a gzip stream
    would give. Raises DataError for a wrong magic, dtype code or size, for missing or trailing bytes, and for
    gzip's own errors.
    """
    if data[:2] == GZIP_MAGIC:
        return _parse_gzip(data, where)
    dtype, shape, start = _header(data, where)
    expected = start + _byte_count(dtype, shape)
    if len(data) != expected:
        raise _wrong_length(where, len(data), expected, shape)
    return _array(data, dtype, shape, start)


def _parse_gzip(data: bytes, where: str) -> NDArray[Any]:
    stream = zlib.decompressobj(_GZIP_WINDOW)
    try:
        head = stream.decompress(data, 4 + 4 * 255)
        dtype, shape, start = _header(head, where)
        expected = start + _byte_count(dtype, shape)
        # one byte more than announced, so that a longer stream shows and the CRC at its end is checked
        room = min(max(expected - len(head), 0) + 1, sys.maxsize)
        body = stream.decompress(stream.unconsumed_tail, room)
    except zlib.error as error:
        raise DataError(f"{where}: not a sound gzip file: {error}", hint=_HINT) from error
    got = len(head) + len(body)
    if got != expected:
        raise _wrong_length(where, got, expected, shape, unpacked=True)
    if not stream.eof:
        raise DataError(f"{where}: the gzip file ends before its check sum", hint=_HINT)
    if stream.unused_data:
        raise DataError(f"{where}: {len(stream.unused_data)} bytes behind the end of the gzip stream", hint=_HINT)
    return _array(head + body, dtype, shape, start)


def _header(data: bytes, where: str) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """dtype, shape and the header's length in bytes."""
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in DTYPES:
        codes = ", ".join(f"{code:02x}" for code in DTYPES)
        raise DataError(
            f"{where}: not an IDX file: begins with {data[:4].hex(' ') or 'nothing'}, "
            f"expected 00 00, a dtype code ({codes}) and the number of dimensions",
            hint=_HINT,
        )
    dims = data[3]
    start = 4 + 4 * dims
    if dims < 1 or len(data) < start:
        raise DataError(f"{where}: an IDX header of {dims} dimensions takes {start} bytes, got {len(data)}", hint=_HINT)
    return np.dtype(DTYPES[data[2]]), struct.unpack_from(f">{dims}I", data, 4), start


def _byte_count(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    return math.prod(shape) * dtype.itemsize


def _array(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], start: int) -> NDArray[Any]:
    array = np.frombuffer(data, dtype, offset=start).reshape(shape)
    native = array.astype(dtype.newbyteorder("="), copy=False)
    native.flags.writeable = False
    return native


def _wrong_length(where: str, got: int, expected: int, shape: tuple[int, ...], *, unpacked: bool = False) -> DataError:
    kind = "truncated" if got < expected else "trailing bytes"
    at_least = "at least " if unpacked and got > expected else ""
    sizes = " x ".join(map(str, shape))
    return DataError(
        f"{where}: {kind}: got {at_least}{got} bytes{' unpacked' if unpacked else ''}, "
        f"expected {expected} for {sizes} values and their header",
        hint=_HINT,
    )
