"""Two codecs for the simulation: the real one with a memory, and a cheap one that keeps the message objects.

Cores never look into a record's bytes except to hash them, so a number that names the object is as good as its bytes:
every encoding gets a number of its own, equal bytes never stand for different messages, and messages are frozen. The
real codec runs in every Hypothesis example and in a share of the mass; it is tested for itself in tests/protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from akkafka.errors import ProtocolError
from akkafka.gate import snapshot
from akkafka.protocol import wire
from akkafka.protocol.messages import Message

_MAGIC = b"sim/"
_decode = wire.decode


class Remembering:
    """wire.decode, once for each value."""

    def __init__(self) -> None:
        self._known: dict[bytes, Message] = {}

    def decode(self, value: bytes | None) -> Message:
        found = self._known.get(value or b"")
        if found is None:
            found = self._known[value or b""] = _decode(value)
        return found


class Objects:
    """Numbers for messages."""

    def __init__(self) -> None:
        self._known: dict[bytes, Message] = {}

    def encode(self, message: Message) -> bytes:
        value = b"%s%d" % (_MAGIC, len(self._known))
        self._known[value] = message
        return value

    def decode(self, value: bytes | None) -> Message:
        found = self._known.get(value or b"")
        if found is None:
            raise wire.ForeignBytesError("no message of this simulation")
        return found


@contextmanager
def codec(*, real: bool) -> Iterator[None]:
    """Let all parts of akkafka use one of the two; snapshots are cut so small that they can be torn."""
    with pytest.MonkeyPatch.context() as patch:
        if real:
            patch.setattr(wire, "decode", Remembering().decode)
            patch.setattr(snapshot, "CHUNK_BYTES", 160)
        else:
            objects = Objects()
            patch.setattr(wire, "encode", objects.encode)
            patch.setattr(wire, "decode", objects.decode)
            patch.setattr(snapshot, "CHUNK_BYTES", 4)
        yield


def read(value: bytes | None) -> Message | None:
    """The message, or None for bytes that are none."""
    try:
        return wire.decode(value)
    except ProtocolError:
        return None
