"""The fault proxy before a real broker: what clients see, and what is in the log afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from akkafka.broker.base import TopicPartition, TopicSpec
from akkafka.broker.connection import Connection
from akkafka.broker.embedded import BrokerSettings, acquire
from akkafka.broker.embedded.ports import free_port
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.network import define
from akkafka.broker.reading import read_to_end, reading
from akkafka.broker.side import SideChannel
from akkafka.cli.chaos.framing import FETCH, PRODUCE
from akkafka.cli.chaos.proxy import Proxy
from akkafka.protocol.figures import GateFigures

from ..conftest import Run
from ..pipeline.fleet import small_definition, versions_told

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """(listener behind the proxy, port of the proxy) of a running broker."""
    behind = free_port()
    proxied = (behind, free_port(other_than=behind))
    with acquire(BrokerSettings(tmp_path_factory.mktemp("proxied"), linger_s=0.0, proxied=proxied)):
        yield proxied


@asynccontextmanager
async def through(ports: tuple[int, int]) -> AsyncIterator[tuple[Proxy, KafkaBroker]]:
    """A client whose every connection goes through the proxy; it gives up an answer after 2 s."""
    proxy = Proxy("127.0.0.1", ports[0])
    await proxy.open(ports[1])
    connection = Connection(bootstrap_servers=f"127.0.0.1:{ports[1]}", request_timeout_s=2.0, patience_s=5.0)
    broker = KafkaBroker(connection)
    try:
        yield proxy, broker
    finally:
        await broker.close()
        await proxy.close()


async def values(broker: KafkaBroker, where: TopicPartition) -> list[bytes | None]:
    async with reading(broker, "values") as reader:
        return [record.value async for record in read_to_end(broker, reader, where)]


async def topic(broker: KafkaBroker, name: str) -> TopicPartition:
    await broker.create([TopicSpec(name, 1)])
    return TopicPartition(name, 0)


def test_clients_stay_with_the_proxy_and_notice_nothing_of_it(
    ports: tuple[int, int], run: Run, unique: Callable[[], str]
) -> None:
    async def scene() -> None:
        async with through(ports) as (proxy, broker):
            where = await topic(broker, unique())
            producer = await broker.producer("p")
            assert broker._link.nodes == {1: ("127.0.0.1", ports[1])}, "the broker names the proxy's address"
            offsets = [await producer.send(where, bytes([n]) * 100_000) for n in range(20)]
            assert offsets == list(range(20))
            assert await values(broker, where) == [bytes([n]) * 100_000 for n in range(20)]
            assert proxy.connections > 0
            assert not proxy.done

    run(scene())


def test_a_record_whose_acknowledgement_is_lost_is_in_the_log_once(
    ports: tuple[int, int], run: Run, unique: Callable[[], str]
) -> None:
    async def scene() -> None:
        async with through(ports) as (proxy, broker):
            where = await topic(broker, unique())
            producer = await broker.producer("p")
            await producer.send(where, b"0")
            proxy.lose_acknowledgement()
            assert await producer.send(where, b"1") == 1, "sent again, and told where the first copy stands"
            assert await producer.send(where, b"2") == 2
            assert proxy.done["lose"] == 1
            assert await values(broker, where) == [b"0", b"1", b"2"]

    run(scene())


@pytest.mark.parametrize("fault", ["cut", "tear", "swallow", "part", "delay"])
def test_whatever_the_network_does_records_arrive_once_and_in_order(
    ports: tuple[int, int], run: Run, unique: Callable[[], str], fault: str
) -> None:
    strike: dict[str, Callable[[Proxy], None]] = {
        "cut": Proxy.cut,
        "tear": Proxy.tear,
        "swallow": lambda proxy: proxy.swallow(2, PRODUCE),
        "part": lambda proxy: proxy.part(0.5),
        "delay": lambda proxy: proxy.delay(0.01),
    }

    async def scene() -> None:
        async with through(ports) as (proxy, broker):
            where = await topic(broker, unique())
            producer = await broker.producer("p")
            sent = []
            for n in range(60):
                if n == 20:
                    strike[fault](proxy)
                sent.append(producer.send(where, b"%d" % n))
                await asyncio.sleep(0)
                if n % 10 == 9:
                    await sent[-1]
            assert [await one for one in sent] == list(range(60))
            proxy.delay(0.0)
            assert await values(broker, where) == [b"%d" % n for n in range(60)]
            assert proxy.done[fault if fault != "part" else "cut"] >= 1

    run(scene())


def test_a_reader_whose_answers_are_swallowed_goes_on_after_its_time_out(
    ports: tuple[int, int], run: Run, unique: Callable[[], str]
) -> None:
    async def scene() -> None:
        async with through(ports) as (proxy, broker):
            where = await topic(broker, unique())
            other = KafkaBroker(broker.connection)  # as in another process: beside the reader nothing would be fetched
            producer = await other.producer("p")
            reader = await broker.reader("r")
            reader.assign({where: 0})
            await producer.send(where, b"first")
            assert [r.value for r in await reader.poll(timeout=5.0)] == [b"first"]
            proxy.swallow(1, FETCH)
            await producer.send(where, b"second")
            found: list[bytes | None] = []
            async with asyncio.timeout(20.0):
                while not found:
                    found += [record.value for record in await reader.poll(timeout=5.0)]
            assert found == [b"second"]
            assert proxy.done["swallow"] == 1
            await other.close()

    run(scene())


def test_a_broker_that_is_away_closes_the_connections_of_its_proxy(tmp_path: Path, run: Run) -> None:
    async def scene() -> None:
        proxy = Proxy("127.0.0.1", free_port())
        port = await proxy.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"", "nobody listens behind it"
        writer.close()
        await proxy.close()

    run(scene())


def test_what_is_not_kafka_is_cut_off(ports: tuple[int, int], run: Run) -> None:
    async def scene() -> None:
        proxy = Proxy("127.0.0.1", ports[0])
        port = await proxy.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with suppress(ConnectionResetError):  # what it had not read yet makes a reset of the close
            assert await reader.read() == b""
        writer.close()
        await proxy.close()

    run(scene())


def test_the_last_words_of_a_process_outlast_a_broker_that_is_silent_for_a_while(
    ports: tuple[int, int], run: Run, unique: Callable[[], str]
) -> None:
    async def told() -> list[int]:
        async with through(ports) as (proxy, broker):
            network = await define(broker, small_definition(), unique())
            side = SideChannel(broker, network, "gate-1-a")
            while not await versions_told(broker, network):
                side.tell(GateFigures(gate=1, name="last", state="working", version=1))
            proxy.delay(1.3)  # on each of two ways: the acknowledgement comes too late, the record does not
            side.tell(GateFigures(gate=1, name="last", state="leaving", version=2))
            await side.close()
            proxy.delay(0.0)
            return await versions_told(broker, network)

    assert run(told())[-1] == 2
