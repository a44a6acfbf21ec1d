"""Every promise of akkafka.broker.base but those about reading, kept by the memory broker and by a real Kafka."""

from __future__ import annotations

import asyncio

import pytest

from akkafka.broker.base import DeliveryError, Membership, RecordTooLargeError, TopicPartition, TopicSpec
from akkafka.errors import BrokerError

from .contract import LIMIT, World, append, take, values

# -- topics


def test_a_cluster_tells_its_name_and_size(world: World) -> None:
    async def scene() -> None:
        cluster = await world.broker().cluster()
        assert cluster.brokers == 1
        assert cluster.cluster_id and cluster.version

    world.run(scene())


def test_a_created_topic_is_listed_with_its_partitions_and_can_be_used_at_once(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        name = await world.topic(broker, partitions=5)
        assert (await broker.topics())[name] == 5
        parts = [TopicPartition(name, number) for number in range(5)]
        assert await broker.bounds(parts) == dict.fromkeys(parts, (0, 0))

    world.run(scene())


def test_creating_a_topic_that_is_there_changes_nothing(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        name = await world.topic(broker, partitions=2)
        producer = await broker.producer("p")
        await producer.send(TopicPartition(name, 1), b"kept")
        await broker.create([TopicSpec(name, 2), TopicSpec(world.unique(), 1)])
        assert await broker.bounds([TopicPartition(name, 1)]) == {TopicPartition(name, 1): (0, 1)}

    world.run(scene())


def test_two_processes_can_create_the_same_topics_at_the_same_time(world: World) -> None:
    async def scene() -> None:
        specs = [TopicSpec(world.unique(), 2) for _ in range(3)]
        first, second = world.broker(), world.broker()
        await asyncio.gather(first.create(specs), second.create(specs))
        assert {spec.name for spec in specs} <= set(await first.topics())

    world.run(scene())


def test_a_topic_with_another_partition_count_is_refused_by_name(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        name = await world.topic(broker, partitions=2)
        with pytest.raises(BrokerError, match=f"{name} has 2 partitions, expected 3"):
            await broker.create([TopicSpec(name, 3)])

    world.run(scene())


def test_a_deleted_topic_is_gone_and_comes_back_empty(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        name = await world.topic(broker)
        producer = await broker.producer("p")
        await producer.send(TopicPartition(name, 0), b"old")
        await broker.delete([name, "never-was-there"])
        assert name not in await broker.topics()
        await broker.create([TopicSpec(name, 1)])
        assert await broker.bounds([TopicPartition(name, 0)]) == {TopicPartition(name, 0): (0, 0)}

    world.run(scene())


def test_bounds_of_what_does_not_exist_are_an_error_that_names_it(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        name = await world.topic(broker)
        with pytest.raises(BrokerError, match="topic nowhere does not exist"):
            await broker.bounds([TopicPartition("nowhere", 0)])
        with pytest.raises(BrokerError, match=f"{name} has 1 partitions, there is no 7"):
            await broker.bounds([TopicPartition(name, 7)])

    world.run(scene())


# -- producer


def test_records_keep_their_order_and_the_futures_give_their_offsets(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        name = await world.topic(broker, partitions=3)
        producer, reader = await broker.producer("p"), await broker.reader("r")
        parts = [TopicPartition(name, number) for number in range(3)]
        sent = [(part, producer.send(part, b"%d" % n)) for n in range(50) for part in parts]
        for part in parts:
            assert [await future for where, future in sent if where == part] == list(range(50))
            reader.assign({part: 0})
            assert values(await take(reader, 50)) == [b"%d" % n for n in range(50)]

    world.run(scene())


def test_keys_headers_tombstones_and_empty_values_arrive_as_they_were_sent(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        where = TopicPartition(await world.topic(broker), 0)
        producer, reader = await broker.producer("p"), await broker.reader("r")
        headers = (("mode", b"train"), ("seq", b"\x00\xff"), ("mode", b""))
        await producer.send(where, b"value", key=b"key", headers=headers)
        await producer.send(where, None, key=b"key")
        await producer.send(where, b"")
        reader.assign({where: 0})
        full, tombstone, empty = await take(reader, 3)
        assert (full.value, full.key, full.headers, full.offset, full.where) == (b"value", b"key", headers, 0, where)
        assert (tombstone.value, tombstone.key, tombstone.headers) == (None, b"key", ())
        assert (empty.value, empty.key) == (b"", None)
        assert full.timestamp_ms > 1_600_000_000_000

    world.run(scene())


def test_bytes_are_pending_until_they_are_acknowledged(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        where = TopicPartition(await world.topic(broker), 0)
        producer = await broker.producer("p")
        assert producer.pending() == 0
        sent = [producer.send(where, bytes(1000)) for _ in range(3)]
        assert producer.pending() >= 3000
        await asyncio.gather(*sent)
        assert producer.pending() == 0

    world.run(scene())


def test_a_record_that_is_too_large_fails_alone_and_its_neighbours_keep_their_order(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        where = TopicPartition(await world.topic(broker, settings={"max.message.bytes": "10000"}), 0)
        producer, reader = await broker.producer("p"), await broker.reader("r")
        sent = [producer.send(where, bytes([n]) * size) for n, size in enumerate([9000, 20_000, 9000, 10, 20_000, 20])]
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [0, 1, 2, 3]
        assert isinstance(outcomes[1], RecordTooLargeError) and isinstance(outcomes[4], RecordTooLargeError)
        assert not producer.broken and producer.pending() == 0
        assert await producer.send(where, b"goes on") == 4
        reader.assign({where: 0})
        assert [record.value[:1] for record in await take(reader, 5) if record.value] == [
            b"\0",
            b"\2",
            b"\3",
            b"\5",
            b"g",
        ]

    world.run(scene())


def test_a_record_beyond_any_limit_is_refused_before_it_travels(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        where = TopicPartition(await world.topic(broker), 0)
        producer = await broker.producer("p")
        with pytest.raises(RecordTooLargeError, match=where.topic):
            await producer.send(where, bytes(64 * 1024 * 1024 + 1))
        assert await producer.send(where, b"next") == 0

    world.run(scene())


def test_after_the_first_failure_a_producer_takes_nothing_more_and_another_one_works(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        where = TopicPartition(await world.topic(broker), 0)
        producer = await broker.producer("p")
        with pytest.raises(DeliveryError):
            await producer.send(TopicPartition("nowhere", 0), b"lost")
        assert producer.broken and producer.pending() == 0
        with pytest.raises(DeliveryError, match="broken"):
            await producer.send(where, b"too late")
        assert await (await broker.producer("q")).send(where, b"first") == 0

    world.run(scene())


def test_a_compacted_topic_refuses_a_record_without_a_key(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        where = TopicPartition(await world.topic(broker, settings={"cleanup.policy": "compact"}), 0)
        producer = await broker.producer("p")
        assert await producer.send(where, b"value", key=b"key") == 0
        with pytest.raises(DeliveryError, match=where.topic):
            await producer.send(where, b"value")
        assert producer.broken

    world.run(scene())


def test_a_closed_producer_has_delivered_what_it_was_given_and_takes_nothing_more(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        where = TopicPartition(await world.topic(broker), 0)
        producer = await broker.producer("p")
        sent = [producer.send(where, bytes(100_000)) for _ in range(20)]
        await producer.close(timeout=LIMIT)
        assert [future.result() for future in sent] == list(range(20))
        with pytest.raises(DeliveryError, match="closed"):
            await producer.send(where, b"too late")
        await producer.close()

    world.run(scene())


def test_a_future_that_its_owner_cancelled_harms_nobody(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        where = TopicPartition(await world.topic(broker), 0)
        producer = await broker.producer("p")
        producer.send(where, b"0").cancel()
        assert await producer.send(where, b"1") == 1

    world.run(scene())


# -- trimming


def test_trimming_moves_the_start_and_never_back(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        where = TopicPartition(await world.topic(broker), 0)
        await append(await broker.producer("p"), where, [b"%d" % n for n in range(5)])
        await broker.trim({where: 4})
        await broker.trim({where: 2})
        assert await broker.bounds([where]) == {where: (4, 5)}
        await broker.trim({where: 5})
        assert await broker.bounds([where]) == {where: (5, 5)}

    world.run(scene())


def test_trimming_beyond_the_end_or_in_a_compacted_topic_is_refused(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        where = TopicPartition(await world.topic(broker), 0)
        compacted = TopicPartition(await world.topic(broker, settings={"cleanup.policy": "compact"}), 0)
        await (await broker.producer("p")).send(compacted, b"v", key=b"k")
        with pytest.raises(BrokerError, match="before"):
            await broker.trim({where: 1})
        with pytest.raises(BrokerError, match="trimmed"):
            await broker.trim({compacted: 1})

    world.run(scene())


# -- groups


async def settled(member: Membership, *members: Membership) -> None:
    """Follow one member's changes until these members have four lanes between them, each once."""
    while sorted(lane for one in members for lane in one.lanes) != [0, 1, 2, 3]:
        change = asyncio.ensure_future(member.changed())
        await asyncio.wait([change], timeout=0.2)  # the other member's change may have been the last
        change.cancel()


def test_a_lone_member_gets_all_the_lanes_it_can_do_and_no_others(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        name = await world.topic(broker, partitions=6)
        member = await broker.join(world.unique(), name, [1, 2, 5])
        async with asyncio.timeout(LIMIT):
            assert await member.changed() == {1, 2, 5}
        assert member.lanes == {1, 2, 5}

    world.run(scene())


def test_a_second_member_gets_half_and_all_when_the_first_leaves(world: World) -> None:
    async def scene() -> None:
        broker, other = world.broker(), world.broker()
        name, group = await world.topic(broker, partitions=4), world.unique()
        first = await broker.join(group, name, range(4))
        async with asyncio.timeout(LIMIT):
            assert await first.changed() == {0, 1, 2, 3}
            second = await other.join(group, name, range(4))
            mine, yours = await asyncio.gather(first.changed(), second.changed())
            assert len(mine) == len(yours) == 2 and mine | yours == {0, 1, 2, 3}
            await first.close()
            assert await second.changed() == {0, 1, 2, 3}
        assert first.lanes == frozenset()

    world.run(scene())


def test_members_that_can_do_different_lanes_share_what_each_can(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        name, group = await world.topic(broker, partitions=6), world.unique()
        first = await broker.join(group, name, [0, 1, 2])
        second = await broker.join(group, name, [2, 3])
        third = await broker.join(group, name, [9])  # nothing that exists
        async with asyncio.timeout(LIMIT):
            await asyncio.gather(*(settled(member, first, second) for member in (first, second)))
        assert {0, 1} <= first.lanes and {3} <= second.lanes
        assert third.lanes <= {9}

    world.run(scene())


def test_groups_do_not_see_each_other(world: World) -> None:
    async def scene() -> None:
        broker = world.broker()
        name = await world.topic(broker, partitions=2)
        members = [await broker.join(world.unique(), name, [0, 1]) for _ in range(2)]
        async with asyncio.timeout(LIMIT):
            assert [await member.changed() for member in members] == [{0, 1}, {0, 1}]

    world.run(scene())


def test_closing_a_broker_closes_all_that_was_made_from_it(world: World) -> None:
    async def scene() -> None:
        broker, other = world.broker(), world.broker()
        name, group = await world.topic(broker, partitions=2), world.unique()
        where = TopicPartition(name, 0)
        producer, reader = await broker.producer("p"), await broker.reader("r")
        member = await broker.join(group, name, [0, 1])
        async with asyncio.timeout(LIMIT):
            await member.changed()
            await broker.close()
            with pytest.raises(DeliveryError):
                await producer.send(where, b"")
            with pytest.raises(BrokerError):
                await reader.poll(timeout=0)
            with pytest.raises(BrokerError, match="left"):
                await member.changed()
            assert await (await other.join(group, name, [0, 1])).changed() == {0, 1}

    world.run(scene())
