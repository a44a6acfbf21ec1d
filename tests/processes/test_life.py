"""Start orders, joins, leaves and kills of real processes over a real broker."""

from __future__ import annotations

import asyncio
import pickle
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from akkafka.broker.base import Broker, TopicPartition
from akkafka.broker.network import Network, define
from akkafka.broker.reading import read_to_end, reading
from akkafka.protocol import wire
from akkafka.protocol.figures import PassFigures
from akkafka.protocol.messages import DeadLetter, Forward, Mode

from ..conftest import Run
from ..pipeline.fleet import small_definition
from .fleet import PATIENCE_S, Process, Processes, Watch, connected

pytestmark = pytest.mark.kafka

BATCHES = 6  # of the small network, in an epoch


def test_processes_may_start_in_any_order(processes: Processes, run: Run, unique: Callable[[], str]) -> None:
    async def scene() -> None:
        name = unique()
        first = processes.gate(name, 1)  # before the network is defined
        trainer = processes.start("sentinel", "train", "--network", name, "--epochs", "3")  # before its gates
        validator = processes.start("sentinel", "validate", "--network", name, "--once")
        await first.prints("waiting for a definition of network")
        async with connected(processes.bootstrap) as broker:
            network = await define(broker, small_definition(), name)
            processes.gate(name, 2, 0)  # the last gates, both in one process
            assert await trainer.exit_code() == 0
            assert await validator.exit_code() == 0
            await Watch(broker, network).every_batch_once(3 * BATCHES)
        assert re.search(r"validate: loss \d\.\d+, accuracy \d+\.\d+% \(180 samples", validator.printed)

    run(scene())


def test_a_gate_that_is_terminated_and_then_killed_goes_on_where_it_was(
    processes: Processes, run: Run, unique: Callable[[], str]
) -> None:
    async def scene() -> None:
        name = unique()
        async with connected(processes.bootstrap) as broker:
            network = await define(broker, small_definition("lanes.train=2", "schedule.window=3"), name)
            watch = Watch(broker, network)
            processes.gate(name, 0)
            middle = processes.gate(name, 1)
            processes.gate(name, 2)
            trainer = processes.start("sentinel", "train", "--network", name)  # without an end: it is in the middle
            await watch.until_version(40)
            middle.kill(signal.SIGTERM)
            assert await middle.exit_code() == 0
            reached = sum((await watch.issued()).values())
            middle = processes.gate(name, 1)
            await watch.until_version(reached + 60)
            middle.kill(signal.SIGKILL)
            await middle.exit_code()
            reached = sum((await watch.issued()).values())
            processes.gate(name, 1)
            await watch.until_version(reached + 60)
            trainer.kill(signal.SIGTERM)
            assert await trainer.exit_code() == 0
            await watch.every_issued_batch_once()

    run(scene())


def _moving(watch: Watch) -> list[PassFigures]:
    """Passes that saw the gates train: without one, nothing is tested."""
    return [each for each in watch.passes if each.versions[0][0] < each.versions[0][1]]


def test_every_process_may_be_killed_and_started_again(
    processes: Processes, run: Run, unique: Callable[[], str]
) -> None:
    async def scene() -> None:
        name = unique()
        async with connected(processes.bootstrap) as broker:
            network = await define(broker, small_definition("lanes.train=2", "schedule.window=3"), name)
            watch = Watch(broker, network)

            def trainer_started() -> Process:
                return processes.start("sentinel", "train", "--network", name)  # without an end: it is in the middle

            gates = [processes.gate(name, gate) for gate in range(3)]
            trainer = trainer_started()
            await watch.until_version(30)
            for n in range(4):
                trainer.kill(signal.SIGKILL)
                gates[n % 3].kill(signal.SIGKILL)
                reached = sum((await watch.issued()).values())
                gates[n % 3] = processes.gate(name, n % 3)
                trainer = trainer_started()
                await watch.until_version(reached + 60)
            trainer.kill(signal.SIGTERM)
            assert await trainer.exit_code() == 0
            await watch.every_issued_batch_once()

    run(scene())


def test_a_second_validation_sentinel_joins_and_leaves_while_training_goes_on(
    processes: Processes, run: Run, unique: Callable[[], str]
) -> None:
    async def scene() -> None:
        name = unique()
        async with connected(processes.bootstrap) as broker:
            network = await define(broker, small_definition("lanes.validate=2"), name)
            watch = Watch(broker, network)
            processes.gate(name, 0, 1, 2)
            processes.start("sentinel", "train", "--network", name)
            processes.start("sentinel", "validate", "--network", name, "--every", "0.2")
            await watch.until(lambda: len(watch.passes) >= 3)
            second = processes.start("sentinel", "validate", "--network", name, "--every", "0.2")
            await second.prints("validate: loss")
            version = sum((await watch.issued()).values())
            second.kill(signal.SIGTERM)
            assert await second.exit_code() == 0
            passes = len(watch.passes)
            await watch.until_version(version + 30)
            await watch.until(lambda: len(watch.passes) >= passes + 3)
            assert all(each.samples == 180 for each in watch.passes)

    run(scene())


def test_validation_during_training_equals_validation_at_rest_to_the_last_bit(
    processes: Processes, run: Run, unique: Callable[[], str]
) -> None:
    async def scene() -> None:
        name = unique()
        chance = "gate.fc2.layers=[{type='dropout', p=0.5}, {type='linear', out=24}, {type='relu'}]"
        frozen = small_definition(
            "batch_size=32", "lanes.validate=2", "schedule.window=3", "optimizer={type='sgd', lr=0.0}", chance
        )
        async with connected(processes.bootstrap) as broker:
            watch = Watch(broker, await define(broker, frozen, name))
            processes.gate(name, 0, 1, 2)
            trainer = processes.start("sentinel", "train", "--network", name)
            processes.start("sentinel", "validate", "--network", name, "--every", "0.1")
            await watch.until(lambda: len(watch.passes) >= 5 and len(_moving(watch)) >= 2)
            trainer.kill(signal.SIGTERM)
            assert await trainer.exit_code() == 0
            at_rest = processes.start("sentinel", "validate", "--network", name, "--once")
            assert await at_rest.exit_code() == 0
            count = len(watch.passes)
            await watch.until(lambda: len(watch.passes) > count)
            results = {(each.loss, each.accuracy, each.samples) for each in watch.passes}
        assert len(results) == 1

    run(scene())


def test_garbage_and_pickles_in_the_edges_become_dead_letters_and_training_goes_on(
    processes: Processes, run: Run, unique: Callable[[], str], tmp_path: Path
) -> None:
    async def scene() -> None:
        name, trap = unique(), tmp_path / "run-by-a-pickle"
        async with connected(processes.bootstrap) as broker:
            network = await define(broker, small_definition("schedule.window=2"), name)
            topics, watch = network.topics, Watch(broker, network)
            producer = await broker.producer("vandal")
            attacked = [topics.forward(gate) for gate in range(4)] + [topics.backward(gate) for gate in range(4)]
            garbage = [b"", b"garbage", pickle.dumps(_Trap(trap)), wire.MAGIC + b"\x01\x01" + b"\xc1" * 40]

            async def vandalise() -> None:
                for topic in attacked:
                    for value in garbage:
                        await producer.send(TopicPartition(topic, 0), value)

            await vandalise()
            processes.gate(name, 0, 1, 2)
            trainer = processes.start("sentinel", "train", "--network", name, "--epochs", "30")
            await watch.until_version(20)
            await vandalise()
            assert await trainer.exit_code() == 0
            await producer.close()
            await watch.every_batch_once(30 * BATCHES)
            gate_inputs = {topics.forward(gate) for gate in range(3)} | {topics.backward(gate) for gate in range(1, 4)}
            letters = await _dead_letters(broker, network.topics.dead, gate_inputs)
        assert all(letter.reason for letter in letters)
        assert not trap.exists()

    run(scene())


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


async def _dead_letters(broker: Broker, topic: str, about: set[str]) -> list[DeadLetter]:
    """Until there are some about each of these topics: they are sent beside the work, which does not wait for them."""
    letters: list[DeadLetter] = []
    async with asyncio.timeout(PATIENCE_S), reading(broker, "dead") as reader:
        reader.assign({TopicPartition(topic, 0): 0})
        while not about <= {letter.topic for letter in letters}:
            for record in await reader.poll(timeout=5.0):
                message = wire.decode(record.value)
                assert isinstance(message, DeadLetter)
                letters.append(message)
    return letters


def test_two_training_sentinels_share_an_epoch_and_no_sample_is_lost_or_doubled(
    processes: Processes, run: Run, unique: Callable[[], str]
) -> None:
    async def scene() -> None:
        name = unique()
        async with connected(processes.bootstrap) as broker:
            network = await define(broker, small_definition("batch_size=100", "lanes.train=2"), name, keep_log=True)
            processes.gate(name, 0, 1, 2)
            trainers = [processes.start("sentinel", "train", "--network", name, "--epochs", "6") for _ in range(2)]
            assert [await trainer.exit_code() for trainer in trainers] == [0, 0]
            samples = await _sample_ids(broker, network)
        assert sorted(samples) == list(range(6))
        assert all(sorted(ids) == list(range(1437)) for ids in samples.values())

    run(scene())


async def _sample_ids(broker: Broker, network: Network) -> dict[int, list[int]]:
    """Ids of the samples that went in, by epoch; first copies only."""
    found: dict[int, list[int]] = {}
    seen: set[tuple[int, int]] = set()
    async with reading(broker, "ids") as reader:
        for lane in network.definition.plan.of(Mode.TRAIN):
            where = TopicPartition(network.topics.forward(0), lane)
            async for record in read_to_end(broker, reader, where):
                message = wire.decode(record.value)
                assert isinstance(message, Forward)
                if (lane, message.seq) not in seen:
                    seen.add((lane, message.seq))
                    ids = message.context["ids"]
                    found.setdefault(message.cursor.epoch, []).extend(ids.tolist())
    return found
