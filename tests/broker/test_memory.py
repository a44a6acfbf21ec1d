"""Faults on demand: what a memory broker does when a test tells it to misbehave."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from akkafka.broker.base import BrokerUnavailableError, DeliveryError, TopicPartition, TopicSpec
from akkafka.broker.memory import MemoryBroker, MemoryProducer
from akkafka.broker.memory_log import MemoryLog

if TYPE_CHECKING:
    from tests.conftest import Run

A = TopicPartition("a", 0)


async def made() -> tuple[MemoryBroker, MemoryProducer]:
    broker = MemoryBroker()
    await broker.create([TopicSpec("a", 1), TopicSpec("b", 1)])
    return broker, await broker.producer("p")


def test_a_lost_acknowledgement_leaves_the_record_in_the_log_and_breaks_the_producer(run: Run) -> None:
    async def scene() -> None:
        broker, producer = await made()
        broker.faults.lose_ack("a")
        assert await producer.send(TopicPartition("b", 0), b"other topic") == 0
        with pytest.raises(DeliveryError):
            await producer.send(A, b"written")
        assert producer.broken
        assert broker.log.bounds(A) == (0, 1)
        assert await (await broker.producer("q")).send(A, b"again") == 1

    run(scene())


def test_a_refused_record_is_not_in_the_log(run: Run) -> None:
    async def scene() -> None:
        broker, producer = await made()
        broker.faults.refuse(times=1)
        with pytest.raises(DeliveryError):
            await producer.send(A, b"not written")
        assert broker.log.bounds(A) == (0, 0)

    run(scene())


def test_held_acknowledgements_come_in_order_when_they_are_released(run: Run) -> None:
    async def scene() -> None:
        broker, producer = await made()
        broker.faults.hold_acks()
        sent = [producer.send(A, b"%d" % n) for n in range(3)]
        await asyncio.sleep(0)
        assert not any(future.done() for future in sent)
        assert producer.pending() == 3
        assert broker.log.bounds(A) == (0, 3)
        broker.faults.release_acks()
        assert await asyncio.gather(*sent) == [0, 1, 2]
        assert producer.pending() == 0

    run(scene())


def test_a_failure_takes_down_what_was_sent_before_and_is_not_yet_acknowledged(run: Run) -> None:
    async def scene() -> None:
        broker, producer = await made()
        broker.faults.hold_acks()
        waiting = producer.send(TopicPartition("b", 0), b"waits")
        broker.faults.refuse("a")
        with pytest.raises(DeliveryError):
            await producer.send(A, b"refused")
        with pytest.raises(DeliveryError):
            await waiting
        broker.faults.release_acks()

    run(scene())


def test_closing_gives_up_held_acknowledgements(run: Run) -> None:
    async def scene() -> None:
        broker, producer = await made()
        broker.faults.hold_acks()
        sent = producer.send(A, b"x")
        await producer.close()
        with pytest.raises(DeliveryError, match="closed"):
            await sent

    run(scene())


def test_an_absent_broker_answers_nobody_until_it_is_back(run: Run) -> None:
    async def scene() -> None:
        broker, producer = await made()
        reader = await broker.reader("r")
        reader.assign({A: 0})
        broker.faults.away = True
        with pytest.raises(BrokerUnavailableError):
            await reader.poll(timeout=1)
        with pytest.raises(BrokerUnavailableError):
            await broker.bounds([A])
        with pytest.raises(DeliveryError):
            await producer.send(A, b"x")
        broker.faults.away = False
        await (await broker.producer("q")).send(A, b"y")
        assert [record.value for record in await reader.poll(timeout=1)] == [b"y"]

    run(scene())


def test_a_fault_of_one_broker_leaves_the_others_on_the_same_log_alone(run: Run) -> None:
    async def scene() -> None:
        log = MemoryLog()
        first, second = MemoryBroker(log), MemoryBroker(log)
        await first.create([TopicSpec("a", 1)])
        first.faults.away = True
        assert await (await second.producer("p")).send(A, b"x") == 0

    run(scene())


def test_a_member_that_vanished_keeps_its_lanes_until_its_session_is_ended(run: Run) -> None:
    async def scene() -> None:
        log = MemoryLog()
        log.create(TopicSpec("a", 2))
        gone, stays = MemoryBroker(log), MemoryBroker(log)
        vanished = await gone.join("g", "a", [0, 1])
        member = await stays.join("g", "a", [0, 1])
        assert len(await member.changed()) == 1
        log.leave("g", "a", vanished.member)
        assert await member.changed() == {0, 1}

    run(scene())


def test_a_poll_passes_over_what_compaction_has_removed(run: Run) -> None:
    async def scene() -> None:
        broker = MemoryBroker()
        await broker.create([TopicSpec("c", 1, {"cleanup.policy": "compact"})])
        where = TopicPartition("c", 0)
        producer, reader = await broker.producer("p"), await broker.reader("r")
        await producer.send(where, None, key=b"k")
        broker.log.compact("c")
        reader.assign({where: 0})
        assert await reader.poll(timeout=0.01) == []
        await producer.send(where, b"v", key=b"k")
        assert [record.offset for record in await reader.poll(timeout=1)] == [1]
        assert reader.position(where) == 2

    run(scene())
