"""What only a real broker can do to us: be absent, be something else, freeze, die in mid-send and come back."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from akkafka.broker.base import (
    BrokerUnavailableError,
    DeliveryError,
    Membership,
    Reader,
    Record,
    TopicPartition,
    TopicSpec,
)
from akkafka.broker.connection import Connection
from akkafka.broker.embedded import BrokerSettings, acquire, status
from akkafka.broker.kafka import KafkaBroker
from akkafka.errors import BrokerError

from ..living import freeze

if TYPE_CHECKING:
    from tests.conftest import Run

LIMIT = 60.0  # s; a wait that takes so long has failed


@asynccontextmanager
async def connected(bootstrap: str, **settings: float) -> AsyncIterator[KafkaBroker]:
    broker = KafkaBroker(Connection(bootstrap_servers=bootstrap, **settings))
    try:
        yield broker
    finally:
        async with asyncio.timeout(LIMIT):
            await broker.close()


async def until_lanes(member: Membership, *counts: int) -> frozenset[int]:
    """The member's lanes, once they are so many: one that was slow, or that a restart kept from beating, loses its
    session, and others have its lanes for a while."""
    async with asyncio.timeout(LIMIT):
        while len(lanes := await member.changed()) not in counts:
            continue
    return lanes


async def take(reader: Reader, count: int) -> list[Record]:
    taken: list[Record] = []
    async with asyncio.timeout(LIMIT):
        while len(taken) < count:
            try:
                taken += await reader.poll(timeout=1.0)
            except BrokerUnavailableError:
                continue
    return taken


# -- nobody there, or somebody else


def test_an_address_where_nobody_listens_is_named_with_what_to_do(run: Run) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"

        async def scene() -> None:
            async with connected(address, patience_s=0.3) as broker:
                with pytest.raises(BrokerUnavailableError, match=address) as caught:
                    await broker.cluster()
                assert "KAFKA_BOOTSTRAP_SERVERS" in caught.value.hint
                with pytest.raises(BrokerUnavailableError):
                    await broker.producer("p")
                with pytest.raises(BrokerUnavailableError):
                    await broker.reader("r")
                with pytest.raises(BrokerUnavailableError):
                    await broker.join("g", "t", [0])

        run(scene())


def test_a_port_that_never_answers_is_given_up_within_the_patience(run: Run) -> None:
    async def scene() -> None:
        gone = asyncio.Event()

        async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await gone.wait()
            writer.close()

        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            async with connected(f"{host}:{port}", patience_s=0.3) as broker:
                with pytest.raises(BrokerUnavailableError, match=f"{host}:{port}"):
                    await broker.cluster()
            gone.set()

    run(scene())


def test_a_port_that_speaks_http_is_called_so_and_not_waited_for(run: Run) -> None:
    async def scene() -> None:
        async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(http, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            async with connected(f"{host}:{port}", patience_s=LIMIT) as broker:
                with pytest.raises(BrokerError, match="HTTP") as caught:
                    await broker.cluster()
                assert not isinstance(caught.value, BrokerUnavailableError)
                assert "KAFKA_BOOTSTRAP_SERVERS" in caught.value.hint

    run(scene())


@pytest.mark.kafka
def test_the_second_bootstrap_server_will_do(run: Run, kafka_bootstrap: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        addresses = f"127.0.0.1:{unused.getsockname()[1]},{kafka_bootstrap}"

        async def scene() -> None:
            async with connected(addresses) as broker:
                assert (await broker.cluster()).brokers == 1

        run(scene())


def test_without_the_c_extension_it_refuses_and_says_how_to_get_it() -> None:
    program = """
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.errors import BrokerError
import asyncio
async def main():
    try:
        KafkaBroker(Connection())
    except BrokerError as error:
        print(error, "|", error.hint)
asyncio.run(main())
"""
    environment = {**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "C extension" in told.stdout and "reinstall" in told.stdout


# -- a broker that freezes, dies and comes back


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A broker of this module alone, to be frozen and killed: its address and state directory."""
    state_dir = tmp_path_factory.mktemp("mortal")
    with acquire(BrokerSettings(state_dir, linger_s=0.0), progress=print) as lease:
        yield lease.bootstrap, state_dir


def jvm(state_dir: Path) -> int:
    pid = status(state_dir).jvm_pid
    assert pid is not None
    return pid


@pytest.mark.kafka
def test_records_sent_while_the_broker_is_killed_are_in_the_log_once_and_in_order(
    run: Run, mortal: tuple[str, Path], unique: Callable[[], str]
) -> None:
    bootstrap, state_dir = mortal
    name, count, lanes = unique(), 400, 2

    async def scene() -> None:
        async with connected(bootstrap, delivery_timeout_s=LIMIT) as broker:
            await broker.create([TopicSpec(name, lanes)])
            parts = [TopicPartition(name, lane) for lane in range(lanes)]
            producer, reader = await broker.producer("p"), await broker.reader("r")
            reader.assign(dict.fromkeys(parts, 0))
            reading = asyncio.create_task(take(reader, count * lanes))
            sent: dict[TopicPartition, list[asyncio.Future[int]]] = {part: [] for part in parts}
            for n in range(count):
                for part in parts:
                    sent[part].append(producer.send(part, b"%d" % n + bytes(2000)))
                if n == count // 2:
                    os.kill(jvm(state_dir), signal.SIGKILL)
                if n % 10 == 0:
                    await asyncio.sleep(0.001)  # lets requests fly, so that some are lost with the broker
            for part in parts:
                assert await asyncio.gather(*sent[part]) == list(range(count))
            read = await reading
            for part in parts:
                got = [record.value for record in read if record.where == part]
                assert got == [b"%d" % n + bytes(2000) for n in range(count)]

    run(scene())
    assert status(state_dir).restarts >= 1


@pytest.mark.kafka
def test_a_frozen_broker_breaks_the_producer_in_time_and_the_reader_goes_on_afterwards(
    run: Run, mortal: tuple[str, Path], unique: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    bootstrap, state_dir = mortal
    where = TopicPartition(unique(), 0)
    caplog.set_level(logging.INFO)

    async def scene() -> None:
        async with (
            connected(bootstrap, patience_s=2.0, delivery_timeout_s=2.0, request_timeout_s=2.0) as broker,
            connected(bootstrap) as later,
        ):
            await broker.create([TopicSpec(where.topic, 1)])
            producer, reader = await broker.producer("p"), await broker.reader("r")
            await producer.send(where, b"0")
            reader.assign({where: 0})
            assert len(await take(reader, 1)) == 1
            pid = jvm(state_dir)
            freeze(pid)
            try:
                async with asyncio.timeout(LIMIT):
                    lost = [producer.send(where, b"%d" % n) for n in range(5)]
                    for future in lost:
                        with pytest.raises(DeliveryError):
                            await future
                    assert producer.broken and producer.pending() == 0
                    await producer.close(timeout=LIMIT)
                    with pytest.raises(BrokerUnavailableError):
                        await broker.bounds([where])
                    with pytest.raises(BrokerUnavailableError, match="r has had no answer"):
                        await reader.poll(timeout=LIMIT)
            finally:
                os.kill(pid, signal.SIGCONT)
            again = await later.producer("q")
            await again.send(where, b"after")
            values: list[bytes | None] = []
            while b"after" not in values:  # what was lost may still have reached the broker, as a whole, in order
                values += [record.value for record in await take(reader, 1)]
            values = values[: values.index(b"after") + 1]  # or it was even slower
            assert values in ([b"after"], [b"0", b"1", b"2", b"3", b"4", b"after"])

    run(scene())
    lines = [record.getMessage() for record in caplog.records if record.name == "akkafka.broker"]
    assert len([line for line in lines if "does not answer" in line]) == 1
    assert not [record for record in caplog.records if record.name.startswith("aiokafka")]


@pytest.mark.kafka
def test_a_group_outlives_a_restart_of_the_broker(
    run: Run, mortal: tuple[str, Path], unique: Callable[[], str]
) -> None:
    bootstrap, state_dir = mortal
    name = unique()

    async def scene() -> None:
        async with connected(bootstrap, session_timeout_s=3.0) as broker:
            await broker.create([TopicSpec(name, 4)])
            first = await broker.join(name, name, range(4))
            await until_lanes(first, 4)
            os.kill(jvm(state_dir), signal.SIGKILL)
            second = await joined_again(broker, name)
            async with asyncio.timeout(LIMIT):
                while not (len(first.lanes) == len(second.lanes) == 2 and first.lanes | second.lanes == {0, 1, 2, 3}):
                    changes = [asyncio.ensure_future(member.changed()) for member in (first, second)]
                    await asyncio.wait(changes, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
                    for change in changes:
                        change.cancel()

    async def joined_again(broker: KafkaBroker, name: str) -> Membership:
        while True:
            try:
                return await broker.join(name, name, range(4))
            except BrokerUnavailableError:
                continue

    run(scene())


@pytest.mark.kafka
def test_where_the_broker_allows_no_short_session_a_member_takes_kafkas_own(
    run: Run, kafka_bootstrap: str, unique: Callable[[], str]
) -> None:
    name = unique()

    async def scene() -> None:
        # The test's broker allows 1 s and more (group.min.session.timeout.ms), as others allow 6 s and more.
        async with connected(kafka_bootstrap, session_timeout_s=0.5, heartbeat_s=0.2) as broker:
            await broker.create([TopicSpec(name, 2)])
            async with asyncio.timeout(LIMIT):
                member = await broker.join(name, name, [0, 1])
                assert await member.changed() == {0, 1}

    run(scene())


MEMBER = """
import asyncio, sys
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
async def main(bootstrap, name):
    broker = KafkaBroker(Connection(bootstrap_servers=bootstrap, session_timeout_s=1.0, heartbeat_s=0.2))
    member = await broker.join(name, name, [0, 1])
    print(sorted(await member.changed()), flush=True)
    await asyncio.Event().wait()
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.kafka
def test_the_lanes_of_a_killed_process_go_to_the_others_when_its_session_ends(
    run: Run, kafka_bootstrap: str, unique: Callable[[], str]
) -> None:
    name = unique()

    async def scene() -> None:
        async with connected(kafka_bootstrap, session_timeout_s=1.0, heartbeat_s=0.2) as broker:
            await broker.create([TopicSpec(name, 2)])
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", MEMBER, kafka_bootstrap, name, env=environment, stdout=subprocess.PIPE
            )
            try:
                assert process.stdout is not None
                async with asyncio.timeout(LIMIT):
                    assert await process.stdout.readline() == b"[0, 1]\n"
                member = await broker.join(name, name, [0, 1])
                await until_lanes(member, 1)
                process.kill()
                await until_lanes(member, 2)
            finally:
                if process.returncode is None:
                    process.kill()
                await process.communicate()

    run(scene())


@pytest.mark.kafka
def test_a_group_that_another_kind_of_consumer_uses_is_refused_by_name(
    run: Run, kafka_bootstrap: str, unique: Callable[[], str]
) -> None:
    name = unique()

    async def scene() -> None:
        async with connected(kafka_bootstrap) as broker:
            await broker.create([TopicSpec(name, 1)])
            stranger = AIOKafkaConsumer(name, bootstrap_servers=kafka_bootstrap, group_id=name)
            await stranger.start()
            try:
                member = await broker.join(name, name, [0])
                with pytest.raises(BrokerError, match=name):
                    await member.changed()
            finally:
                await stranger.stop()

    run(scene())


@pytest.mark.kafka
def test_the_position_passes_over_offsets_that_hold_no_record(
    run: Run, kafka_bootstrap: str, unique: Callable[[], str]
) -> None:
    where = TopicPartition(unique(), 0)

    async def scene() -> None:
        async with connected(kafka_bootstrap) as broker:
            await broker.create([TopicSpec(where.topic, 1)])
            stranger = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id=where.topic)
            await stranger.start()
            try:
                async with stranger.transaction():
                    await stranger.send(where.topic, b"x", partition=0)
            finally:
                await stranger.stop()
            reader = await broker.reader("r")
            reader.assign({where: 0})
            assert [record.value for record in await take(reader, 1)] == [b"x"]
            async with asyncio.timeout(LIMIT):
                while reader.position(where) != 2:  # the second offset holds the transaction's end
                    assert not await reader.poll(timeout=0.1)
            assert (await broker.bounds([where]))[where] == (0, 2)

    run(scene())


@pytest.mark.kafka
def test_settings_the_broker_refuses_are_an_error_with_its_words(
    run: Run, kafka_bootstrap: str, unique: Callable[[], str]
) -> None:
    async def scene() -> None:
        async with connected(kafka_bootstrap) as broker:
            with pytest.raises(BrokerError, match=r"no\.such\.setting"):
                await broker.create([TopicSpec(unique(), 1, {"no.such.setting": "1"})])

    run(scene())


@pytest.mark.kafka
def test_more_copies_than_brokers_are_refused(run: Run, kafka_bootstrap: str, unique: Callable[[], str]) -> None:
    async def scene() -> None:
        broker = KafkaBroker(Connection(bootstrap_servers=kafka_bootstrap, replication_factor=3))
        with pytest.raises(BrokerError, match="replication factor"):
            await broker.create([TopicSpec(unique(), 1)])
        await broker.close()

    run(scene())
