"""Ownership is a matter of efficiency: two processes at one gate for a whole run, or one that wakes up late."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest

from akkafka.broker.base import Broker, TopicPartition
from akkafka.broker.network import Network, define
from akkafka.cli.chaos.checks import check_log
from akkafka.gate.restore import restore

from ..conftest import Run
from ..pipeline.fleet import small_definition
from ..processes.fleet import PATIENCE_S, Process, Processes, Watch, connected

pytestmark = pytest.mark.kafka

BATCHES = 6  # of the small network, in an epoch
EPOCHS = 20


async def all_holds(broker: Broker, network: Network) -> None:
    """Assert every check of the log."""
    checks = await check_log(broker, network, at_rest=False)
    assert all(check.holds for check in checks), "\n".join(f"{c.name}: {c.detail}" for c in checks if not c.holds)


@pytest.mark.parametrize("kind", ["arrival", "fixed"])
def test_two_active_processes_at_every_gate_for_a_whole_run_do_no_harm(
    processes: Processes, run: Run, unique: Callable[[], str], kind: str
) -> None:
    async def scene() -> None:
        name = unique()
        async with connected(processes.bootstrap) as broker:
            definition = small_definition("lanes.train=2", "schedule.window=3", f"schedule.kind={kind}")
            network = await define(broker, definition, name, keep_log=True)
            layers = [word for gate in range(3) for word in ("--layer", str(gate))]
            both = [processes.start("gate", *layers, "--network", name, "--no-standby") for _ in range(2)]
            await _until(lambda: all(each.printed.count("working from version 0") == 3 for each in both))
            watch, epochs = Watch(broker, network), 0
            while epochs == 0 or not await _copies(broker, network):  # both write to the journals, or nothing is shown
                epochs += EPOCHS
                trainer = processes.start("sentinel", "train", "--network", name, "--epochs", str(epochs))
                assert await trainer.exit_code() == 0
                await watch.until_version(epochs * BATCHES)
            for process in both:
                process.kill(signal.SIGTERM)
            assert [await process.exit_code() for process in both] == [0, 0]
            await all_holds(broker, network)
            assert not any("standing by" in process.printed for process in both)

    run(scene())


async def _copies(broker: Broker, network: Network) -> int:
    """Journal records that the other process was quicker with."""
    journals = [TopicPartition(network.topics.journal(gate), 0) for gate in range(network.gate_count)]
    records = sum(high for _, high in (await broker.bounds(journals)).values())
    return records - sum([(await restore(broker, network, gate)).state.version for gate in range(network.gate_count)])


@pytest.mark.slow  # the shorter one below sleeps, too
def test_a_gate_that_slept_while_another_took_over_wakes_up_and_harms_nothing(
    processes: Processes, run: Run, unique: Callable[[], str]
) -> None:
    async def scene() -> None:
        name = unique()
        async with connected(processes.bootstrap) as broker:
            network = await define(broker, small_definition("lanes.train=2", "schedule.window=3"), name)
            watch = Watch(broker, network)
            gates = [processes.gate(name, gate) for gate in range(3)]
            await asyncio.gather(*(gate.prints("working from version 0") for gate in gates))
            standby = processes.start("gate", "--layer", "1", "--network", name, "--standby")
            await standby.prints("standing by")
            trainer = processes.start("sentinel", "train", "--network", name, "--epochs", "160")
            await watch.until_version(30)
            await _sleeps_while(gates[1], standby, watch)
            await _sleeps_while(gates[1], standby, watch)  # the older one works again
            assert await trainer.exit_code() == 0
            await watch.until_version(160 * BATCHES)
            await all_holds(broker, network)

    run(scene())


def test_who_slept_while_the_log_was_trimmed_begins_anew_and_training_goes_on(
    processes: Processes, run: Run, unique: Callable[[], str]
) -> None:
    """Its readers stand before what is held now, of edges and metrics. That was exit code 6, for which `train` gives
    a process up, and with it the training."""

    async def scene() -> None:
        name = unique()
        async with connected(processes.bootstrap) as broker:
            # the batches of the one that sleeps stay within reach, however much the other one does meanwhile
            patient = small_definition("lanes.train=2", "schedule.window=3", "schedule.max_staleness=100000")
            network = await define(broker, patient, name)
            watch = Watch(broker, network)
            others = processes.gate(name, 0, 2)
            sleeper = processes.gate(name, 1)
            await sleeper.prints("working from version 0")
            standby = processes.start("gate", "--layer", "1", "--network", name, "--standby")
            await standby.prints("standing by")
            trainers = [processes.start("sentinel", "train", "--network", name) for _ in range(2)]  # without an end
            await trainers[0].prints("training on lanes")
            await trainers[1].prints("training on lanes")
            await watch.until_version(12)
            for process in (sleeper, trainers[0]):
                process.kill(signal.SIGSTOP)
            await _all_lanes_go_on(watch)  # so what the sleepers have read last is trimmed
            trainers[1].kill(signal.SIGTERM)
            assert await trainers[1].exit_code() == 0
            await watch.until_version(sum((await watch.issued()).values()))
            await all_holds(broker, network)
            await _trim(broker, network)
            for process in (sleeper, trainers[0]):
                process.kill(signal.SIGCONT)
            await sleeper.prints("beginning anew from the log")
            await _all_lanes_go_on(watch)
            trainers[0].kill(signal.SIGTERM)
            assert await trainers[0].exit_code() == 0
            for process in (sleeper, standby, others):
                process.kill(signal.SIGTERM)
                assert await process.exit_code() == 0
            states = [(await restore(broker, network, gate)).state for gate in range(3)]
            assert [state.version for state in states] == [sum((await watch.issued()).values())] * 3

    run(scene())


async def _all_lanes_go_on(watch: Watch) -> None:
    """By more than anybody has in hand."""
    begun, now = await watch.issued(), await watch.issued()
    async with asyncio.timeout(PATIENCE_S):
        while any(now[lane] < begun[lane] + 20 for lane in begun):
            now = await watch.issued()


async def _trim(broker: Broker, network: Network) -> None:
    """All but the last record of each lane, as those do who read them; all of the metrics, as time does."""
    topics, gates = network.topics, network.gate_count
    edges = [name for gate in range(gates + 1) for name in (topics.forward(gate), topics.backward(gate))]
    lanes = [TopicPartition(name, lane) for name in edges for lane in range(network.lane_count)]
    bounds = await broker.bounds(lanes)
    await broker.trim({where: high - 1 for where, (_, high) in bounds.items() if high})
    metrics = TopicPartition(topics.metrics, 0)
    await broker.trim({metrics: (await broker.bounds([metrics]))[metrics][1]})


async def _sleeps_while(sleeper: Process, other: Process, watch: Watch) -> None:
    """Stopped as it works; woken after the other has gone on for a while; then one of them stands by again."""
    working, waiting = "working from version", "standing by"
    taken = other.printed.count(working)
    sleeper.kill(signal.SIGSTOP)
    await _until(lambda: other.printed.count(working) > taken)
    await watch.until(lambda: watch.versions.get(1, 0) > 0)
    await watch.until_version(watch.versions[1] + 30)
    stood_by = sleeper.printed.count(waiting) + other.printed.count(waiting)
    sleeper.kill(signal.SIGCONT)
    await _until(lambda: sleeper.printed.count(waiting) + other.printed.count(waiting) > stood_by)


async def _until(done: Callable[[], bool]) -> None:
    """Files tell nobody that they have grown: look again and again."""
    async with asyncio.timeout(PATIENCE_S):
        while not done():  # noqa: ASYNC110 (see above)
            await asyncio.sleep(0.05)
