"""The two requests that every batch needs many of, as bytes: produce (version 7) and fetch (version 4).

Both versions are spoken by every Kafka since 2.1. All others are rare, and left to aiokafka's structs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from akkafka.broker.base import TopicPartition

PRODUCE, PRODUCE_VERSION = 0, 7
FETCH, FETCH_VERSION = 1, 4

_PRODUCE_END: Final = struct.Struct(">iii")  # partitions, partition, bytes
_FETCH_START: Final = struct.Struct(">iiiibi")  # replica, wait, least, most, isolation, topics
_FETCH_PART: Final = struct.Struct(">iqi")  # partition, offset, most
_FETCHED: Final = struct.Struct(">ihqq")  # partition, error, high watermark, last stable offset
_COUNT: Final = struct.Struct(">i")


def produce(where: TopicPartition, batch: Sequence[bytes], timeout_ms: int) -> list[bytes]:
    """A request's body: one batch for one partition, acknowledged by all replicas in sync."""
    topic = where[0].encode()
    head = struct.pack(">hhiih", -1, -1, timeout_ms, 1, len(topic)) + topic
    return [head + _PRODUCE_END.pack(1, where[1], sum(map(len, batch))), *batch]


def produced(answer: memoryview) -> tuple[int, int]:
    """(Error code, base offset) of the one partition. Raises struct.error or ValueError for what is no such answer."""
    topics, size = struct.unpack_from(">ih", answer)
    partitions, _, code, offset = struct.unpack_from(">iihq", answer, 6 + size)
    if (topics, partitions) != (1, 1):
        raise ValueError(f"an answer for {topics} topics and {partitions} partitions, asked was one of each")
    return code, offset


def fetch(
    parts: Mapping[str, Sequence[tuple[int, int, int]]], max_wait_ms: int, min_bytes: int, max_bytes: int
) -> bytes:
    """A request's body; `parts`: (partition, offset, bytes at most) by topic, served in this order."""
    pieces = [_FETCH_START.pack(-1, max_wait_ms, min_bytes, max_bytes, 0, len(parts))]
    for topic, rows in parts.items():
        name = topic.encode()
        pieces.append(struct.pack(">h", len(name)) + name + _COUNT.pack(len(rows)))
        pieces += [_FETCH_PART.pack(*row) for row in rows]
    return b"".join(pieces)


def fetched(answer: memoryview) -> Iterator[tuple[TopicPartition, int, memoryview]]:
    """(Partition, error code, record batches) of each. Raises struct.error or ValueError for what is no such answer."""
    at = 8  # behind the throttling
    for _ in _counted(answer, 4):
        (size,) = struct.unpack_from(">h", answer, at)
        topic = str(answer[at + 2 : at + 2 + size], "utf-8")
        at += 2 + size
        rows = _counted(answer, at)
        at += 4
        for _ in rows:
            number, code, _, _ = _FETCHED.unpack_from(answer, at)
            at += _FETCHED.size
            (aborted,) = _COUNT.unpack_from(answer, at)
            at += 4 + 16 * max(aborted, 0)
            (length,) = _COUNT.unpack_from(answer, at)
            at += 4
            if at + length > len(answer):
                raise ValueError("records reach beyond their answer")
            yield TopicPartition(topic, number), code, answer[at : at + max(length, 0)]
            at += max(length, 0)


def _counted(answer: memoryview, at: int) -> Iterable[int]:
    (count,) = _COUNT.unpack_from(answer, at)
    return range(count)
