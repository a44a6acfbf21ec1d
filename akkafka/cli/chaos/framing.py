"""Kafka's framing, as much as a proxy needs: whole requests and answers, what is asked, which answer belongs to it.

Source: the Kafka protocol guide. Each request and each answer is a 4-byte length and that many bytes. A request begins
with api key (2), api version (2) and correlation id (4), an answer with the correlation id. A broker answers the
requests of one connection in their order.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import Final

PRODUCE: Final = 0
FETCH: Final = 1
MAX_FRAME_BYTES: Final = 256 << 20  # more than a broker takes: whoever announces this speaks something else

_LENGTH = struct.Struct(">i")
_REQUEST = struct.Struct(">hhi")
_ANSWER = struct.Struct(">i")


class NotKafkaError(ValueError):
    """Bytes that are not framed as Kafka's."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The head of a request."""

    api_key: int
    api_version: int
    correlation_id: int


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The next frame with its length; None at the end of the stream, also in the middle of a frame."""
    try:
        head = await reader.readexactly(_LENGTH.size)
        (length,) = _LENGTH.unpack(head)
        if not _ANSWER.size <= length <= MAX_FRAME_BYTES:
            raise NotKafkaError(f"a frame of {length} bytes is announced")
        return head + await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return None


def asked(frame: bytes) -> Asked:
    """What a request asks; raises NotKafkaError if it is too short for that."""
    if len(frame) < _LENGTH.size + _REQUEST.size:
        raise NotKafkaError(f"a request of {len(frame)} bytes")
    return Asked(*_REQUEST.unpack_from(frame, _LENGTH.size))


def answered(frame: bytes) -> int:
    """Correlation id of an answer (`read_frame` has seen to it that there is one)."""
    return int(_ANSWER.unpack_from(frame, _LENGTH.size)[0])
