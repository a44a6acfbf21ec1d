"""The processes of a training: started tied to ours, signalled by name, their last words kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Protocol

from akkafka.broker.embedded.tie import WATCHDOG
from akkafka.cli.training.forking import Forking
from akkafka.cli.training.placement import thread_caps
from akkafka.cli.training.supervision import Order, Worker

TAIL_BYTES: Final = 8 * 1024
KILL_S: Final = 10.0  # what is killed is gone in milliseconds

# BLAS and numba in every process would fight for the cores: one compute thread a process where nothing else is known.
ONE_THREAD: Final = dict(thread_caps(1))

LOADED: Final = ("numba", "akkafka.gate.__main__", "akkafka.sentinel.__main__")  # by the fork server, once for all


class Way(Protocol):
    """How programs are started, and end with us."""

    def start(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        """Have it started, in a session of its own, so that Ctrl-C in the terminal reaches only us."""

    def ended(self) -> list[tuple[str, int]]:
        """(name, exit code) of those that have ended since the last call."""

    def send(self, name: str, order: Order) -> None:
        """Send a signal; nothing to one that has ended."""

    def kill_all(self) -> None:
        """End everything at once and wait until it is gone."""

    @property
    def names(self) -> frozenset[str]:
        """Of those that were started and are not known to have ended."""

    @property
    def pids(self) -> Mapping[str, int]:
        """Of those that run by now."""


@dataclass(slots=True)
class Shells:
    """A shell between us and each program (WATCHDOG)."""

    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        """See Way."""
        with log.open("ab") as into:
            self._running[name] = subprocess.Popen(
                ["/bin/sh", "-c", WATCHDOG, "sh", sys.executable, *command],
                stdin=subprocess.PIPE,
                stdout=into,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )

    def ended(self) -> list[tuple[str, int]]:
        """See Way."""
        over = [(name, code) for name, child in self._running.items() if (code := child.poll()) is not None]
        for name, _ in over:
            _pipe(self._running.pop(name)).close()
        return over

    def send(self, name: str, order: Order) -> None:
        """See Way."""
        child = self._running.get(name)
        if child is None:
            return
        if order is Order.DIE:
            _pipe(child).close()  # to kill the shell would leave the program behind
        else:
            child.send_signal(signal.Signals[order.value])

    def kill_all(self) -> None:
        """See Way."""
        for name in list(self._running):
            self.send(name, Order.DIE)
        for child in self._running.values():
            try:
                child.wait(KILL_S)
            except subprocess.TimeoutExpired:  # the shell between us did not do its part
                child.kill()
                child.wait()
        self.ended()

    @property
    def names(self) -> frozenset[str]:
        """See Way."""
        return frozenset(self._running)

    @property
    def pids(self) -> Mapping[str, int]:
        """See Way."""
        return {name: child.pid for name, child in self._running.items()}


def _pipe(child: subprocess.Popen[bytes]) -> IO[bytes]:
    assert child.stdin is not None, "it was started with one"
    return child.stdin


class Children:
    """All processes that were started here, by name. Main thread only: on Linux they are tied to the thread's life."""

    def __init__(
        self,
        logs: Path,
        environment: Mapping[str, str],
        *,
        by_kernel: bool = sys.platform == "linux",
        modules: Sequence[str] = LOADED,
    ) -> None:
        """`logs`: of a file for each process. `modules`: what a fork server loads beforehand."""
        self.logs, self.environment = logs, environment
        self._way: Way = Forking(logs / "forkserver.log", modules) if by_kernel else Shells()
        self._seen: set[str] = set()

    def start(self, worker: Worker) -> None:
        """Start it in a session of its own, so that Ctrl-C in the terminal reaches only us."""
        log = self.log(worker.name)
        if worker.name not in self._seen:  # begun anew with the training; what it says before it dies stays
            log.write_bytes(b"")
            self._seen.add(worker.name)
        self._way.start(worker.name, worker.command, log, self.environment)

    def ended(self) -> list[tuple[str, int]]:
        """(name, exit code) of those that have ended since the last call."""
        return self._way.ended()

    def send(self, name: str, order: Order) -> None:
        """Send a signal; nothing to one that has ended."""
        self._way.send(name, order)

    def kill_all(self) -> None:
        """End everything at once and wait until it is gone."""
        self._way.kill_all()

    @property
    def names(self) -> frozenset[str]:
        """Of those that were started and are not known to have ended."""
        return self._way.names

    @property
    def pids(self) -> Mapping[str, int]:
        """Of those that run by now."""
        return self._way.pids

    def log(self, name: str) -> Path:
        """Where a process writes to."""
        return self.logs / f"{name}.log"

    def last_lines(self, name: str, count: int) -> list[str]:
        """What a process said last; from its error message on, if it ended with one."""
        try:
            with self.log(name).open("rb") as log:
                log.seek(max(0, self.log(name).stat().st_size - TAIL_BYTES))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return []
        lines = [line.rstrip() for line in lines if line.strip()]
        said = max(
            (i for i, line in enumerate(lines) if line.startswith(("error: ", "internal error: "))), default=None
        )
        return lines[-count:] if said is None or len(lines) - said > 12 else lines[said:]


def environment(kafka: Mapping[str, str], threads: int = 1) -> dict[str, str]:
    """Ours, with so many BLAS threads a process, this very akkafka on the path, and only these KAFKA_* variables."""
    root = str(Path(__file__).resolve().parents[3])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return kept | dict(thread_caps(threads)) | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": path} | dict(kafka)
