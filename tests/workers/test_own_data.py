"""A sentinel with data of its own trains a spare lane of a network that trains already, beside the network's own."""

from __future__ import annotations

import signal
from collections.abc import Callable
from itertools import groupby

import numpy as np
import pytest

from akkafka.broker.base import Broker
from akkafka.broker.network import Network, define
from akkafka.broker.network import load as load_network
from akkafka.data import DataSpec, load
from akkafka.protocol.messages import Mode
from akkafka.sentinel.lanes import training_places

from ..conftest import Run
from ..pipeline.fleet import journal, small_definition
from ..processes.fleet import Process, Processes, Watch, connected
from .conftest import WORKERS

Allow = Callable[..., None]
BATCHES = 6  # of the small network, in an epoch; the noisy digits are as many as the plain ones
EPOCHS = 40


# The data


def test_the_noisy_digits_are_the_digits_with_noise_and_always_the_same(allow: Allow) -> None:
    allow("own_data")
    for split in ("train", "validation", "test"):
        clean, noisy = (load(DataSpec(name=name), split) for name in ("digits", "noisy-digits"))
        np.testing.assert_array_equal(noisy.y, clean.y)
        difference = noisy.x.astype(int) - clean.x
        assert difference.min() == -3 and difference.max() == 3 and noisy.x.max() == 16
        assert noisy.fingerprint == load(DataSpec(name="noisy-digits"), split).fingerprint


# Real processes


def guest(fleet: Processes, network: str, *words: str) -> Process:
    """A training sentinel with the sample's data."""
    flags = ("--network", network, "--data", "noisy-digits", "--allow", "own_data", *words)
    return fleet.start("sentinel", "train", *flags, env={"PYTHONPATH": str(WORKERS / "own_data")})


async def issued(broker: Broker, network: Network, lane: int) -> int:
    """Batches that went into a lane."""
    return (await training_places(broker, network, [lane]))[lane].standing.issued


@pytest.mark.kafka
def test_own_data_train_a_spare_lane_beside_the_networks_own_and_every_batch_counts_once(
    processes: Processes, run: Run, unique: Callable[[], str]
) -> None:
    async def scene() -> None:
        name = unique()
        async with connected(processes.bootstrap) as broker:
            network = await define(broker, small_definition("schedule.window=2"), name, keep_log=True)
            (own,), (spare,) = network.definition.plan.of(Mode.TRAIN), network.definition.plan.spare
            watch = Watch(broker, network)
            processes.gate(name, 0, 1, 2)
            host = processes.start("sentinel", "train", "--network", name)
            await watch.until_version(3)
            first = guest(processes, name, "--epochs", str(EPOCHS))
            await first.prints(f"claimed lane {spare}")
            assert await first.exit_code() == 0
            host.kill(signal.SIGTERM)
            assert await host.exit_code() == 0
            batches = {own: await issued(broker, network, own), spare: EPOCHS * BATCHES}
            await watch.until_version(sum(batches.values()))
            expected = sorted((lane, seq) for lane, count in batches.items() for seq in range(count))
            for gate in range(network.gate_count):
                records = await journal(broker, network, gate)
                assert sorted((record.lane, record.seq) for record in records) == expected
                assert not any(record.void for record in records)
                turns = [lane for lane, _ in groupby(record.lane for record in records)]
                assert turns.count(spare) > 1, "one after the other is not beside each other"

    run(scene())


@pytest.mark.kafka
def test_own_data_go_on_where_they_were_and_other_data_find_no_lane(
    processes: Processes, run: Run, unique: Callable[[], str]
) -> None:
    async def scene() -> None:
        name = unique()
        async with connected(processes.bootstrap) as broker:
            network = await define(broker, small_definition("schedule.window=2"), name, keep_log=True)
            (spare,) = network.definition.plan.spare
            processes.gate(name, 0, 1, 2)
            first = guest(processes, name, "--epochs", str(EPOCHS))
            await Watch(broker, network).until_version(10)
            first.kill(signal.SIGKILL)
            await first.exit_code()
            second = guest(processes, name, "--epochs", str(EPOCHS))
            other = guest(processes, name, "--shard", "0:100")
            assert await other.exit_code() == 7
            assert "no spare lane left" in other.printed and "[lanes] spare = " in other.printed
            assert await second.exit_code() == 0
            found = await load_network(broker, name)
            assert found is not None and list(found.claims) == [spare]
            assert await issued(broker, network, spare) == EPOCHS * BATCHES
            for gate in range(network.gate_count):
                records = await journal(broker, network, gate)
                assert [(record.lane, record.seq) for record in records] == [
                    (spare, n) for n in range(EPOCHS * BATCHES)
                ]

    run(scene())
