"""`akkafka train` with all its processes, over a real broker."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from akkafka.broker.embedded import status
from akkafka.cli.chaos.trainer import role_of
from akkafka.cli.locating import on_default_port
from akkafka.cli.options import Where
from akkafka.cli.training.children import environment
from akkafka.cli.training.placement import cores_here
from akkafka.cli.training.report import weights_sha256

from ..living import gone

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


@dataclass(slots=True)
class Training:
    """A running `akkafka train`, in a process of its own: it takes signals."""

    process: subprocess.Popen[str]
    lines: list[str]

    def until(self, pattern: str) -> str:
        """Read lines until one matches."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if re.search(pattern, line):
                return line
        raise AssertionError(f"no line like {pattern!r} in:\n{''.join(self.lines)}")

    def end(self) -> int:
        """Read to the end; the exit code."""
        assert self.process.stdout is not None
        self.lines += list(self.process.stdout)
        return self.process.wait()

    @property
    def said(self) -> str:
        """All that was said so far."""
        return "".join(self.lines)

    @property
    def family(self) -> list[psutil.Process]:
        """Its processes."""
        return list(psutil.Process(self.process.pid).children(recursive=True))


Start = Callable[..., Training]


@pytest.fixture
def train(kafka_bootstrap: str, small_config: Path, tmp_path: Path) -> Iterator[Start]:
    """`train("--network", name)`: starts it on the small network."""
    begun: list[Training] = []

    def start(*words: str) -> Training:
        command = [sys.executable, "-m", "akkafka", "train", str(small_config), "--state-dir", str(tmp_path / "state")]
        process = subprocess.Popen(
            [*command, "--bootstrap-servers", kafka_bootstrap, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment({}),
            cwd=tmp_path,
        )
        begun.append(Training(process, []))
        return begun[-1]

    yield start
    for training in begun:
        if training.process.poll() is None:
            training.process.kill()
        assert training.process.stdout is not None
        training.process.stdout.close()
        training.process.wait()


def at_work_in(folder: Path) -> list[psutil.Process]:
    """Whoever a training that was started there has left: a child has its parent's directory, whatever its name."""
    return [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(folder)]


def test_training_ends_with_weights_a_report_and_no_process_and_a_second_one_knows_of_it(
    train: Start, unique: Callable[[], str], tmp_path: Path
) -> None:
    name, report, out = unique(), tmp_path / "report.json", tmp_path / "weights.npz"
    words = ("--network", name, "--report", str(report), "--out", str(out))
    first = train(*words)
    assert first.end() == 0, first.said
    assert gone(at_work_in(tmp_path))
    assert "epoch 1/2" in first.said and "epoch 2/2" in first.said
    figures = json.loads(report.read_text())
    assert figures["network"] == name
    assert [epoch["samples"] for epoch in figures["epochs"]] == [1437, 1437]
    batches = 2 * 23  # 1437 samples in batches of 64
    assert [gate["version"] for gate in figures["gates"]] == [batches, batches]
    assert figures["validations"][-1]["versions"] == [[batches, batches]] * 2
    with np.load(out) as held:
        for gate, title in zip(figures["gates"], ("first", "last"), strict=True):
            own = {key.removeprefix(f"{title}."): held[key] for key in held.files if key.startswith(f"{title}.")}
            assert gate["weights_sha256"] == weights_sha256(own)

    more = train(*words, "--resume", "--epochs", "3")
    assert more.end() == 0, more.said
    assert "goes on behind epoch 2" in more.said
    figures = json.loads(report.read_text())
    assert [(epoch["epoch"], epoch["samples"]) for epoch in figures["epochs"]] == [(3, 1437)]
    assert [gate["version"] for gate in figures["gates"]] == [69, 69]

    enough = train(*words, "--resume", "--epochs", "3")
    assert enough.end() == 2
    assert "has been through 3 epochs" in enough.said

    anew = train(*words, "--epochs", "1")
    assert anew.end() == 0, anew.said
    assert "is finished (3 epochs): it starts anew" in anew.said
    assert [gate["version"] for gate in json.loads(report.read_text())["gates"]] == [23, 23]


def test_a_merged_network_is_one_gate_on_all_cores_whose_log_explains_its_weights(
    train: Start, unique: Callable[[], str], tmp_path: Path, kafka_bootstrap: str
) -> None:
    name, report = unique(), tmp_path / "report.json"
    settings = ("--set", 'merge=["0-1"]', "--set", "wire.journal=bfloat16", "--keep-log")
    first = train("--network", name, "--report", str(report), *settings)
    assert first.end() == 0, first.said
    (gate,) = json.loads(report.read_text())["gates"]
    assert (gate["name"], gate["version"]) == ("first-last", 46)
    among = f"1 thread; rows among {cores_here()} threads;" if cores_here() > 1 else "1 thread; numba"
    assert among in gate["numerics"]
    command = [sys.executable, "-m", "akkafka", "replay", "--network", name, "--bootstrap-servers", kafka_bootstrap]
    told = subprocess.run(
        [*command, "--gate", "0", "--from-zero"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert told.returncode == 0, told.stdout


def test_ctrl_c_loses_nothing_and_the_same_command_goes_on(
    train: Start, unique: Callable[[], str], tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    words = ("--network", unique(), "--report", str(report))
    first = train(*words, "--epochs", "9999")  # however quick the machine: this is in the middle
    first.until("epoch +2/9999")
    family = first.family
    assert {role_of(process.cmdline()) for process in family} >= {"gate-0", "gate-1", "sentinel-train"}
    assert {process.pid for process in at_work_in(tmp_path)} >= {process.pid for process in family}
    first.process.send_signal(signal.SIGINT)
    assert first.end() == 130, first.said
    assert gone(family)
    assert "the same command goes on" in first.said
    versions = [gate["version"] for gate in json.loads(report.read_text())["gates"]]
    assert versions[0] == versions[1], first.said  # nothing is left on the way

    epochs = versions[0] // 23 + 2
    second = train(*words, "--epochs", str(epochs))
    second.until("is unfinished: it goes on in epoch")
    assert second.end() == 0, second.said
    assert [gate["version"] for gate in json.loads(report.read_text())["gates"]] == [epochs * 23] * 2


def test_a_killed_gate_is_started_again_and_no_batch_is_lost(
    train: Start, unique: Callable[[], str], tmp_path: Path
) -> None:
    words = ("--network", unique(), "--report", str(tmp_path / "report.json"))
    first = train(*words, "--epochs", "9999")  # however quick the machine: the gate is killed in the middle
    first.until("epoch +1/9999")
    (gate,) = (process for process in first.family if role_of(process.cmdline()) == "gate-1")
    gate.kill()
    first.until("gate-1 was killed by SIGKILL; it is started again")
    reached = int(first.until(r"epoch +\d+/9999").split()[1].partition("/")[0])
    first.until(f"epoch +{reached + 1}/9999")
    first.process.send_signal(signal.SIGTERM)
    assert first.end() == 143, first.said
    figures = json.loads((tmp_path / "report.json").read_text())
    epochs = [epoch["epoch"] for epoch in figures["epochs"]]
    assert epochs == list(range(1, epochs[-1] + 1))
    versions = [gate["version"] for gate in figures["gates"]]
    assert versions[0] == versions[1], first.said  # nothing is left on the way
    assert [gate["updates"] for gate in figures["gates"]] == versions  # also those that the killed one did not tell of

    second = train(*words, "--epochs", str(epochs[-1] + 1))
    assert second.end() == 0, second.said
    figures = json.loads((tmp_path / "report.json").read_text())
    assert [gate["version"] for gate in figures["gates"]] == [(epochs[-1] + 1) * 23] * 2


def test_a_killed_supervisor_leaves_no_process_and_the_next_one_goes_on(
    train: Start, unique: Callable[[], str]
) -> None:
    words = ("--network", unique(), "--epochs", "9999")
    first = train(*words)
    first.until("epoch +1/9999")
    family = first.family
    first.process.kill()
    first.process.wait()
    assert gone(family)
    second = train(*words)
    second.until("is unfinished: it goes on in epoch")
    second.until("epoch +[0-9]+/9999")
    second.process.send_signal(signal.SIGTERM)
    assert second.end() == 143, second.said


def test_missing_data_are_told_before_anything_starts(train: Start, unique: Callable[[], str], tmp_path: Path) -> None:
    layers = "[{type='flatten'}, {type='scale', scale=0.004}, {type='linear', out=16}]"
    changes = ("--set", "data.name=mnist", "--set", f"gate.first.layers={layers}")
    training = train("--network", unique(), *changes, "--data-dir", str(tmp_path / "nothing-here"))
    assert training.end() == 3, training.said
    assert "the data directory" in training.said
    assert "training network" not in training.said
    assert "Traceback" not in training.said


def test_a_process_that_cannot_work_ends_the_training_with_its_own_words(
    train: Start, unique: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_for_sentinels = "import sys\nassert 'akkafka.sentinel' not in sys.orig_argv, 'no sentinel may use this'\n"
    (tmp_path / "choosy.py").write_text(only_for_sentinels)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    training = train("--network", unique(), "--allow", "choosy")
    assert training.end() == 2, training.said
    assert re.search("sentinel-(train-[01]|validate) has failed with exit code 2", training.said)
    assert "no sentinel may use this" in training.said
    assert "Traceback" not in training.said


def test_the_broker_that_a_training_starts_ends_with_it_and_keeps_its_data(small_config: Path, tmp_path: Path) -> None:
    if on_default_port(Where({})) is not None:
        pytest.skip("a Kafka answers on this machine's default port: it would be taken")
    home = tmp_path / "state"
    for said in ("epoch 1/1", "is finished (1 epochs): it starts anew"):
        done = subprocess.run(
            [sys.executable, "-m", "akkafka", "train", str(small_config), "--epochs", "1", "--state-dir", str(home)],
            capture_output=True,
            text=True,
            env=environment({}),
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert said in done.stdout
        ours = status(home / "broker")
        assert (ours.phase, ours.pid, ours.leases) == ("stopped", None, ())


@contextmanager
def alone(small_config: Path, home: Path) -> Iterator[Training]:
    """A training that starts a broker of its own."""
    if on_default_port(Where({})) is not None:
        pytest.skip("a Kafka answers on this machine's default port: it would be taken")
    with subprocess.Popen(
        [sys.executable, "-m", "akkafka", "train", str(small_config), "--state-dir", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment({}),
    ) as process:
        yield Training(process, [])


def test_ctrl_c_while_the_broker_starts_leaves_none(small_config: Path, tmp_path: Path) -> None:
    home = tmp_path / "state"
    with alone(small_config, home) as training:
        training.until("starting Kafka")
        training.process.send_signal(signal.SIGINT)
        assert training.end() == 130, training.said
        ours = status(home / "broker")  # at this very moment, not some time later
        assert (ours.phase, ours.pid, ours.leases) == ("stopped", None, ())
    assert "Traceback" not in training.said


def test_ctrl_c_again_while_the_broker_ends_waits_no_longer(small_config: Path, tmp_path: Path) -> None:
    home = tmp_path / "state"
    with alone(small_config, home) as training:
        training.until("Kafka is ready")
        training.process.send_signal(signal.SIGINT)
        training.until("interrupted|finishing what is begun")
        while training.process.poll() is None:  # impatience itself: again and again
            training.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                training.process.wait(0.2)
        assert training.end() in (130, -signal.SIGINT), training.said  # or where nobody listened any more
    assert "Traceback" not in training.said
    end = time.monotonic() + 60
    while status(home / "broker").pid is not None:
        assert time.monotonic() < end, "the broker does not end"
        time.sleep(0.05)


def test_who_reads_no_further_ends_the_training_as_if_it_was_asked_to(train: Start, unique: Callable[[], str]) -> None:
    training = train("--network", unique(), "--epochs", "9999")
    training.until("epoch +1/9999")
    family = training.family
    assert training.process.stdout is not None
    training.process.stdout.close()
    assert training.process.wait(200) == 128 + signal.SIGTERM
    assert gone(family)


def test_a_training_needs_nobody_to_talk_to(
    small_config: Path, tmp_path: Path, kafka_bootstrap: str, unique: Callable[[], str]
) -> None:
    words = f"train {small_config} --epochs 1 --state-dir {tmp_path / 'state'} --bootstrap-servers {kafka_bootstrap}"
    command = f"exec {sys.executable} -m akkafka {words} --network {unique()} >&- 2>&-"
    done = subprocess.run(["/bin/sh", "-c", command], env=environment({}), timeout=200, check=False)
    assert done.returncode == 0
