"""Reading stretches of the log to their end: for start-up, recovery, status and audit."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from akkafka.broker.base import (
    FETCH_AHEAD_BYTES,
    Broker,
    BrokerUnavailableError,
    OffsetGoneError,
    Reader,
    Record,
    TopicPartition,
)

_PATIENCE_S = 30.0


@asynccontextmanager
async def reading(broker: Broker, name: str, ahead_bytes: int = FETCH_AHEAD_BYTES) -> AsyncIterator[Reader]:
    """A reader for a moment."""
    reader = await broker.reader(name, max_wait_ms=20, ahead_bytes=ahead_bytes)
    try:
        yield reader
    finally:
        await reader.close()


async def follow(reader: Reader, timeout: float) -> Sequence[Record]:
    """What comes within `timeout` seconds of topics that are bounded by time and bytes.

    Who was too slow, or asleep, goes on with the first record that is held. Raises BrokerUnavailableError.
    """
    try:
        return await reader.poll(timeout=timeout)
    except OffsetGoneError as error:
        reader.assign({error.where: error.low})
        return []


async def read_range(reader: Reader, where: TopicPartition, start: int, end: int) -> AsyncIterator[Record]:
    """Records of one partition from `start` to before `end`, as they come."""
    if start >= end:
        return
    reader.assign({where: start})
    while reader.position(where) < end:
        for record in await reader.poll(timeout=_PATIENCE_S):
            if record.where == where and record.offset < end:
                yield record


async def read_to_end(broker: Broker, reader: Reader, where: TopicPartition, start: int = 0) -> AsyncIterator[Record]:
    """Records of one partition from `start` (or the first held) to the end as it is now."""
    low, high = (await broker.bounds([where]))[where]
    async for record in read_range(reader, where, max(start, low), high):
        yield record


async def last_records(
    broker: Broker, reader: Reader, parts: Collection[TopicPartition], count: int = 1
) -> dict[TopicPartition, list[Record]]:
    """The last `count` records of each partition, oldest first; empty lists where nothing is held."""
    found: dict[TopicPartition, list[Record]] = {where: [] for where in parts}
    bounds = await broker.bounds(list(parts))
    open_ = {where: high for where, (low, high) in bounds.items() if high > low}
    if not open_:
        return found
    reader.assign({where: max(bounds[where][0], high - count) for where, high in open_.items()})
    until = time.monotonic() + _PATIENCE_S
    while any(reader.position(where) < high for where, high in open_.items()):
        if time.monotonic() > until:
            raise BrokerUnavailableError(f"the ends of {len(open_)} partitions did not come within {_PATIENCE_S:g} s")
        for record in await reader.poll(timeout=1.0):
            if record.where in open_ and record.offset < open_[record.where]:
                found[record.where].append(record)
    return found
