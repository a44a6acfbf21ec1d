"""Every promise of akkafka.broker.base about reading, kept by the memory broker and by a real Kafka."""

from __future__ import annotations

import asyncio

import pytest

from akkafka.broker.base import OffsetGoneError, TopicPartition
from akkafka.errors import BrokerError

from .contract import LIMIT, World, append, take, values


def test_a_poll_that_waits_is_woken_by_a_record_from_another_process(world: World) -> None:
    async def scene() -> None:
        broker, other = world.broker(), world.broker()
        where = TopicPartition(await world.topic(broker), 0)
        reader, producer = await broker.reader("r"), await other.producer("p")
        reader.assign({where: 0})
        waiting = asyncio.create_task(take(reader, 1))
        await asyncio.sleep(0)
        await producer.send(where, b"awake")
        assert values(await waiting) == [b"awake"]

    world.run(scene())


def test_a_poll_without_records_returns_empty_after_its_time(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        where = TopicPartition(await world.topic(broker), 0)
        reader = await broker.reader("r")
        assert await reader.poll(timeout=0) == []
        reader.assign({where: 0})
        assert await reader.poll(timeout=0.01) == []
        assert reader.position(where) == 0

    world.run(scene())


def test_a_poll_gives_at_most_what_was_asked_for_and_the_position_follows(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        where = TopicPartition(await world.topic(broker), 0)
        producer, reader = await broker.producer("p"), await broker.reader("r")
        await append(producer, where, [b"%d" % n for n in range(10)])
        reader.assign({where: 2})
        got = await reader.poll(timeout=LIMIT, max_records=3)
        assert [record.offset for record in got] == [2, 3, 4]
        assert reader.position(where) == 5
        assert [record.offset for record in await take(reader, 5)] == [5, 6, 7, 8, 9]
        assert reader.position(where) == 10

    world.run(scene())


def test_no_partition_starves_while_another_is_full(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        name = await world.topic(broker, partitions=2)
        busy, quiet = TopicPartition(name, 0), TopicPartition(name, 1)
        producer, reader = await broker.producer("p"), await broker.reader("r")
        await append(producer, busy, [bytes(50_000)] * 60)
        await append(producer, quiet, [b"me too"])
        reader.assign({busy: 0, quiet: 0})
        got = await take(reader, 8, max_records=2)
        assert quiet in {record.where for record in got}

    world.run(scene())


def test_after_assign_nothing_that_was_fetched_before_is_returned(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        name = await world.topic(broker, partitions=2)
        first, second = TopicPartition(name, 0), TopicPartition(name, 1)
        producer, reader = await broker.producer("p"), await broker.reader("r")
        await append(producer, first, [b"%d" % n for n in range(20)])
        await append(producer, second, [b"other"])
        reader.assign({first: 0, second: 0})
        await take(reader, 2, max_records=1)
        reader.assign({first: 15})
        assert [record.offset for record in await take(reader, 5)] == [15, 16, 17, 18, 19]
        reader.assign({first: 3})
        assert [record.offset for record in await take(reader, 4, max_records=4)] == [3, 4, 5, 6]
        reader.assign({})
        assert await reader.poll(timeout=0.01) == []
        with pytest.raises(BrokerError, match="does not read"):
            reader.position(first)

    world.run(scene())


def test_an_assign_while_a_poll_waits_takes_effect_in_that_poll(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        name = await world.topic(broker, partitions=2)
        empty, full = TopicPartition(name, 0), TopicPartition(name, 1)
        producer, reader = await broker.producer("p"), await broker.reader("r")
        await append(producer, full, [b"here"])
        reader.assign({empty: 0})
        waiting = asyncio.create_task(take(reader, 1))
        await asyncio.sleep(0)
        reader.assign({full: 0})
        assert values(await waiting) == [b"here"]

    world.run(scene())


def test_a_paused_partition_gives_nothing_and_goes_on_where_it_was(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        name = await world.topic(broker, partitions=2)
        held, free = TopicPartition(name, 0), TopicPartition(name, 1)
        producer, reader = await broker.producer("p"), await broker.reader("r")
        await append(producer, held, [b"0", b"1", b"2"])
        await append(producer, free, [b"free"])
        reader.assign({held: 0, free: 0})
        reader.pause([held, TopicPartition("not-assigned", 0)])
        assert values(await take(reader, 1)) == [b"free"]
        assert await reader.poll(timeout=0.01) == []
        reader.resume([held])
        first = await take(reader, 1, max_records=1)
        reader.pause([held])
        assert await reader.poll(timeout=0.01) == []
        assert reader.position(held) == 1
        reader.resume([held, TopicPartition("not-assigned", 0)])
        assert values(first + await take(reader, 2)) == [b"0", b"1", b"2"]

    world.run(scene())


def test_what_lies_in_a_paused_partition_does_not_hold_back_the_others(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        name = await world.topic(broker, partitions=2, settings={"max.message.bytes": str(8 * 1024 * 1024)})
        held, free = TopicPartition(name, 0), TopicPartition(name, 1)
        producer, reader = await broker.producer("p"), await broker.reader("r")
        await append(producer, held, [bytes(4_000_000)] * 12)
        reader.assign({held: 0, free: 0})
        await take(reader, 1, max_records=1)
        reader.pause([held])
        await append(producer, free, [b"%d" % n for n in range(3)])
        assert values(await take(reader, 3)) == [b"0", b"1", b"2"]
        reader.resume([held])
        assert [record.offset for record in await take(reader, 11)] == list(range(1, 12))

    world.run(scene())


@pytest.mark.parametrize("wanted", [1, 99])
def test_a_position_outside_of_the_log_is_an_error_that_tells_what_is_left(world: World, wanted: int) -> None:
    async def scene() -> None:
        broker = world.broker()
        where = TopicPartition(await world.topic(broker), 0)
        producer, reader = await broker.producer("p"), await broker.reader("r")
        await append(producer, where, [b"%d" % n for n in range(5)])
        await broker.trim({where: 3})
        reader.assign({where: wanted})
        for _ in range(2):  # it stays an error until the reader is told where to go on
            with pytest.raises(OffsetGoneError) as caught:
                await reader.poll(timeout=LIMIT)
            error = caught.value
            assert (error.where, error.wanted, error.low, error.high) == (where, wanted, 3, 5)
        reader.assign({where: 3})
        assert values(await take(reader, 2)) == [b"3", b"4"]

    world.run(scene())


def test_huge_records_and_garbage_do_not_stop_a_reader(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        where = TopicPartition(await world.topic(broker, settings={"max.message.bytes": str(32 * 1024 * 1024)}), 0)
        producer, reader = await broker.producer("p"), await broker.reader("r")
        huge = bytes(20 * 1024 * 1024)
        sent = [b"a", huge, b"\xff" * 1000, huge, b"z"]
        for value in sent:
            await producer.send(where, value)
        reader.assign({where: 0})
        assert values(await take(reader, 5)) == sent

    world.run(scene())


def test_a_reader_whose_topic_was_deleted_says_so(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        name = await world.topic(broker)
        reader = await broker.reader("r")
        reader.assign({TopicPartition(name, 0): 0})
        assert await reader.poll(timeout=0.01) == []
        await broker.delete([name])
        with pytest.raises(BrokerError, match=name):
            await reader.poll(timeout=LIMIT)

    world.run(scene())


def test_a_closed_reader_refuses_and_wakes_who_waits(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        where = TopicPartition(await world.topic(broker), 0)
        reader = await broker.reader("r")
        reader.assign({where: 0})
        waiting = asyncio.create_task(reader.poll(timeout=LIMIT))
        await asyncio.sleep(0)
        await reader.close()
        with pytest.raises(BrokerError, match="closed"):
            await waiting
        await reader.close()

    world.run(scene())
