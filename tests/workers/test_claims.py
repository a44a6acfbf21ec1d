"""Spare lanes go to the first who claims them, whoever comes at the same time, and never to a network that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from akkafka.broker.base import Broker, DeliveryError, TopicPartition
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.memory import MemoryBroker, MemoryProducer
from akkafka.broker.memory_log import MemoryLog
from akkafka.broker.network import Network, claim_lane, define, load, reset
from akkafka.errors import NetworkError
from akkafka.protocol import wire
from akkafka.protocol.definition import Definition
from akkafka.protocol.messages import LaneClaim, Mode

from ..conftest import Run
from ..pipeline.fleet import small_definition

FIRST = 3  # of the spare lanes: behind one lane each for train, validate and predict


def spare(lanes: int, *overrides: str) -> Definition:
    return small_definition(f"lanes.spare={lanes}", *overrides)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def connect(request: pytest.FixtureRequest) -> Callable[[], Broker]:
    """Makes connections to one log."""
    if request.param == "memory":
        log = MemoryLog()
        return lambda: MemoryBroker(log)
    connection = Connection(bootstrap_servers=request.getfixturevalue("kafka_bootstrap"))
    return lambda: KafkaBroker(connection)


def holders(network: Network | None) -> dict[int, str]:
    assert network is not None
    return {lane: claim.source for lane, claim in network.claims.items()}


def test_claimers_who_come_at_once_get_different_lanes_and_one_too_many_is_told_who_has_them(
    connect: Callable[[], Broker], run: Run, unique: Callable[[], str]
) -> None:
    async def scene() -> None:
        brokers = [connect() for _ in range(3)]
        network = await define(brokers[0], spare(2), unique())  # all start from this view, which ages
        claims = (claim_lane(broker, network, Mode.TRAIN, f"s{i}", f"p{i}") for i, broker in enumerate(brokers))
        results = await asyncio.gather(*claims, return_exceptions=True)
        (refused,) = [each for each in results if isinstance(each, BaseException)]
        there = holders(await load(brokers[0], network.name))
        lost = f"s{results.index(refused)}"
        assert sorted([*there.values(), lost]) == ["s0", "s1", "s2"] and list(there) == [FIRST, FIRST + 1]
        assert isinstance(refused, NetworkError) and "no spare lane left" in str(refused)
        assert all(f"lane {lane}: {source!r}" in str(refused) for lane, source in there.items())
        for broker in brokers:
            await broker.close()

    run(scene())


def test_claimers_of_the_same_data_share_a_lane_and_a_later_one_finds_it(
    connect: Callable[[], Broker], run: Run, unique: Callable[[], str]
) -> None:
    async def scene() -> None:
        broker = connect()
        network = await define(broker, spare(3), unique())
        both = [claim_lane(broker, network, Mode.TRAIN, "same", f"p{i}") for i in range(2)]
        assert [holders(each) for each in await asyncio.gather(*both)] == [{FIRST: "same"}] * 2
        await claim_lane(broker, network, Mode.TRAIN, "other", "p2")
        again = await claim_lane(broker, network, Mode.TRAIN, "same", "p3")
        assert holders(again) == {FIRST: "same", FIRST + 1: "other"}
        assert again.lanes_of(Mode.TRAIN) == [0, FIRST, FIRST + 1]
        await broker.close()

    run(scene())


@pytest.mark.parametrize("anew", [False, True], ids=["gone", "defined anew"])
@pytest.mark.parametrize("claimed", [False, True], ids=["free", "claimed"])
def test_who_claims_for_a_network_that_was_reset_is_told_so(
    connect: Callable[[], Broker], run: Run, unique: Callable[[], str], anew: bool, claimed: bool
) -> None:
    async def scene() -> None:
        broker = connect()
        network = await define(broker, spare(1), unique())
        if claimed:
            network = await claim_lane(broker, network, Mode.TRAIN, "mine", "p0")
        await reset(broker, network.name)
        if anew:
            await define(broker, spare(1), network.name)
        with pytest.raises(NetworkError, match="was reset while this process worked for it"):
            await claim_lane(broker, network, Mode.TRAIN, "mine", "p1")
        assert not anew or holders(await load(broker, network.name)) == {}
        await broker.close()

    run(scene())


class _Interrupted(MemoryBroker):
    """Something happens between a claimer's look at the network and its claim."""

    meanwhile: Callable[[], object]

    async def producer(self, name: str) -> MemoryProducer:
        if name == "claim":
            await self.meanwhile()  # type: ignore[misc]  # a coroutine function
        return await super().producer(name)


@pytest.mark.parametrize("anew", [False, True], ids=["gone", "defined anew"])
def test_a_reset_in_between_look_and_claim_is_told(run: Run, anew: bool) -> None:
    async def scene() -> None:
        log = MemoryLog()
        other, broker = MemoryBroker(log), _Interrupted(log)
        network = await define(other, spare(1), "small")

        async def meanwhile() -> None:
            await reset(other, "small")
            if anew:
                await define(other, spare(1), "small")

        broker.meanwhile = meanwhile
        with pytest.raises(NetworkError, match="was reset while this process worked for it"):
            await claim_lane(broker, network, Mode.TRAIN, "mine", "p0")
        assert not anew or holders(await load(other, "small")) == {}, "a claim of the old run counts in the new one"

    run(scene())


def test_who_is_overtaken_in_between_look_and_claim_takes_the_next_lane(run: Run) -> None:
    async def scene() -> None:
        log = MemoryLog()
        other, broker = MemoryBroker(log), _Interrupted(log)
        network = await define(other, spare(2), "small")
        turns = iter([claim_lane(other, network, Mode.TRAIN, "theirs", "p0")])

        async def meanwhile() -> None:
            for turn in turns:
                await turn

        broker.meanwhile = meanwhile
        mine = await claim_lane(broker, network, Mode.TRAIN, "mine", "p1")
        assert holders(mine) == {FIRST: "theirs", FIRST + 1: "mine"}

    run(scene())


def test_a_claim_whose_acknowledgement_was_lost_counts_and_one_that_was_refused_does_not(run: Run) -> None:
    async def scene() -> None:
        broker = MemoryBroker(MemoryLog())
        network = await define(broker, spare(1), "small")
        broker.faults.refuse(network.topics.definition)
        with pytest.raises(DeliveryError):
            await claim_lane(broker, network, Mode.TRAIN, "mine", "p0")
        broker.faults.lose_ack(network.topics.definition)
        assert holders(await claim_lane(broker, network, Mode.TRAIN, "mine", "p0")) == {FIRST: "mine"}

    run(scene())


def test_claims_of_lanes_that_are_not_spare_and_of_other_runs_and_garbage_count_for_nothing(run: Run) -> None:
    async def scene() -> None:
        broker = MemoryBroker(MemoryLog())
        network = await define(broker, spare(1), "small")
        producer = await broker.producer("vandal")
        foreign = spare(1).new_run()
        claims = [LaneClaim(network.run, lane, Mode.TRAIN, "theirs", "p0") for lane in (0, FIRST - 1, FIRST + 1)]
        claims.append(LaneClaim(foreign, FIRST, Mode.TRAIN, "theirs", "p0"))
        for value in (b"garbage", b"", *map(wire.encode, claims)):
            await producer.send(TopicPartition(network.topics.definition, 0), value)
        await producer.close()
        assert holders(await claim_lane(broker, network, Mode.TRAIN, "mine", "p1")) == {FIRST: "mine"}

    run(scene())


def test_a_lane_that_is_claimed_for_another_role_is_not_shared(run: Run) -> None:
    async def scene() -> None:
        broker = MemoryBroker(MemoryLog())
        network = await define(broker, spare(1), "small")
        await claim_lane(broker, network, Mode.VALIDATE, "mine", "p0")
        with pytest.raises(NetworkError, match="no spare lane left"):
            await claim_lane(broker, network, Mode.TRAIN, "mine", "p0")

    run(scene())


def test_a_network_without_spare_lanes_or_with_the_fixed_schedule_takes_no_other_training_data(run: Run) -> None:
    async def scene() -> None:
        broker = MemoryBroker(MemoryLog())
        none = await define(broker, spare(0), "none")
        with pytest.raises(NetworkError, match=r"no spare lane left .*\(none was defined\)"):
            await claim_lane(broker, none, Mode.TRAIN, "mine", "p0")
        fixed = await define(broker, spare(1, "schedule.kind=fixed"), "fixed")
        with pytest.raises(NetworkError, match="fixed schedule"):
            await claim_lane(broker, fixed, Mode.TRAIN, "mine", "p0")

    run(scene())
