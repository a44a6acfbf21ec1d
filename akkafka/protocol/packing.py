"""The writing half of the wire: msgpack in which the bytes of an array are copied once, from the array to the message.

msgpack's own packer would copy them three times. The form of an array is msgpack-numpy's, which reads what is written
here; the package's own decoder is not used on the wire, as it unpickles object arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgpack
import msgpack_numpy
import numpy as np

from akkafka.errors import ProtocolError
from akkafka.protocol.messages import Array

MAX_NDIM: Final = 8

DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    d.str: d
    for d in map(
        np.dtype,
        ("bool", "u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8"),
    )
}
"""What may travel, by numpy's code; little-endian only, so that equal arrays have equal bytes."""

_Part = bytes | memoryview


def checked(array: Array | None) -> Array | None:
    """`array` if it may travel; raises ProtocolError for a dtype that may not, or more than 8 dimensions."""
    if array is None:
        return None
    if array.dtype.str not in DTYPES:
        raise ProtocolError(
            f"arrays of dtype {array.dtype.str} do not travel; allowed: {', '.join(DTYPES)}",
            hint="Convert it first, as in x.astype('<f4').",
        )
    if array.ndim > MAX_NDIM:
        raise ProtocolError(f"an array of shape {array.shape} does not travel: at most {MAX_NDIM} dimensions")
    return array


def packed(head: bytes, plain: Mapping[str, Any], arrays: Mapping[str, Any]) -> bytes:
    """`head`, then one msgpack map of both: `plain` holds what msgpack knows, `arrays` arrays and what holds them.

    Raises ProtocolError for what msgpack cannot write.
    """
    try:
        written: bytes = msgpack.packb(plain, use_bin_type=True)
        behind_header = written[1 if len(plain) < 16 else 3 :]
        parts: list[_Part] = [head, _map_header(len(plain) + len(arrays)), behind_header]
        for name, value in arrays.items():
            parts.append(_name(name))
            _put(value, parts)
        return b"".join(parts)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ProtocolError(f"a message cannot be written: {error}") from error


def _put(value: Any, parts: list[_Part]) -> None:
    if isinstance(value, np.ndarray):
        checked(value)
        parts += (_array_header(value.dtype.str, value.shape, value.nbytes), np.ascontiguousarray(value).data)
    elif isinstance(value, Mapping):
        parts.append(_map_header(len(value)))
        for name, inner in value.items():
            parts.append(_name(name))
            _put(inner, parts)
    elif isinstance(value, list):
        parts.append(_list_header(len(value)))
        for inner in value:
            _put(inner, parts)
    else:
        parts.append(msgpack.packb(value, use_bin_type=True))


@lru_cache(maxsize=1024)
def _array_header(dtype: str, shape: tuple[int, ...], size: int) -> bytes:
    """All of msgpack-numpy's form but the data, which comes last in it; a network has few shapes, so they are kept."""
    form = msgpack_numpy.encode(np.empty(0, dtype))
    del form[b"data"]
    start: bytes = msgpack.packb({**form, b"shape": shape}, use_bin_type=True)[1:]
    return _map_header(len(form) + 1) + start + _name(b"data") + b"\xc6" + size.to_bytes(4, "big")


@lru_cache(maxsize=1024)
def _name(name: str | bytes) -> bytes:
    written: bytes = msgpack.packb(name, use_bin_type=True)
    return written


def _map_header(count: int) -> bytes:
    return bytes((0x80 | count,)) if count < 16 else b"\xde" + count.to_bytes(2, "big")


def _list_header(count: int) -> bytes:
    return bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
