"""The process file as it stands trains the network that is defined, and ends cleanly."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from akkafka.broker.embedded import BrokerSettings, acquire
from akkafka.broker.network import define
from akkafka.protocol.config import load_config

from ..conftest import Run
from ..processes.fleet import ROOT, Process, Processes, Watch, connected
from .conftest import WORKERS

PROCFILE = WORKERS / "Procfile"
LINE = re.compile(r"^([A-Za-z0-9_-]+):\s*(.+)$")  # as foreman and honcho read it; they pass over all other lines


def commands() -> dict[str, str]:
    lines = (LINE.match(line) for line in PROCFILE.read_text().splitlines())
    return {line[1]: line[2] for line in lines if line}


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Processes]:
    """A fleet with a broker that holds no network but its own: bare commands don't name one."""
    with acquire(BrokerSettings(tmp_path_factory.mktemp("alone"), linger_s=0.0), progress=print) as lease:
        fleet = Processes(lease.bootstrap, tmp_path)
        yield fleet
        fleet.close()
        print(fleet.told())


def started(fleet: Processes, name: str, command: str) -> Process:
    """Start a line as a process manager does, by the shell, which makes way: the exit code is the command's own."""
    python_first = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    log = fleet.folder / f"{name}.log"
    with log.open("wb") as out:
        popen = subprocess.Popen(
            f"exec {command}",
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "PATH": python_first, "KAFKA_BOOTSTRAP_SERVERS": fleet.bootstrap},
        )
    process = Process(name, popen, log)
    fleet.started.append(process)
    return process


def test_there_is_a_line_for_each_gate_of_the_digits_network_and_for_both_sentinels() -> None:
    gates = len(load_config(ROOT / "configs" / "digits.toml").definition.gates)
    expected = {f"gate-{i}": f"python -m akkafka.gate --layer {i}" for i in range(gates)}
    expected |= {f"sentinel-{role}": f"python -m akkafka.sentinel {role}" for role in ("train", "validate")}
    assert commands() == expected


def test_every_line_that_is_no_comment_is_a_command() -> None:
    lines = [line for line in PROCFILE.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(commands())
    assert not [line for line in PROCFILE.read_text().splitlines() if line.startswith("#") and LINE.match(line)]


@pytest.mark.kafka
def test_the_fleet_of_the_process_file_trains_the_network_that_is_defined_and_ends_when_asked(
    alone: Processes, run: Run
) -> None:
    async def scene() -> None:
        fleet = {name: started(alone, name, command) for name, command in commands().items()}
        await fleet["gate-1"].prints("waiting for a network to be defined")
        async with connected(alone.bootstrap) as broker:
            definition = load_config(ROOT / "configs" / "digits.toml").definition
            watch = Watch(broker, await define(broker, definition, "digits"))
            await watch.until_version(100)
            await watch.until(lambda: bool(watch.passes))
        for process in reversed(fleet.values()):
            process.kill(signal.SIGTERM)
        assert {name: await process.exit_code() for name, process in fleet.items()} == dict.fromkeys(fleet, 0)
        assert "accuracy" in fleet["sentinel-validate"].printed

    run(scene())
