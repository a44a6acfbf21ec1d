"""Whole storms: `akkafka chaos` on the digits network; the log and the weights say whether anything was lost."""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from akkafka.broker.memory import MemoryBroker
from akkafka.broker.network import Network
from akkafka.cli.chaos.command import Request, chaos
from akkafka.cli.chaos.schedule import GROUPS, Fault, Mix
from akkafka.cli.options import Where
from akkafka.cli.training.report import weights_sha256
from akkafka.gate.state import GateState
from akkafka.protocol.config import load_config

from ..conftest import Run
from ..pipeline.fleet import train_through

pytestmark = pytest.mark.kafka

FIXED = ("schedule.kind=fixed", "run.validate_every=5")
KILLS = 200
BATCHES = 6  # an epoch, at 256 samples each


def storm(folder: Path, seed: int, minutes: float, mix: Mapping[Fault, int] | None, **more: Any) -> dict[str, Any]:
    """Run it; its report. Fails if anything that was checked does not hold."""
    given: dict[str, Any] = {"overrides": FIXED, "standby": False, "compare": True, "config": None} | more
    report = folder / "report.json"
    request = Request(
        seed=seed,
        minutes=minutes,
        faults=tuple(GROUPS),
        data_dir=None,
        report=report,
        where=Where({}, folder / "state"),
        mix=Mix(dict(mix)) if mix is not None else None,
        **given,
    )
    code = chaos(request)
    found: dict[str, Any] = json.loads(report.read_text())
    wrong = [f"{check['name']}: {check['detail']}" for check in found["checks"] if not check["holds"]]
    assert not wrong, "\n".join(wrong)
    assert code == 0
    return found


def test_a_short_storm_ends_with_the_bits_of_a_training_without_faults(tmp_path: Path, run: Run) -> None:
    """The training to compare with runs in this process, over the memory broker."""
    mix = {Fault.KILL: 3, Fault.PAUSE: 1, Fault.BROKER_KILL: 1, Fault.LOSE: 2, Fault.CUT: 1, Fault.TEAR: 1}
    changes = ("schedule.kind=fixed", "batch_size=256", "lanes.train=2")
    found = storm(tmp_path, 11, 0.2, mix, overrides=changes, compare=False, keep_log=True)
    assert found["faults"] == {str(fault): count for fault, count in mix.items()}
    epochs = found["training"]["gates"][0]["version"] // BATCHES
    definition = load_config(None, changes).definition
    calm = train_through(MemoryBroker(), definition, "calm", epochs)
    with threadpool_limits(1):  # the last bits depend on it; batches of these gates are too small to be divided
        states = run(_with_time(calm))
    hashes = [gate["weights_sha256"] for gate in found["training"]["gates"]]
    assert hashes == [weights_sha256(state.params) for state in states]


async def _with_time(training: Awaitable[tuple[Network, list[GateState]]]) -> list[GateState]:
    async with asyncio.timeout(120.0):
        return (await training)[1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("standby", [False, True], ids=["restarts", "standbys"])
def test_two_hundred_kills_end_with_the_bits_of_a_training_without_faults(tmp_path: Path, standby: bool) -> None:
    """190 of gates and sentinels, 10 of the broker: one every three seconds."""
    found = storm(tmp_path, 21, 10.0, {Fault.KILL: KILLS - 10, Fault.BROKER_KILL: 10}, standby=standby)
    assert found["faults"] == {"kill": KILLS - 10, "broker-kill": 10}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_pauses_of_up_to_half_a_minute_with_standbys_end_with_the_bits_of_a_training_without_faults(
    tmp_path: Path,
) -> None:
    found = storm(tmp_path, 31, 4.0, {Fault.PAUSE: 24}, standby=True)
    assert found["faults"] == {"pause": 24}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_as_messages_come_accuracy_stays_that_of_trainings_without_faults(tmp_path: Path) -> None:
    """MNIST, which has 10,000 samples to validate with: means over five seeds differ by less than 0.3 points."""
    reached: list[list[float]] = [[], []]
    for seed in range(5):
        folder = tmp_path / str(seed)
        folder.mkdir()
        found = storm(folder, seed, 2.0, None, config=Path("mnist"), overrides=(f"seed={seed}",))
        calm = next(check["detail"] for check in found["checks"] if "without faults" in check["name"])
        stormed, _, quiet = calm.removeprefix("accuracy ").partition(", without faults ")
        reached[0].append(float(stormed))
        reached[1].append(float(quiet))
    print(f"accuracy under fire {reached[0]}, without faults {reached[1]}")  # `pytest -rP` shows it
    assert abs(statistics.mean(reached[0]) - statistics.mean(reached[1])) < 0.003, reached
