"""The time to a target is taken from the log of a real training: from its first batch to the weights that have it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from akkafka.audit.past import past
from akkafka.broker.connection import Connection
from akkafka.broker.network import find
from akkafka.cli.bench.course import lay_out
from akkafka.cli.bench.peers.job import Job, Samples
from akkafka.cli.bench.peers.layers import Gate
from akkafka.cli.bench.peers.plain import validated
from akkafka.cli.bench.reaching import seconds_to_target
from akkafka.cli.locating import reached
from akkafka.cli.networks import configured

from ..cli.conftest import Akkafka
from ..cli.conftest import akkafka as akkafka
from ..conftest import Run

EPOCHS = 4  # 84 updates


@pytest.mark.kafka
def test_the_first_kept_weights_that_have_it_count_and_none_that_have_not(
    akkafka: Akkafka, blots: Path, kafka_bootstrap: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka_bootstrap)
    report = blots / "report.json"
    config = configured(blots / "blots.toml", (), None, blots)
    made = lay_out(config.definition, EPOCHS, blots, blots, target=0.9)
    ran = akkafka(
        *("train", str(blots / "blots.toml"), "--data-dir", str(blots), "--epochs", str(EPOCHS), "--fresh"),
        *("--keep-log", "--set", "run.validate_every=3600", "--report", str(report)),
    )
    assert ran.code == 0, ran.err
    told = json.loads(report.read_text(encoding="utf-8"))
    course = run(accuracies(kafka_bootstrap, told["network"], made))
    for target in (0.9, max(accuracy for accuracy, _ in course.values()), 1.01):
        there = [at for accuracy, at in course.values() if accuracy >= target]
        seconds = seconds_to_target(told, replace(made, target=target), blots)
        if not there:
            assert seconds is None and target == 1.01
            continue
        assert seconds is not None and 0 < seconds < told["wall_seconds"]
        # what lies between two targets' times does not depend on when the first batch was
        assert seconds - seconds_to_first(course, told, made, blots) == pytest.approx(
            (there[0] - next(iter(course.values()))[1]) / 1000
        )


def seconds_to_first(course: dict[int, tuple[float, int]], told: dict[str, object], made: Job, folder: Path) -> float:
    """Until the first weights that were kept, whatever they can."""
    seconds = seconds_to_target(told, replace(made, target=1e-9), folder)
    assert seconds is not None and min(accuracy for accuracy, _ in course.values()) > 0
    return seconds


async def accuracies(servers: str, name: str, made: Job) -> dict[int, tuple[float, int]]:
    """Version -> (accuracy, ms of wall clock by which all gates had it), of every fifth one."""
    async with reached(Connection(bootstrap_servers=servers)) as broker:
        network = await find(broker, name)
        assert network is not None
        kept = [await past(broker, network, gate, made.keep_every) for gate in range(3)]
    stages = [Gate(network.definition, gate, 0) for gate in range(3)]
    found = {}
    for version in kept[0]:
        for stage, own in zip(stages, kept, strict=True):
            stage.params = dict(own[version].state.params)
        found[version] = validated(stages, Samples.of(made)), max(own[version].at_ms for own in kept)
    return found
