"""A reader beside the producer: it gets from memory what it would get from the log, and asks the log for the rest."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from akkafka.broker import reader as reader_module
from akkafka.broker.base import BrokerUnavailableError, OffsetGoneError, Producer, Record, TopicPartition
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.producer import BATCH_BYTES
from akkafka.broker.reader import PAUSED_BYTES, KafkaReader

from .contract import LIMIT, append, take, values
from .scripted import TOPIC, scripted
from .town import Asked, Town

if TYPE_CHECKING:
    from tests.conftest import Run

LONG_MS = 120_000  # a long poll that no test waits for, and so long a partition is fed


async def in_step(reader: KafkaReader, producer: Producer, where: TopicPartition) -> None:
    """Write a record and take it, twice: the first may come from the log before it is acknowledged."""
    for _ in range(2):
        await producer.send(where, b"in step")
        assert values(await take(reader, 1)) == [b"in step"]


async def neighbours(town: Town, *others: int, **manner: int) -> tuple[Producer, KafkaReader]:
    """A producer and a reader of one broker that are in step at partition 0; the reader also reads `others`."""
    broker = town.broker()
    producer, reader = await broker.producer("p"), await broker.reader("r", **manner)
    reader.assign(dict.fromkeys(map(town.part, (0, *others)), 0))
    await in_step(reader, producer, town.part(0))
    return producer, reader


async def one_by_one(reader: KafkaReader, producer: Producer, where: TopicPartition, count: int) -> list[int]:
    """Write and take records, each before the next; their offsets."""
    found = []
    for number in range(count):
        await producer.send(where, b"%d" % number)
        (record,) = await take(reader, 1)
        assert record.value == b"%d" % number
        found.append(record.offset)
    return found


# -- the same as from the log


def contents(records: Sequence[Record]) -> dict[TopicPartition, list[tuple[object, ...]]]:
    found: dict[TopicPartition, list[tuple[object, ...]]] = {}
    for r in records:
        found.setdefault(r.where, []).append((r.offset, r.value, r.key, r.headers, r.timestamp_ms))
    return found


async def storm(town: Town, rng: random.Random) -> tuple[list[Record], list[Record]]:
    """What a reader beside a producer takes, and one far away, while both kinds of producers write."""
    near, far = town.broker(), town.broker()
    reader = await near.reader("near", max_wait_ms=30, ahead_bytes=rng.choice([5_000, 50_000, 1 << 24]))
    other = await far.reader("far", max_wait_ms=30)
    producers = [await near.producer("local"), await near.producer("local too"), await far.producer("foreign")]
    weights = rng.choice([(1, 0, 0), (8, 0, 1), (4, 2, 2)])
    parts = [town.part(number) for number in range(3)]
    reader.assign(dict.fromkeys(parts, 0))
    other.assign(dict.fromkeys(parts, 0))
    sent: list[asyncio.Future[int]] = []
    taken: list[Record] = []
    for _ in range(rng.randint(50, 150)):
        await step(rng, reader, rng.choices(producers, weights)[0], parts, sent, taken)
    await asyncio.gather(*sent)
    reader.resume(parts)
    return taken + await take(reader, len(sent) - len(taken)), await take(other, len(sent))


async def step(
    rng: random.Random,
    reader: KafkaReader,
    producer: Producer,
    parts: list[TopicPartition],
    sent: list[asyncio.Future[int]],
    taken: list[Record],
) -> None:
    where = rng.choice(parts)
    match rng.choices(["send", "settle", "poll", "pause", "resume"], [6, 2, 4, 1, 2])[0]:
        case "send":
            for _ in range(rng.randint(1, 5)):
                value = rng.choice([None, rng.randbytes(rng.choice([0, 10, 3_000]))])
                headers = (("name", rng.randbytes(3)),) if rng.random() < 0.5 else ()
                sent.append(producer.send(where, value, key=rng.choice([None, b"", b"key"]), headers=headers))
        case "settle":
            await asyncio.gather(*sent)
        case "poll":
            taken += await reader.poll(timeout=rng.choice([0.0, 0.01]), max_records=rng.choice([1, 3, 500]))
        case "pause":
            reader.pause([where])
        case "resume":
            reader.resume([where])


@pytest.mark.kafka
@pytest.mark.parametrize("seed", range(12))
def test_a_reader_beside_a_producer_takes_what_one_far_away_takes(
    run: Run, town: Town, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Whoever writes, whatever is paused, however little may lie unread."""
    rng = random.Random(seed)
    monkeypatch.setattr(reader_module, "SHARED_S", rng.choice([0.0, 0.05, 10.0]))
    monkeypatch.setattr(reader_module, "QUIET_S", rng.choice([0.0, 0.02, 10.0]))

    async def scene() -> None:
        async with town:
            taken, told = await storm(town, rng)
            assert contents(taken) == contents(told)

    run(scene())


# -- the log is not asked


@pytest.mark.kafka
def test_the_log_is_not_asked_for_what_a_neighbour_writes(run: Run, town: Town, asked: Asked) -> None:
    async def scene() -> None:
        async with town:
            producer, reader = await neighbours(town, 1, max_wait_ms=LONG_MS)
            before = len(asked.of(0))
            assert await one_by_one(reader, producer, town.part(0), 50) == list(range(2, 52))
            assert len(asked.of(0)) == before
            assert reader.position(town.part(0)) == 52

    run(scene())


@pytest.mark.kafka
def test_a_reader_that_was_behind_is_fed_once_it_has_caught_up(run: Run, town: Town, asked: Asked) -> None:
    async def scene() -> None:
        async with town:
            broker, where = town.broker(), town.part(0)
            producer, reader = await broker.producer("p"), await broker.reader("r", max_wait_ms=LONG_MS)
            await append(producer, where, [b"%d" % number for number in range(20)])
            reader.assign({where: 3})
            assert [record.offset for record in await take(reader, 17)] == list(range(3, 20))
            await in_step(reader, producer, where)
            before = len(asked.of(0))
            await one_by_one(reader, producer, where, 20)
            assert len(asked.of(0)) == before
            reader.assign({where: 5})
            assert [record.offset for record in await take(reader, 37)] == list(range(5, 42))

    run(scene())


@pytest.mark.kafka
def test_of_a_batch_that_begins_before_the_readers_place_the_rest_is_taken_once(run: Run, town: Town) -> None:
    async def scene() -> None:
        async with town:
            broker, where = town.broker(), town.part(0)
            foreign, reader = await town.broker().producer("f"), await broker.reader("r", max_wait_ms=100)
            await append(foreign, where, [b"0", b"1", b"2"])
            reader.assign({where: 1})  # the log is asked at the same time
            reader.heard(where, [Record(*where, offset, b"%d" % offset) for offset in range(3)], 300)
            await append(foreign, where, [b"3"])
            assert [record.offset for record in await take(reader, 3)] == [1, 2, 3]

    run(scene())


@pytest.mark.kafka
def test_who_lets_records_gather_is_not_woken_for_each(run: Run, town: Town) -> None:
    async def scene() -> None:
        async with town:
            broker, where = town.broker(), town.part(0)
            producer = await broker.producer("p")
            reader = await broker.reader("r", max_wait_ms=300, min_bytes=1 << 20)
            reader.assign({where: 0})
            assert await reader.poll(timeout=0.01) == []  # its long poll is on its way
            await append(producer, where, [b"0", b"1"])
            await append(producer, where, [b"2"])
            assert await reader.poll(timeout=0) == []
            assert values(await take(reader, 3)) == [b"0", b"1", b"2"]

    run(scene())


# -- others write, too


@pytest.mark.kafka
@pytest.mark.parametrize("others", [[], [1]])
def test_what_others_write_comes_when_the_neighbour_is_silent(run: Run, town: Town, others: list[int]) -> None:
    """Also where the reader waits for another partition, of which nothing comes."""

    async def scene() -> None:
        async with town:
            foreign = await town.broker().producer("f")
            _, reader = await neighbours(town, *others, max_wait_ms=400)
            await append(foreign, town.part(0), [b"from", b"afar"])
            assert [record.offset for record in await take(reader, 2)] == [2, 3]

    run(scene())


@pytest.mark.kafka
def test_a_long_poll_ends_when_a_fed_partition_is_to_be_asked_for_again(run: Run, town: Town, asked: Asked) -> None:
    async def scene() -> None:
        async with town:
            foreign = await town.broker().producer("f")
            _, reader = await neighbours(town, 1, max_wait_ms=LONG_MS)
            while not asked.requests or 0 in asked.requests[-1]:
                assert await reader.poll(timeout=0.01) == []
            assert 0 < asked.waits_ms[-1] <= LONG_MS
            later = len(asked.requests)
            reader._parts[town.part(0)].fed_until -= 0.95 * LONG_MS / 1000
            await append(foreign, town.part(1), [b"x"])  # answers the long poll
            await take(reader, 1)
            assert asked.waits_ms[later:] and max(asked.waits_ms[later:]) <= 0.05 * LONG_MS

    run(scene())


@pytest.mark.kafka
def test_where_others_write_only_the_log_counts_for_a_while(
    run: Run, town: Town, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with town:
            where, foreign = town.part(0), await town.broker().producer("f")
            producer, reader = await neighbours(town, max_wait_ms=LONG_MS)
            waiting = asyncio.create_task(take(reader, 2))
            await asyncio.sleep(0)
            await foreign.send(where, b"foreign")
            await producer.send(where, b"behind it")
            assert values(await waiting) == [b"foreign", b"behind it"]
            before = len(asked.of(0))
            assert await one_by_one(reader, producer, where, 10) == list(range(4, 14))
            assert len(asked.of(0)) >= before + 10
            reader._parts[where].shared_until = 0.0
            await in_step(reader, producer, where)
            before = len(asked.of(0))
            await one_by_one(reader, producer, where, 10)
            assert len(asked.of(0)) == before

    run(scene())


@pytest.mark.kafka
@pytest.mark.parametrize("offset", [0, 3])
def test_offsets_that_jump_are_not_believed(run: Run, town: Town, offset: int) -> None:
    """Backwards: the log has lost its end, and what is there now is not what was read."""

    async def scene() -> None:
        async with town:
            where = town.part(0)
            producer, reader = await neighbours(town, max_wait_ms=LONG_MS)
            forged = [Record(*where, offset + place, b"forged") for place in range(3)]
            reader.heard(where, forged, 300)
            assert await one_by_one(reader, producer, where, 3) == [2, 3, 4]

    run(scene())


@pytest.mark.kafka
def test_a_place_beyond_the_end_is_an_error_whatever_a_neighbour_writes(run: Run, town: Town) -> None:
    async def scene() -> None:
        async with town:
            broker, where = town.broker(), town.part(0)
            producer, reader = await broker.producer("p"), await broker.reader("r", max_wait_ms=LONG_MS)
            await producer.send(where, b"0")
            reader.assign({where: 5})
            reader.heard(where, [Record(*where, 0, b"0")], 100)  # before the log is asked
            with pytest.raises(OffsetGoneError):
                await reader.poll(timeout=LIMIT)
            await append(producer, where, [b"%d" % number for number in range(1, 10)])
            for _ in range(2):
                with pytest.raises(OffsetGoneError):
                    await reader.poll(timeout=0)
            reader.assign({where: 5})
            assert values(await take(reader, 5)) == [b"5", b"6", b"7", b"8", b"9"]

    run(scene())


# -- bounds, ends


@pytest.mark.kafka
@pytest.mark.parametrize("paused", [True, False])
def test_what_is_not_read_is_bounded_and_comes_from_the_log_later(
    run: Run, town: Town, asked: Asked, paused: bool
) -> None:
    count, size, ahead = 120, 50_000, 200_000

    async def scene() -> None:
        async with town:
            where = town.part(0)
            producer, reader = await neighbours(town, max_wait_ms=LONG_MS, ahead_bytes=ahead)
            if paused:
                reader.pause([where])
            for number in range(count):
                await producer.send(where, number.to_bytes(4, "big") + bytes(size))
                if paused:
                    assert await reader.poll(timeout=0) == []
            bound = (PAUSED_BYTES if paused else 0) + ahead + BATCH_BYTES
            assert 0 < reader._parts[where].unread <= bound < count * size
            reader.resume([where])
            taken = await take(reader, count)
            assert [int.from_bytes((record.value or b"")[:4], "big") for record in taken] == list(range(count))
            await in_step(reader, producer, where)
            before = len(asked.of(0))
            await one_by_one(reader, producer, where, 10)
            assert len(asked.of(0)) == before

    run(scene())


@pytest.mark.kafka
def test_a_full_paused_partition_does_not_hold_back_the_others(run: Run, town: Town) -> None:
    async def scene() -> None:
        async with town:
            held, free = town.part(0), town.part(1)
            producer, reader = await neighbours(town, 1, max_wait_ms=100, ahead_bytes=100_000)
            reader.pause([held])
            await append(producer, held, [bytes(90_000)] * 5)
            assert await one_by_one(reader, producer, free, 5) == list(range(5))

    run(scene())


@pytest.mark.kafka
def test_a_reader_that_is_closed_or_reads_elsewhere_hears_nothing_more(run: Run, town: Town) -> None:
    async def scene() -> None:
        async with town:
            broker, where = town.broker(), town.part(0)
            producer = await broker.producer("p")
            moved, closed = await broker.reader("m", max_wait_ms=100), await broker.reader("c", max_wait_ms=100)
            for reader in (moved, closed):
                reader.assign({where: 0})
            await producer.send(where, b"0")
            assert len(await take(moved, 1)) == len(await take(closed, 1)) == 1
            moved.assign({town.part(1): 0})
            await closed.close()
            await producer.send(where, b"1")
            assert await moved.poll(timeout=0) == []
            assert broker._near.of(where) == [] and list(broker._near._listeners) == [moved]

    run(scene())


# -- a broker that tells readers nothing


def test_who_is_fed_needs_no_answer_of_its_own_and_misses_it_in_silence(
    run: Run, monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    """The broker hangs up on every fetch: no news, unless a neighbour brings some."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(reader_module, "time", SimpleNamespace(monotonic=lambda: clock.now))

    async def scene() -> None:
        async with scripted() as server:
            broker = KafkaBroker(Connection(bootstrap_servers=f"127.0.0.1:{server.port}", patience_s=5.0))
            where = TopicPartition(TOPIC, 0)
            producer, reader = await broker.producer("p"), await broker.reader("r", max_wait_ms=LONG_MS)
            reader.assign({where: 0})
            while not asked.requests:
                assert await reader.poll(timeout=0) == []
            await in_step(reader, producer, where)
            while reader._fetches:
                assert await reader.poll(timeout=0) == []
            for _ in range(3):
                clock.now += 0.9 * LONG_MS / 1000
                await producer.send(where, b"news")
                assert values(await reader.poll(timeout=0)) == [b"news"]
                assert await reader.poll(timeout=0) == []
            clock.now += 1.1 * LONG_MS / 1000
            assert await reader.poll(timeout=0) == []  # it asks now
            clock.now += 1.1 * LONG_MS / 1000 + 5.0
            with pytest.raises(BrokerUnavailableError, match="r has had no answer"):
                await reader.poll(timeout=0)
            await broker.close()

    run(scene())
