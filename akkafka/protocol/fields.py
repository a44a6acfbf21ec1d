"""Fields of a decoded message, read one by one; every doubt about what came is a ProtocolError that names the field."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from akkafka.data.epochs import Cursor
from akkafka.errors import ProtocolError
from akkafka.protocol import messages as m
from akkafka.protocol.packing import DTYPES, MAX_NDIM
from akkafka.protocol.tally import Tally

_U63: Final = (1 << 63) - 1
_SHOWN: Final = 60  # letters of what came that an error repeats: reasons end up in logs and in `dead`
_MISSING: Final = object()


class Fields:
    """The map that a message is made of. A field with a default is optional; one that nobody reads is passed over."""

    def __init__(self, fields: Any) -> None:
        if not isinstance(fields, dict):
            raise ProtocolError("a message is a map, this is not")
        self._fields = fields

    def _get(self, name: str, kind: type, default: Any = _MISSING) -> Any:
        value = self._fields.get(name, default)
        if value is _MISSING:
            raise ProtocolError(f"field {name!r} is missing")
        if not isinstance(value, kind):
            raise ProtocolError(f"field {name!r} is a {type(value).__name__}, takes {kind.__name__}")
        return value

    def number(self, name: str, default: Any = _MISSING) -> int:
        """A whole number, 0 to 2**63 - 1."""
        return whole(name, self._get(name, int, default))

    def text(self, name: str, default: Any = _MISSING) -> str:
        """A text."""
        value: str = self._get(name, str, default)
        return value

    def blob(self, name: str, *, length: int | None = None) -> bytes:
        """Bytes, just `length` of them if that is given."""
        value: bytes = self._get(name, bytes)
        if length is not None and len(value) != length:
            raise ProtocolError(f"field {name!r} has {len(value)} bytes, takes {length}")
        return value

    def items(self, name: str) -> list[Any]:
        """A list of anything that msgpack knows."""
        value: list[Any] = self._get(name, list)
        return value

    def table(self, name: str) -> dict[str, Any]:
        """A map with texts for keys, and for values anything that msgpack knows."""
        value: dict[str, Any] = self._get(name, dict)
        if not all(isinstance(key, str) for key in value):
            raise ProtocolError(f"field {name!r} has a key that is no text")
        return value

    def mode(self, name: str) -> m.Mode:
        """A mode by its name."""
        text = self.text(name)
        try:
            return m.Mode(text)
        except ValueError:
            raise ProtocolError(f"no mode {text[:_SHOWN]!r}") from None

    def run(self) -> m.Run:
        """Definition and incarnation, 16 bytes."""
        value = self.blob("run", length=16)
        return m.Run(value[:8], value[8:])

    def cursor(self, name: str) -> Cursor:
        """Epoch and batch."""
        epoch, batch = exactly(name, self.items(name), 2)
        return Cursor(whole(name, epoch), whole(name, batch))

    def tally(self) -> Tally | None:
        """What a batch brings; None if left out."""
        if "tally" not in self._fields:
            return None
        return Tally(*(whole("tally", number) for number in exactly("tally", self.items("tally"), 5)))

    def counts(self, name: str) -> tuple[int, ...]:
        """A list of numbers; empty if left out."""
        return tuple(whole(name, number) for number in self._get(name, list, []))

    def rows(self, name: str) -> tuple[tuple[int, ...], ...]:
        """A list of lists of numbers; empty if left out."""
        return tuple(Fields({name: row}).counts(name) for row in self._get(name, list, []))

    def hop(self, name: str) -> m.Hop:
        """One gate's entry of a trail."""
        return _hop(name, self.items(name))

    def trail(self) -> tuple[m.Hop, ...]:
        """All entries, no more than a network has gates."""
        hops = self.items("trail")
        if len(hops) > m.MAX_GATES:
            raise ProtocolError(f"field 'trail' has {len(hops)} entries, takes up to {m.MAX_GATES}")
        return tuple(_hop("trail", hop) for hop in hops)

    def parts(self, name: str) -> Fields | None:
        """The fields of a narrow array; None if it is none."""
        value = self._fields.get(name)
        return Fields(value) if isinstance(value, dict) and "form" in value else None

    def array(self, name: str) -> m.Array | None:
        """An array that is read-only and, but for a bool one's check, not looked into; None if left out."""
        value = self._fields.get(name)
        return None if value is None else _array(name, value)

    def arrays(self, name: str, default: Any = _MISSING) -> dict[str, m.Array]:
        """Arrays by name."""
        value = default if default is not _MISSING and name not in self._fields else self.table(name)
        return {key: _array(f"{name}.{key[:_SHOWN]}", inner) for key, inner in value.items()}

    def offsets(self, name: str) -> dict[int, int]:
        """Lane to offset, from a list of pairs; msgpack's maps have texts for keys here. No lane comes twice."""
        pairs = [exactly(name, pair, 2) for pair in self.items(name)]
        found = {whole(name, key): whole(name, value) for key, value in pairs}
        if len(found) != len(pairs):
            raise ProtocolError(f"field {name!r} names a lane twice")
        return found


def exactly(name: str, value: Any, count: int) -> list[Any]:
    """`value` if it is a list of so many."""
    if not isinstance(value, list) or len(value) != count:
        raise ProtocolError(f"field {name!r} is no list of {count}")
    return value


def whole(name: str, value: Any) -> int:
    """`value` if it is a whole number, 0 to 2**63 - 1: offsets, counts and versions are such."""
    if type(value) is not int:  # True is an int to isinstance
        raise ProtocolError(f"field {name!r} holds a {type(value).__name__} where a number belongs")
    if not 0 <= value <= _U63:
        raise ProtocolError(f"field {name!r} is {value}, takes 0 to {_U63}")
    return value


def _hop(name: str, value: Any) -> m.Hop:
    offset, version, chain = exactly(name, value, 3)
    if not isinstance(chain, bytes) or len(chain) != m.TRAIL_CHAIN_BYTES:
        raise ProtocolError(f"field {name!r} has no chain hash of {m.TRAIL_CHAIN_BYTES} bytes")
    return m.Hop(whole(name, offset), whole(name, version), chain)


def _array(name: str, value: Any) -> m.Array:
    """From msgpack-numpy's form; a view of the message's bytes."""
    if not isinstance(value, dict) or value.get(b"nd") is not True or value.get(b"kind", b"") != b"":
        raise ProtocolError(f"field {name!r} is no plain array")
    code, shape, data = value.get(b"type"), value.get(b"shape"), value.get(b"data")
    dtype = DTYPES.get(code) if isinstance(code, str) else None
    if dtype is None:
        raise ProtocolError(f"field {name!r} has a dtype that does not travel")
    if not isinstance(shape, list) or len(shape) > MAX_NDIM or not isinstance(data, bytes):
        raise ProtocolError(f"field {name!r} has no data, or no shape of up to {MAX_NDIM} dimensions")
    sizes = tuple(whole(name, size) for size in shape)
    if math.prod(sizes) * dtype.itemsize != len(data):
        raise ProtocolError(f"field {name!r}: {len(data)} bytes do not fill shape {sizes} of {dtype}")
    array = _view(name, data, dtype, sizes)
    if dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
        raise ProtocolError(f"field {name!r} holds bytes that are neither true nor false")
    return array


def _view(name: str, data: bytes, dtype: np.dtype[Any], sizes: tuple[int, ...]) -> m.Array:
    try:
        return np.ndarray(sizes, dtype, data)  # a buffer of bytes makes it read-only
    except (ValueError, OverflowError, MemoryError) as error:  # (0, 2**62) has no bytes and yet no numpy array
        raise ProtocolError(f"field {name!r}: shape {sizes} is beyond what numpy holds") from error
