"""A producer whose answers are lost, strange or late: retries are idempotent, doubt is an error, an error is final."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from akkafka.broker.base import DeliveryError, TopicPartition
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.producer import KafkaProducer
from tests.broker.scripted import LANES, TOPIC, Scripted, scripted

if TYPE_CHECKING:
    from tests.conftest import Run

LANE_0, LANE_1 = (TopicPartition(TOPIC, lane) for lane in range(LANES))


@asynccontextmanager
async def producing(*steps: str | int) -> AsyncIterator[tuple[KafkaProducer, Scripted]]:
    async with scripted(*steps) as server:
        broker = KafkaBroker(Connection(bootstrap_servers=f"127.0.0.1:{server.port}", delivery_timeout_s=20.0))
        try:
            yield await broker.producer("p"), server
        finally:
            await broker.close()


@pytest.mark.parametrize("trouble", ["hang up", "ignore", 6, 5, 7, 19])
def test_what_was_not_acknowledged_is_sent_again_with_the_same_sequence(run: Run, trouble: str | int) -> None:
    async def scene() -> None:
        async with producing("ack", trouble, trouble) as (producer, server):
            assert await producer.send(LANE_0, b"0") == 0
            sent = [producer.send(LANE_0, b"1"), producer.send(LANE_0, b"2")]
            assert await asyncio.gather(*sent) == [1, 2]
            assert await producer.send(LANE_0, b"3") == 3
            assert server.sequences == [(0, 0), (0, 1), (0, 1), (0, 1), (0, 3)]
            assert server.logs[0] == [1, 2, 1]
            assert not producer.broken

    run(scene())


@pytest.mark.parametrize("doubt", ["no offset", 46])
def test_an_acknowledgement_without_an_offset_is_a_delivery_error(run: Run, doubt: str | int) -> None:
    async def scene() -> None:
        async with producing(doubt) as (producer, _):
            with pytest.raises(DeliveryError, match="at which offset") as caught:
                await producer.send(LANE_0, b"x")
            assert producer.broken and "make a new producer" in caught.value.hint

    run(scene())


@pytest.mark.parametrize("code", [45, 47, 59, 29, 87, 2])
def test_a_refusal_breaks_the_producer_and_names_the_code(run: Run, code: int) -> None:
    async def scene() -> None:
        async with producing(code) as (producer, server):
            with pytest.raises(DeliveryError, match=rf"t\[0\].*code {code}"):
                await producer.send(LANE_0, b"x")
            assert producer.broken
            assert len(server.sequences) == 1

    run(scene())


def test_when_one_lane_fails_the_others_fail_with_it_and_nothing_more_is_sent(run: Run) -> None:
    async def scene() -> None:
        async with producing(45, "hold") as (producer, server):
            refused, in_flight = producer.send(LANE_0, b"refused"), producer.send(LANE_1, b"in flight")
            await asyncio.sleep(0)
            behind = producer.send(LANE_1, b"behind it")
            for future in (refused, in_flight, behind):
                with pytest.raises(DeliveryError, match=r"t\[0\]"):
                    await future
            with pytest.raises(DeliveryError, match="broken"):
                await producer.send(LANE_1, b"too late")
            assert producer.pending() == 0
            await server.hung_up.wait()
            assert server.sequences == [(0, 0), (1, 0)]

    run(scene())


def test_a_lane_is_sent_while_another_ones_answer_is_awaited(run: Run) -> None:
    async def scene() -> None:
        async with producing("hold", "hold") as (producer, server):
            sent = [producer.send(LANE_0, b"in flight"), producer.send(LANE_1, b"in flight too")]
            while len(server.sequences) < 2:
                await asyncio.wait(sent, timeout=0.01)
            assert not any(future.done() for future in sent)
            await producer.close(timeout=0.01)
            for future in sent:
                with pytest.raises(DeliveryError, match="closed before"):
                    await future

    run(scene())


def test_what_is_sent_in_one_turn_travels_as_one_batch(run: Run) -> None:
    async def scene() -> None:
        async with producing() as (producer, server):
            assert await asyncio.gather(*(producer.send(LANE_0, b"x") for _ in range(10))) == list(range(10))
            assert server.logs[0] == [10]

    run(scene())


def test_a_batch_ends_before_it_grows_beyond_its_bound(run: Run) -> None:
    async def scene() -> None:
        async with producing() as (producer, server):
            sent = [producer.send(LANE_0, bytes(400_000)) for _ in range(5)]
            assert await asyncio.gather(*sent) == list(range(5))
            assert server.logs[0] == [2, 2, 1]

    run(scene())


def test_a_batch_that_was_too_large_is_split_before_what_was_sent_later(run: Run) -> None:
    async def scene() -> None:
        async with producing(10) as (producer, server):
            sent = [producer.send(LANE_0, b"0"), producer.send(LANE_0, b"1")]
            await asyncio.sleep(0)  # both are in flight, in one batch
            sent.append(producer.send(LANE_0, b"2"))
            assert await asyncio.gather(*sent) == [0, 1, 2]
            assert server.logs[0] == [1, 1, 1]

    run(scene())


def test_records_beyond_the_topics_limit_fail_alone_and_use_up_no_sequence(run: Run) -> None:
    async def scene() -> None:
        async with producing(10, "ack", 10) as (producer, server):
            first, second = producer.send(LANE_0, b"0"), producer.send(LANE_0, b"1")
            assert await first == 0
            with pytest.raises(DeliveryError, match=r"max\.message\.bytes"):
                await second
            assert not producer.broken
            assert await producer.send(LANE_0, b"2") == 1
            assert server.sequences == [(0, 0), (0, 0), (0, 1), (0, 1)]

    run(scene())
