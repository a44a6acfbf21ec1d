"""Partitions of which nothing comes are asked for apart from those of which something does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from akkafka.broker import reader as reader_module
from akkafka.broker.base import Producer
from akkafka.broker.reader import BUSY_LINE, QUIET_LINE, KafkaReader

from .contract import append, take, values
from .town import Asked, Town

if TYPE_CHECKING:
    from tests.conftest import Run

pytestmark = pytest.mark.kafka

LONG_MS = 120_000  # a long poll that no test waits for
SHORT_MS = 100


async def reader_of(town: Town, numbers: range, max_wait_ms: int) -> tuple[Producer, KafkaReader]:
    """A producer, and a reader of these partitions that does not hear it but from the log."""
    producer, reader = await town.broker().producer("p"), await town.broker().reader("r", max_wait_ms=max_wait_ms)
    reader.assign({town.part(number): 0 for number in numbers})
    return producer, reader


async def until_apart(asked: Asked, reader: KafkaReader, producer: Producer, town: Town) -> None:
    """Write to partition 0 until no request for it names another one."""
    while not asked.names or {0} not in asked.names[-2:]:
        await append(producer, town.part(0), [b"busy"])
        await take(reader, 1)


async def apart_for_long(asked: Asked, town: Town, patch: pytest.MonkeyPatch) -> tuple[Producer, KafkaReader]:
    """A producer and a reader of which a request for partitions 1 and 2 is in flight for two minutes; 0 is busy."""
    patch.setattr(reader_module, "QUIET_S", 0.2)
    producer, reader = await reader_of(town, range(3), LONG_MS)
    while {1, 2} not in asked.names:
        await append(producer, town.part(0), [b"busy"])
        await take(reader, 1)
    return producer, reader


def test_lanes_at_rest_do_not_travel_in_the_requests_for_the_others(
    run: Run, town: Town, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with town:
            producer, reader = await reader_of(town, range(3), SHORT_MS)
            await until_apart(asked, reader, producer, town)
            monkeypatch.setattr(reader_module, "QUIET_S", 60.0)  # who is busy now stays so
            reader._parts[town.part(1)].heard_at = reader._parts[town.part(2)].heard_at = -math.inf
            before = len(asked.requests)
            for number in range(20):
                await append(producer, town.part(0), [b"%d" % number])
                assert values(await take(reader, 1)) == [b"%d" % number]
            assert all(names in ({0}, {1, 2}) for names in asked.names[before:])
            assert len(asked.of(0)) > 20

    run(scene())


def test_what_comes_of_a_lane_at_rest_comes_at_once_and_it_is_at_rest_no_more(
    run: Run, town: Town, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with town:
            producer, reader = await apart_for_long(asked, town, monkeypatch)
            await append(producer, town.part(1), [b"awake"])
            assert values(await take(reader, 1)) == [b"awake"]
            monkeypatch.setattr(reader_module, "QUIET_S", 60.0)
            reader._parts[town.part(2)].heard_at = -math.inf
            await append(producer, town.part(0), [b"busy"])
            await append(producer, town.part(1), [b"too"])
            assert sorted(filter(None, values(await take(reader, 2)))) == [b"busy", b"too"]
            await append(producer, town.part(0), [b"busy"])
            await take(reader, 1)
            assert {0, 1} in asked.names[-3:]

    run(scene())


def test_where_nothing_comes_one_request_names_all(
    run: Run, town: Town, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "QUIET_S", 0.0)

    async def scene() -> None:
        async with town:
            producer, reader = await reader_of(town, range(3), SHORT_MS)
            while len(asked.requests) < 4:
                assert await reader.poll(timeout=0.05) == []
            assert all(names == {0, 1, 2} for names in asked.names[1:])
            (node,) = reader._link.nodes
            assert reader._link.channel(node, QUIET_LINE) is None  # nor does it take another connection
            await append(producer, town.part(2), [b"x"])
            assert values(await take(reader, 1)) == [b"x"]

    run(scene())


def test_what_is_asked_for_is_not_asked_for_once_more(
    run: Run, town: Town, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with town:
            producer, reader = await apart_for_long(asked, town, monkeypatch)
            reader._parts[town.part(1)].heard_at = math.inf  # as if a neighbour had written there
            before = len(asked.requests)
            for _ in range(3):
                await append(producer, town.part(0), [b"busy"])
                await take(reader, 1)
            assert asked.names[before:] == [{0}] * 3

    run(scene())


@pytest.mark.parametrize("line", [BUSY_LINE, QUIET_LINE])
def test_whichever_connection_is_lost_reading_goes_on(
    run: Run, town: Town, asked: Asked, monkeypatch: pytest.MonkeyPatch, line: int
) -> None:
    async def scene() -> None:
        async with town:
            producer, reader = await apart_for_long(asked, town, monkeypatch)
            (node,) = reader._link.nodes
            channel = reader._link.channel(node, line)
            assert channel is not None
            channel._transport.abort()
            await append(producer, town.part(0), [b"busy"])
            await append(producer, town.part(2), [b"at rest"])
            assert sorted(filter(None, values(await take(reader, 2)))) == [b"at rest", b"busy"]

    run(scene())
