"""Those who take part: akkafka itself as a user starts it, and peers, each a process that is measured from outside."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from akkafka.cli.bench.environment import pinned, python_of
from akkafka.cli.bench.figures import OURS, Outcome
from akkafka.cli.bench.peers import PEERS
from akkafka.cli.bench.peers.job import Job, Result
from akkafka.cli.bench.reaching import seconds_to_target
from akkafka.cli.training.children import ONE_THREAD
from akkafka.cli.training.report import steady_rate
from akkafka.errors import AkkafkaError, ConfigError

Say = Callable[[str], None]
SELDOM_S = 3600.0  # between validations, where a target's time is asked for: peers have none beside their training
PACKAGE = Path(__file__).resolve().parents[2]  # akkafka's own directory


@dataclass(frozen=True, slots=True)
class Turn:
    """A process to be run, and how to read what it leaves."""

    command: Sequence[str]
    environment: Mapping[str, str]
    outcome: Callable[[Path], Outcome]  # from the file that holds its stdout


class Contender(Protocol):
    """One who takes part."""

    @property
    def name(self) -> str:
        """In tables and JSON."""

    def prepare(self, say: Say) -> None:
        """Do what is done once and not measured. Raises AkkafkaError."""

    def turn(self, folder: Path) -> Turn:
        """Its next round; `folder` holds the job, and takes what it writes."""


@dataclass(frozen=True, slots=True)
class Akkafka:
    """`akkafka train`, with a broker of its own unless the environment names one."""

    config: Path
    epochs: int
    overrides: tuple[str, ...] = ()
    seed: int | None = None
    data_dir: Path | None = None
    name: str = OURS
    target: float = 0.0

    def prepare(self, say: Say) -> None:
        """Nothing: compiling and downloads fall into the first round's start, before what is measured."""

    def turn(self, folder: Path) -> Turn:
        """Anew each time: the network of the round before is dropped."""
        report = folder / "report.json"
        report.unlink(missing_ok=True)
        command = [
            *(sys.executable, "-m", "akkafka", "train", str(self.config), "--fresh", "--epochs", str(self.epochs)),
            *("--state-dir", str(folder / "state"), "--report", str(report)),
            *(() if self.seed is None else ("--seed", str(self.seed))),
            *(() if self.data_dir is None else ("--data-dir", str(self.data_dir))),
            *(("--keep-log", "--set", f"run.validate_every={SELDOM_S}") if self.target else ()),
            *(word for override in self.overrides for word in ("--set", override)),
        ]
        path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
        return Turn(command, os.environ | {"PYTHONPATH": path}, lambda stdout: self._outcome(folder, report))

    def _outcome(self, folder: Path, report: Path) -> Outcome:
        told, outcome = _from_report(report)
        if self.target:
            seconds = seconds_to_target(told, Job.read(folder / "job.json"), folder / "state")
            outcome = replace(outcome, seconds_to_target=seconds)
        return outcome


def settings_of(variant: str) -> tuple[str, ...]:
    """KEY=VALUE, or several of them with spaces between."""
    return tuple(re.split(r"\s+(?=[\w.-]+=)", variant.strip()))


def varied(ours: Akkafka, variants: Sequence[str]) -> list[Akkafka]:
    """The same with more settings each, such as `wire.edges=bfloat16`, and named by them."""
    return [
        replace(ours, overrides=(*ours.overrides, *settings_of(variant)), name=f"{OURS} {variant}")
        for variant in dict.fromkeys(variants)
    ]


def _from_report(path: Path) -> tuple[dict[str, Any], Outcome]:
    """`akkafka train`'s report, and the outcome in it. Raises AkkafkaError."""
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AkkafkaError(f"akkafka train left no report that can be read: {error}") from error
    epochs, validations = told["epochs"], told["validations"]
    return told, Outcome(
        told["samples_per_second"],
        told["samples_per_second_measured"],
        epochs[-1]["loss"] if epochs else None,
        validations[-1].get("accuracy") if validations else None,
        {"broker": told["broker"]["kind"]},
    )


@dataclass(slots=True)
class PeerProcess:
    """A peer of the table, in its environment."""

    name: str
    python: Path = Path(sys.executable)

    def prepare(self, say: Say) -> None:
        """Make the environment, if the peer needs one of its own and it is not there yet."""
        peer = PEERS[self.name]
        if peer.requirements and not (peer.at_hand and find_spec(peer.at_hand)):
            self.python = python_of(peer.at_hand or self.name, pinned(peer.requirements), say)

    def turn(self, folder: Path) -> Turn:
        """BLAS threads as the peer has them; of all that akkafka's Python has on its path, it sees akkafka alone."""
        path = folder / "path"
        path.mkdir(exist_ok=True)
        link = path / "akkafka"
        if not link.is_symlink():
            link.symlink_to(PACKAGE, target_is_directory=True)
        peer = PEERS[self.name]
        own = (str(peer.threads), str(peer.micro_batches))
        command = [str(self.python), "-m", "akkafka.cli.bench.peers", peer.module, str(folder / "job.json"), *own]
        threads = dict.fromkeys(ONE_THREAD, str(peer.threads))
        return Turn(command, os.environ | threads | {"PYTHONPATH": str(path)}, _from_stdout)


def _from_stdout(path: Path) -> Outcome:
    """The outcome in a peer's last line. Raises AkkafkaError."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    try:
        told: dict[str, Any] = json.loads(lines[-1])
        result = Result.of(told)
    except (IndexError, ValueError, TypeError, KeyError) as error:
        raise AkkafkaError(f"a peer's last line is not its result: {lines[-1:]}") from error
    rate = steady_rate(result.home)  # the very rule of akkafka's own report
    return Outcome(
        rate.samples_per_second,
        rate.said,
        result.losses[-1] if result.losses else None,
        result.validation_accuracy,
        result.versions,
        (result.home[result.reached - 1][0] - result.begun) / 1e9 if result.reached else None,
    )


def chosen(names: Sequence[str]) -> list[PeerProcess]:
    """Peers by name, each once; all if none is named. Raises ConfigError for a name that is not in the table."""
    for name in names:
        if name not in PEERS:
            raise ConfigError(f"bench: there is no peer {name!r}", hint=f"Known are {', '.join(PEERS)}.")
    return [PeerProcess(name) for name in dict.fromkeys(names or PEERS)]


def able(peers: Sequence[PeerProcess], stages: int, *, named: bool, say: Say) -> list[PeerProcess]:
    """Those that can do a network of so many stages; others are left out, which is said.

    Raises ConfigError for them if they were `named`.
    """
    left = [one for one in peers if not PEERS[one.name].cuts or PEERS[one.name].micro_batches >= stages]
    for one in peers:
        if one in left:
            continue
        count = PEERS[one.name].micro_batches
        why = f"torch's 1F1B takes no fewer micro-batches than stages, here {stages}"
        if named:
            others = [name for name, peer in PEERS.items() if peer.cuts and peer.micro_batches >= stages]
            hint = f"Take {' or '.join(others)}." if others else "Take a network with fewer gates."
            raise ConfigError(f"bench: {one.name} has {count} micro-batches; {why}", hint=hint)
        say(f"{one.name} is left out: {why}")
    return left
