"""Record batches of Kafka's format 2 (KIP-98): what a produce request carries and a fetch answer brings.

aiokafka's compiled record code is sound but checks and makes checksums in software, 0.17 ms for 200 KB; with the
processor's own instruction it is a tenth. Batches that a foreign producer has compressed are still left to it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords
from crc32c import crc32c

from akkafka.broker.base import Headers, Record

_PREFIX: Final = struct.Struct(">qiibI")  # base offset, length, leader's epoch, magic, crc
_REST: Final = struct.Struct(">hiqqqhii")  # attributes … record count: what the checksum covers, but for the records
_WHOLE: Final = struct.Struct(">qiibIhiqqqhii")
_LENGTH_AT, _HEAD_BYTES = 12, 61  # the length counts what lies behind itself
_MAGIC: Final = 2
_COMPRESSED, _CONTROL = 0x07, 0x20  # bits of the attributes
_MOST_VARINT_BYTES: Final = 10

Content = tuple[int, bytes | None, bytes | None, Headers]
"""Timestamp in ms, key, value, headers."""


def encoded(records: Sequence[Content], producer: int, epoch: int, sequence: int) -> list[bytes]:
    """A batch's bytes, in pieces: values are not copied. `producer`, `epoch`, `sequence`: of an idempotent producer."""
    first = records[0][0]
    pieces: list[bytes] = []
    for number, (timestamp, key, value, headers) in enumerate(records):
        before = b"".join((b"\x00", _varint(timestamp - first), _varint(number), _sized(key), _length(value)))
        after = b"".join((_varint(len(headers)), *(_sized(name.encode()) + _sized(what) for name, what in headers)))
        pieces.append(_varint(len(before) + len(value or b"") + len(after)) + before)
        pieces.append(value or b"")
        pieces.append(after)
    latest = max(timestamp for timestamp, *_ in records)
    rest = _REST.pack(0, len(records) - 1, first, latest, producer, epoch, sequence, len(records))
    checksum = crc32c(rest)
    for piece in pieces:
        checksum = crc32c(piece, checksum)
    size = _HEAD_BYTES - _LENGTH_AT + sum(map(len, pieces))
    return [_PREFIX.pack(0, size, -1, _MAGIC, checksum) + rest, *pieces]


def batches(data: memoryview, topic: str, partition: int, at: int) -> Iterator[tuple[list[Record], int]]:
    """Of each whole batch in a fetch answer: its records from offset `at` on, and the offset behind it.

    The last batch may be cut off by the answer's size: it comes whole with the next one. Raises
    CorruptRecordException, ValueError, IndexError or struct.error for what is no batch, after the batches before it.
    """
    begin = 0
    while len(data) - begin >= _HEAD_BYTES:
        offset, length, _, magic, checksum, attributes, last, stamp, *_, count = _WHOLE.unpack_from(data, begin)
        if length < _HEAD_BYTES - _LENGTH_AT:
            raise CorruptRecordException(f"a batch of {length} bytes")
        end = begin + _LENGTH_AT + length
        if end > len(data):
            return
        if magic != _MAGIC:
            raise CorruptRecordException(f"it is of format {magic}, expected {_MAGIC}")
        if crc32c(data[begin + _PREFIX.size : end]) != checksum:
            raise CorruptRecordException("its checksum is wrong")
        found: Iterable[Record] = ()
        if attributes & _COMPRESSED:
            found = _unpacked(data[begin:end], topic, partition)
        elif not attributes & _CONTROL:
            found = _records(data[begin + _HEAD_BYTES : end], topic, partition, offset, stamp, count)
        yield [record for record in found if record.offset >= at], offset + last + 1
        begin = end


def _records(data: memoryview, topic: str, partition: int, base: int, stamp: int, count: int) -> Iterator[Record]:
    at = 0
    for _ in range(count):
        size, at = _read_varint(data, at)
        end = at + size
        if size < 1 or end > len(data):
            raise ValueError("a record reaches beyond its batch")
        later, at = _read_varint(data, at + 1)
        number, at = _read_varint(data, at)
        key, at = _read_sized(data, at)
        value, at = _read_sized(data, at)
        headers, at = _read_headers(data, at)
        yield Record(topic, partition, base + number, value, key, headers, stamp + later)
        at = end


def _unpacked(batch: memoryview, topic: str, partition: int) -> Iterator[Record]:
    whole: Any = MemoryRecords(bytes(batch)).next_batch()
    if not whole.is_control_batch:
        for raw in whole:
            yield Record(topic, partition, raw.offset, raw.value, raw.key, tuple(raw.headers), raw.timestamp)


def _varint(number: int) -> bytes:
    """Zigzag, seven bits a byte, lowest first."""
    left = (number << 1) ^ (number >> 63)
    if left < 0x80:
        return bytes((left,))
    out = bytearray()
    while left >= 0x80:
        out.append(0x80 | (left & 0x7F))
        left >>= 7
    out.append(left)
    return bytes(out)


def _length(content: bytes | None) -> bytes:
    return b"\x01" if content is None else _varint(len(content))  # \x01: -1


def _sized(content: bytes | None) -> bytes:
    return _length(content) + (content or b"")


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    found = shift = 0
    for place in range(at, at + _MOST_VARINT_BYTES):
        byte = data[place]
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (found >> 1) ^ -(found & 1), place + 1
        shift += 7
    raise ValueError("a number of more than 64 bits")


def _read_sized(data: memoryview, at: int) -> tuple[bytes | None, int]:
    size, at = _read_varint(data, at)
    if size < 0:
        return None, at
    if at + size > len(data):
        raise ValueError("a field reaches beyond its batch")
    return bytes(data[at : at + size]), at + size


def _read_headers(data: memoryview, at: int) -> tuple[Headers, int]:
    count, at = _read_varint(data, at)
    found: list[tuple[str, bytes]] = []
    for _ in range(count):
        name, at = _read_sized(data, at)
        what, at = _read_sized(data, at)
        found.append(((name or b"").decode(), what or b""))
    return tuple(found), at
