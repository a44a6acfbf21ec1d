"""The broker itself is killed under a training network."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from akkafka.broker.embedded import BrokerSettings, acquire, status
from akkafka.broker.network import define

from ..conftest import Run
from ..living import freeze
from ..pipeline.fleet import small_definition
from .fleet import Processes, Watch, connected

pytestmark = pytest.mark.kafka

AWAY_S = 20.0


def test_training_goes_on_after_the_broker_was_dead_for_twenty_seconds(
    tmp_path: Path, run: Run, unique: Callable[[], str]
) -> None:
    settings = BrokerSettings(tmp_path / "broker", linger_s=0.0)

    async def scene(processes: Processes) -> None:
        name = unique()
        async with connected(processes.bootstrap) as broker:
            network = await define(broker, small_definition("lanes.train=2", "schedule.window=3"), name)
            watch = Watch(broker, network)
            gate = processes.gate(name, 0)
            processes.gate(name, 1, 2)
            trainer = processes.start("sentinel", "train", "--network", name)  # without an end: it is in the middle
            await watch.until_version(60)
            await _kill_for_a_while(settings.state_dir)
            reached = sum((await watch.issued()).values())
            await watch.until_version(reached + 60)
            trainer.kill(signal.SIGTERM)
            assert await trainer.exit_code() == 0
            await watch.every_issued_batch_once()
        assert "broker at" in gate.printed
        assert "is back" in gate.printed
        assert "waiting for the broker" in gate.printed

    with acquire(settings, progress=print) as lease:
        processes = Processes(lease.bootstrap, tmp_path)
        try:
            run(scene(processes))
        finally:
            processes.close()
            print(processes.told())


async def _kill_for_a_while(state_dir: Path) -> None:
    """SIGKILL Kafka, and keep its supervisor from starting it again: this is the outage itself, nothing waits by it."""
    found = status(state_dir)
    assert found.pid is not None and found.jvm_pid is not None, "the broker runs"
    freeze(found.pid)
    os.kill(found.jvm_pid, signal.SIGKILL)
    await asyncio.sleep(AWAY_S)
    os.kill(found.pid, signal.SIGCONT)
