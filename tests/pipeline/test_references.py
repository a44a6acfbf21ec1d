"""Batches that name rows of a published data set: the same training, and nothing forged stops a lane."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from akkafka.broker import library
from akkafka.broker.base import Broker, TopicPartition
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.library import Library, publish, samples_id
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.network import Network, define
from akkafka.broker.reading import read_to_end, reading
from akkafka.data.dataset import Dataset
from akkafka.data.epochs import Cursor
from akkafka.errors import ConfigError
from akkafka.protocol import wire
from akkafka.protocol.messages import Forward, Mode, Rows, SamplesManifest
from akkafka.sentinel.source import published

from ..conftest import Run
from .fleet import fleet, small_definition, train_through
from .reference import same_bits

LIMIT = 1 << 20
X = np.random.default_rng(1).integers(0, 256, (1000, 7, 5), dtype=np.uint8)  # 35 pieces of 1000 bytes


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest, run: Run) -> Iterator[Broker]:
    """Both brokers in turn."""
    if request.param == "memory":
        yield MemoryBroker()
        return
    kafka = KafkaBroker(Connection(bootstrap_servers=request.getfixturevalue("kafka_bootstrap")))
    yield kafka
    run(kafka.close())


@pytest.fixture
def network(broker: Broker, run: Run, unique: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> Network:
    """A network whose data sets travel in small pieces."""
    monkeypatch.setattr(library, "PIECE_BYTES", 1000)
    return run(define(broker, small_definition(), unique()))


def quiet(_: str) -> None:
    return


def fetched(run: Run, broker: Broker, network: Network, data: bytes, limit: int = LIMIT) -> Any:
    found = run(Library(broker, network, "reader", limit).fetch(data))
    return found if isinstance(found, str) else found.array


async def records(broker: Broker, network: Network, partition: int) -> list[bytes]:
    where = TopicPartition(network.topics.data, partition)
    async with reading(broker, "look") as reader:
        return [record.value or b"" async for record in read_to_end(broker, reader, where)]


async def put(broker: Broker, network: Network, partition: int, value: bytes, key: bytes) -> None:
    producer = await broker.producer("forger")
    await producer.send(TopicPartition(network.topics.data, partition), value, key=key)
    await producer.close()


# --- publishing and fetching -----------------------------------------------------------------------------------


def test_what_is_published_is_fetched_bit_for_bit_and_stays_in_the_log_once(
    broker: Broker, network: Network, run: Run
) -> None:
    names = {run(publish(broker, network, X, writer, quiet)) for writer in ("a", "b")}
    (data,) = names
    assert np.array_equal(fetched(run, broker, network, data), X)
    assert len(run(records(broker, network, 0))) == 1
    assert len(run(records(broker, network, 1))) == 35


@pytest.mark.parametrize("x", [X[:3, 0, 0].astype(np.float32), X[:, :, ::2], X[:1]], ids=["tiny", "strided", "one"])
def test_every_dtype_shape_and_layout_comes_back(broker: Broker, network: Network, run: Run, x: Any) -> None:
    found = fetched(run, broker, network, run(publish(broker, network, x, "a", quiet)))
    assert found.dtype == x.dtype and np.array_equal(found, x)


def test_rows_are_taken_in_their_own_order_and_may_repeat(network: Network, broker: Broker, run: Run) -> None:
    data = run(publish(broker, network, X, "a", quiet))
    samples = run(Library(broker, network, "reader", LIMIT).fetch(data))
    assert not isinstance(samples, str)
    numbers = np.array([999, 0, 5, 999, 3, 700, 1], np.uint32)
    assert np.array_equal(samples.take(numbers), X[numbers])


def test_names_differ_with_dtype_shape_and_content() -> None:
    others = [X.view(np.int8), X.reshape(1000, 35), X[::-1], X[:999]]
    assert len({samples_id(x) for x in (X, *others)}) == 5
    assert samples_id(np.asfortranarray(X)) == samples_id(X)


def test_pieces_that_moved_since_they_were_published_are_found(broker: Broker, network: Network, run: Run) -> None:
    data = run(publish(broker, network, X, "a", quiet))
    manifest = wire.decode(run(records(broker, network, 0))[0])
    assert isinstance(manifest, SamplesManifest)
    run(put(broker, network, 0, wire.encode(replace(manifest, start=30, end=31)), data))
    assert np.array_equal(fetched(run, broker, network, data), X)


# --- what cannot be had ----------------------------------------------------------------------------------------


def test_a_data_set_that_nobody_published_is_named(broker: Broker, network: Network, run: Run) -> None:
    assert fetched(run, broker, network, b"0123456789abcdef") == (
        f"data set {b'0123456789abcdef'.hex()} is not in topic {network.topics.data}"
    )


def test_a_fetch_that_is_given_up_leaves_its_file_open_until_what_is_being_written_is_written(
    broker: Broker, network: Network, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the rest would go into whatever file or connection has the descriptor's number by then."""
    begun, sound = threading.Event(), []

    def slow(file: int, pieces: Sequence[bytes]) -> int:
        begun.set()
        time.sleep(0.3)
        sound.append(os.fstat(file).st_nlink == 0)  # OSError once it is closed
        return os.write(file, b"".join(pieces))

    async def scene() -> None:
        data = await publish(broker, network, X, "writer", quiet)
        monkeypatch.setattr(os, "writev", slow)
        fetching = asyncio.create_task(Library(broker, network, "reader", LIMIT).fetch(data))
        await asyncio.to_thread(begun.wait)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching

    run(scene())
    assert sound and all(sound)


def test_a_data_set_is_found_once_it_is_published(broker: Broker, network: Network, run: Run) -> None:
    shelf = Library(broker, network, "reader", LIMIT)
    assert isinstance(run(shelf.fetch(samples_id(X))), str)
    run(publish(broker, network, X, "a", quiet))
    assert not isinstance(run(shelf.fetch(samples_id(X))), str)


def test_a_data_set_over_the_limit_is_refused_before_anything_is_read(
    broker: Broker, network: Network, run: Run
) -> None:
    data = run(publish(broker, network, X, "a", quiet))
    assert "35000 bytes, a gate holds 34999" in fetched(run, broker, network, data, limit=34_999)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": (2**31, 2**31)}, "a gate holds"),
        ({"shape": (1000, 7, 6)}, "do not fill"),
        ({"shape": (0, 7, 5)}, "do not fill"),
        ({"shape": (1000, 5, 7)}, "another one than its name says"),
        ({"dtype": "|i1"}, "another one than its name says"),
        ({"start": 900, "end": 9000}, None),
        ({"chunks": (bytes(32),) * 35}, "piece 0 of 35 is missing or broken"),
    ],
    ids=str,
)
def test_a_forged_manifest_is_named_or_harmless(
    broker: Broker, network: Network, run: Run, change: dict[str, Any], words: str | None
) -> None:
    data = run(publish(broker, network, X, "a", quiet))
    manifest = wire.decode(run(records(broker, network, 0))[0])
    assert isinstance(manifest, SamplesManifest)
    run(put(broker, network, 0, wire.encode(replace(manifest, **change)), data))
    found = fetched(run, broker, network, data)
    assert words in found if words is not None else np.array_equal(found, X)


def test_forged_pieces_and_garbage_are_passed_over(broker: Broker, network: Network, run: Run) -> None:
    for partition in (0, 1):
        run(put(broker, network, partition, b"\x80\x04.", b"key"))
    data = run(publish(broker, network, X, "a", quiet))
    assert np.array_equal(fetched(run, broker, network, data), X)


def test_the_data_set_that_was_used_last_stays_when_room_is_needed(broker: Broker, network: Network, run: Run) -> None:
    parts = [X[:400], X[300:700], X[600:]]
    names = [run(publish(broker, network, x, "a", quiet)) for x in parts]
    shelf = Library(broker, network, "reader", 2 * 14_000)
    run(shelf.fetch(names[0]))
    run(shelf.fetch(names[1]))
    assert shelf.held(names[0]) is not None
    run(shelf.fetch(names[2]))
    assert [shelf.held(name) is not None for name in names] == [True, False, True]


# --- training ----------------------------------------------------------------------------------------------------


def test_training_by_reference_gives_the_same_weights_as_by_value(
    broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    ways = [
        small_definition("schedule.kind=fixed", "schedule.window=3", f"wire.samples={way}")
        for way in ("value", "reference")
    ]
    (valued, states), (referred, others) = (run(train_through(broker, d, unique(), epochs=2)) for d in ways)
    assert all(same_bits(a.params, b.params) for a, b in zip(states, others, strict=True))
    assert [run(_inputs(broker, network)) for network in (valued, referred)] == [{"value"}, {"rows"}]


@pytest.mark.parametrize(("way", "outcome"), [("value", None), ("auto", None), ("reference", "reference_limit_bytes")])
def test_a_data_set_over_the_limit_goes_by_value_unless_that_is_ruled_out(
    run: Run, unique: Callable[[], str], way: str, outcome: str | None
) -> None:
    broker = MemoryBroker()
    network = run(
        define(broker, small_definition(f"wire.samples={way}", "wire.reference_limit_bytes=1048576"), unique())
    )
    large = Dataset("digits", "train", np.zeros((20_000, 64), np.uint8), np.zeros(20_000, np.uint8), 10)
    going = published(broker, network, large, "a", asyncio.Event(), quiet)
    if outcome is None:
        assert run(going) is None
        return
    with pytest.raises(ConfigError, match=outcome):
        run(going)


async def _inputs(broker: Broker, network: Network) -> set[str]:
    """How the batches in gate 0's training lane came."""
    where = TopicPartition(network.topics.forward(0), 0)
    async with reading(broker, "look") as reader:
        messages = [wire.decode(r.value) async for r in read_to_end(broker, reader, where)]
    return {"value" if m.x is not None else "rows" for m in messages if isinstance(m, Forward)}


@pytest.mark.parametrize(
    ("data", "numbers", "words"),
    [
        (bytes(16), [0], "is not in topic"),
        (None, [0, 1437], "row 1437 of data set"),
        (None, [7] * 1_100_000, "a batch of 70400000 bytes"),
    ],
    ids=["unknown", "beyond", "huge"],
)
def test_rows_that_cannot_be_had_make_a_void_batch(
    run: Run, unique: Callable[[], str], data: bytes | None, numbers: list[int], words: str
) -> None:
    broker, definition = MemoryBroker(), small_definition()
    digits = np.zeros((1437, 64), np.uint8)

    async def scenario() -> str:
        async with fleet(broker, definition, unique()) as running:
            network = running.network
            gate = running.start_gate(0)
            name = await publish(broker, network, digits.reshape(-1, *definition.layers[0].in_shape), "a", quiet)
            lane = network.lanes_of(Mode.VALIDATE)[0]
            rows = Rows(data or name, np.array(numbers, np.uint32))
            message = Forward(network.run, Mode.VALIDATE, lane, 0, Cursor(0, 0), Cursor(0, 1), (), None, rows=rows)
            producer = await broker.producer("forger")
            await producer.send(TopicPartition(network.topics.forward(0), lane), wire.encode(message))
            await producer.close()
            out = TopicPartition(network.topics.forward(1), lane)
            async with reading(broker, "out") as reader:
                reader.assign({out: 0})
                (record,) = await reader.poll(timeout=20.0)
            await running.stop(gate)
        answer = wire.decode(record.value)
        assert isinstance(answer, Forward) and answer.rows is None
        return answer.void

    assert words in run(scenario())
