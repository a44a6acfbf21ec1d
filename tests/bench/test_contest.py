"""Contenders run in turn, each alone, and what they cost and leave is seen."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory

import psutil
import pytest

from akkafka.cli.bench.contender import Akkafka, PeerProcess, Say, Turn, able, chosen, varied
from akkafka.cli.bench.contest import hold, order
from akkafka.cli.bench.course import lay_out
from akkafka.cli.bench.environment import home_of, pinned
from akkafka.cli.bench.figures import Outcome
from akkafka.cli.bench.machine import Calm
from akkafka.cli.bench.peers import PEERS
from akkafka.cli.bench.watch import Watch, label_of
from akkafka.errors import AkkafkaError, ConfigError
from akkafka.protocol.config import load_config

from ..living import gone

ROOT = str(Path(__file__).resolve().parents[2])


def quiet() -> Calm:
    return Calm(0.0, 0.0)


@dataclass(slots=True)
class Scripted:
    """Runs a line of Python; its outcome is what that printed."""

    name: str
    code: str
    prepared: list[str] = field(default_factory=list)

    def prepare(self, say: Say) -> None:
        self.prepared.append(self.name)

    def turn(self, folder: Path) -> Turn:
        command = [sys.executable, "-c", self.code, str(folder)]
        return Turn(command, os.environ, lambda stdout: Outcome(float(stdout.read_text()), "", None, None))


def test_turns_go_round() -> None:
    assert list(order("AB", 2)) == [(1, "A"), (1, "B"), (2, "A"), (2, "B")]


def test_each_runs_alone_and_behind_the_one_before(tmp_path: Path) -> None:
    """Each turn makes a mark and takes it away: one that ran beside another would find its mark."""
    code = "import os,sys; os.chdir(sys.argv[1]); n = len(open('n').read()); os.mkdir('mark'); print(n); \
open('n', 'a').write('.'); os.rmdir('mark')"
    (tmp_path / "n").write_text("", encoding="utf-8")
    ours, other = Scripted("akkafka", code), Scripted("other", code)
    rounds = hold([ours, other], 2, tmp_path, print, look=quiet)
    told = [(r.number, r.contender, r.outcome.samples_per_second) for r in rounds]
    assert told == [(1, "akkafka", 0), (1, "other", 1), (2, "akkafka", 2), (2, "other", 3)]
    assert ours.prepared == ["akkafka"] and other.prepared == ["other"]


def test_one_that_fails_ends_the_bench_with_its_last_words(tmp_path: Path) -> None:
    bad = Scripted("other", "import sys; print('no such thing', file=sys.stderr); sys.exit(3)")
    with pytest.raises(AkkafkaError, match=r"other ended with exit code 3.*\n.*no such thing") as failed:
        hold([bad], 1, tmp_path, print, look=quiet)
    assert "--peer" in failed.value.hint


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    before = psutil.Process().children()
    with pytest.raises(AkkafkaError, match="has not ended within"):
        hold([Scripted("other", "import signal; signal.pause()")], 1, tmp_path, print, look=quiet, timeout_s=0.5)
    assert not [child for child in psutil.Process().children() if child not in before]


def test_what_a_process_and_those_below_it_cost_is_seen_and_nothing_is_left(tmp_path: Path) -> None:
    """The child burns processor time, says so, and stays when its parent goes."""
    child = "import sys,time,signal\nwhile time.process_time() < 0.4: pass\nprint('burnt', flush=True)\nsignal.pause()"
    parent = f"import subprocess,sys; subprocess.Popen([sys.executable, '-c', {child!r}]); sys.stdin.read()"
    with psutil.Popen([sys.executable, "-c", parent], stdin=PIPE, stdout=PIPE) as process:
        watch = Watch(process.pid, str(tmp_path))
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"burnt\n"
        watch.look()
        below = psutil.Process(process.pid).children()
        process.stdin.close()
        process.wait()  # not for the end of stdout: the child still holds it
    killed = watch.clear(grace_s=0.1)
    assert len(below) == len(killed) == 1
    assert gone(below)
    assert max(watch.cpu_seconds().values()) > 0.2  # the kernel counts in ticks


def test_a_broker_is_watched_though_it_is_nobodys_child(tmp_path: Path) -> None:
    code = "import signal; print('up', flush=True); signal.pause()"
    with (
        psutil.Popen([sys.executable, "-c", code, str(tmp_path / "state")], stdout=PIPE) as broker,
        psutil.Popen([sys.executable, "-c", code], stdout=PIPE) as root,
    ):
        assert broker.stdout is not None and broker.stdout.readline() == b"up\n"
        watch = Watch(root.pid, str(tmp_path))
        watch.look()
        assert len(watch.cpu_seconds()) == 2
        broker.kill()
        root.kill()


def test_a_process_that_is_just_ending_keeps_its_name() -> None:
    """The kernel has taken its memory, and with it the command line, before it is a zombie."""
    assert label_of([], "python", "akkafka.gate 2") == "akkafka.gate 2"
    assert label_of([], "kthreadd") == "kthreadd"


@pytest.mark.parametrize(
    ("command", "label"),
    [
        (["python", "-m", "akkafka.gate", "--layer", "2", "--network", "n"], "akkafka.gate 2"),
        (["python", "-m", "akkafka.sentinel", "train", "--network", "n"], "akkafka.sentinel train"),
        (["python", "-P", "-m", "akkafka.broker.embedded.supervisor", "/x", "8"], "akkafka.broker.embedded.supervisor"),
        (["ray::Actor.forward"], "ray::Actor"),
        (["/usr/bin/java", "-Xmx256m"], "java"),
        (["/usr/bin/python", "/x/dashboard.py"], "dashboard.py"),
        ([], "kthread"),
    ],
)
def test_processes_have_short_names(command: list[str], label: str) -> None:
    assert label_of(command, "kthread") == label


def test_every_peer_runs_without_akkafkas_packages() -> None:
    """A peer's environment has numpy and what the peer asked for."""
    names = [f"akkafka.cli.bench.peers.{peer.module}" for peer in PEERS.values()]
    code = (
        f"import sys, importlib; sys.path.insert(0, {ROOT!r})\n"
        "import numpy; before = set(sys.modules)\n"
        f"for name in {names!r}: assert callable(importlib.import_module(name).run)\n"
        "roots = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(roots - sys.stdlib_module_names - {'numpy'}))"
    )
    with psutil.Popen([sys.executable, "-I", "-c", code], stdout=PIPE) as ran:
        out, _ = ran.communicate()
    assert ran.returncode == 0 and out.strip() == b"['akkafka']"


def test_peers_are_chosen_by_name_and_once() -> None:
    assert [peer.name for peer in chosen(["in-process", "in-process"])] == ["in-process"]
    assert [peer.name for peer in chosen([])] == list(PEERS)
    with pytest.raises(ConfigError, match="no peer 'rya'"):
        chosen(["rya"])


def test_a_pipeline_that_cannot_cut_batches_finely_enough_is_left_out_or_refused() -> None:
    said: list[str] = []
    everybody = chosen([])
    assert able(everybody, 2, named=False, say=said.append) == everybody and not said
    left = able(everybody, 3, named=False, say=said.append)
    assert [peer.name for peer in everybody if peer not in left] == ["torch-2"]
    assert said == ["torch-2 is left out: torch's 1F1B takes no fewer micro-batches than stages, here 3"]
    with pytest.raises(ConfigError, match="torch-4 has 4 micro-batches") as refused:
        able(chosen(["torch-4"]), 5, named=True, say=said.append)
    assert refused.value.hint == "Take torch-8."


def learns(name: str, folder: Path) -> None:
    """A turn of a peer on the blots; it has a target's accuracy before the end, and needs time to get there."""
    config = load_config(folder / "blots.toml", data_dir=folder)
    with TemporaryDirectory(prefix="akb-") as short:  # a longer name is too long for Ray's sockets
        lay_out(config.definition, 6, Path(short), folder, 0.8)
        outcome = hold([PeerProcess(name)], 1, Path(short), print, look=quiet)[0].outcome
    assert outcome.validation_accuracy is not None and outcome.validation_accuracy >= 0.95
    assert outcome.samples_per_second > 0
    assert outcome.seconds_to_target is not None and 0 < outcome.seconds_to_target < 120
    assert "cut as warm-up: the first 25 batches" in outcome.measured
    assert "numpy" in outcome.versions


def test_the_loop_in_one_process_learns(blots: Path) -> None:
    learns("in-process", blots)


@pytest.mark.skipif(
    not home_of("ray", pinned(PEERS["ray"].requirements)).exists(),
    reason="Ray's environment is not there, and too large to be fetched by a test: `akkafka bench peers` makes it",
)
def test_rays_actors_learn(blots: Path) -> None:
    learns("ray", blots)


def test_a_peer_that_prints_no_result_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("warming up\n", encoding="utf-8")
    turn = PeerProcess("in-process").turn(tmp_path)
    with pytest.raises(AkkafkaError, match="warming up"):
        turn.outcome(tmp_path / "out")


def test_ours_is_the_command_that_a_user_types(tmp_path: Path) -> None:
    ours = Akkafka(Path("mnist"), 3, ("batch_size=8",), 4, Path("data"))
    command = list(ours.turn(tmp_path).command)[1:]
    assert command[:5] == ["-m", "akkafka", "train", "mnist", "--fresh"]
    for words in (["--epochs", "3"], ["--set", "batch_size=8"], ["--seed", "4"], ["--data-dir", "data"]):
        at = command.index(words[0])
        assert command[at : at + 2] == words


def test_a_variant_may_have_several_settings() -> None:
    (one,) = varied(Akkafka(Path("mnist"), 3), ("schedule.window=auto  schedule.gate_window=16",))
    assert one.overrides == ("schedule.window=auto", "schedule.gate_window=16")
    (one,) = varied(Akkafka(Path("mnist"), 3), ("lanes.names=[1, 2] seed=3",))
    assert one.overrides == ("lanes.names=[1, 2]", "seed=3")


def test_variants_are_ours_with_one_setting_more_and_named_by_it() -> None:
    ours = Akkafka(Path("mnist"), 3, ("batch_size=8",))
    more = varied(ours, ("wire.edges=int8", "schedule.window=2", "wire.edges=int8"))
    assert [one.name for one in more] == ["akkafka wire.edges=int8", "akkafka schedule.window=2"]
    assert more[0].overrides == ("batch_size=8", "wire.edges=int8") and ours.overrides == ("batch_size=8",)


def test_ours_takes_its_figures_from_the_report(tmp_path: Path) -> None:
    told = {
        "samples_per_second": 5.0,
        "samples_per_second_measured": "so",
        "epochs": [{"loss": 2.0}, {"loss": 1.0}],
        "validations": [{"accuracy": 0.5}, {"accuracy": 0.75}],
        "broker": {"kind": "embedded"},
    }
    turn = Akkafka(Path("mnist"), 2).turn(tmp_path)
    (tmp_path / "report.json").write_text(json.dumps(told), encoding="utf-8")
    assert turn.outcome(tmp_path / "none") == Outcome(5.0, "so", 1.0, 0.75, {"broker": "embedded"})


def test_for_a_targets_time_ours_keeps_its_log_and_is_not_validated_beside_its_training(
    tmp_path: Path,
) -> None:
    plain, timed = Akkafka(Path("mnist"), 2), Akkafka(Path("mnist"), 2, ("run.validate_every=9",), target=0.9)
    more = ["--keep-log", "--set", "run.validate_every=3600.0", "--set", "run.validate_every=9"]  # the last one counts
    assert list(timed.turn(tmp_path).command) == [*plain.turn(tmp_path).command, *more]
