"""The processes of a training: started tied to ours, signalled by name, their last words kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from akkafka.cli.training.placement import thread_caps
from akkafka.cli.training.supervision import Order, Worker

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
TAIL_BYTES: Final = 8 * 1024
KILL_S: Final = 10.0  # what is killed is gone in milliseconds

# BLAS and numba in every process would fight for the cores: one compute thread a process where nothing else is known.
ONE_THREAD: Final = dict(thread_caps(1))

# Elsewhere than on Linux a shell stands between us and the child. It reads a pipe whose only write end is ours: the
# kernel closes that when we die, however we die, and the shell kills the child. Signals are handed on.
WATCHDOG: Final = """
exec 4<&0
"$@" 4<&- </dev/null & child=$!
(read -r _ <&4; kill -9 $child) & watcher=$!
exec 4<&-
trap 'kill -TERM $child' TERM
trap 'kill -USR1 $child' USR1
wait $child; code=$?
while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
kill $watcher 2>/dev/null
exit $code
"""


@dataclass(slots=True)
class Children:
    """All processes that were started here, by name. Main thread only: on Linux they are tied to the thread's life."""

    logs: Path  # a file for each process
    environment: Mapping[str, str]
    by_kernel: bool = sys.platform == "linux"
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def start(self, worker: Worker) -> None:
        """Start it in a session of its own, so that Ctrl-C in the terminal reaches only us."""
        command = [sys.executable, *worker.command]
        # Begun anew with the training, but what a process said before it died stays above what the next one says.
        mode = "ab" if worker.name in self._seen else "wb"
        self._seen.add(worker.name)
        with self.log(worker.name).open(mode) as log:
            self._running[worker.name] = self._tied(command, log)

    def ended(self) -> list[tuple[str, int]]:
        """(name, exit code) of those that have ended since the last call."""
        over = [(name, code) for name, child in self._running.items() if (code := child.poll()) is not None]
        for name, _ in over:
            child = self._running.pop(name)
            if child.stdin is not None:
                child.stdin.close()
        return over

    def send(self, name: str, order: Order) -> None:
        """Send a signal; nothing to one that has ended."""
        child = self._running.get(name)
        if child is None:
            return
        if order is Order.DIE and child.stdin is not None:
            child.stdin.close()  # through the shell: killing it would leave the child behind
            return
        child.send_signal(signal.Signals[order.value])

    def kill_all(self) -> None:
        """End everything at once and wait until it is gone."""
        for name in list(self._running):
            self.send(name, Order.DIE)
        for child in self._running.values():
            try:
                child.wait(KILL_S)
            except subprocess.TimeoutExpired:  # the shell between us did not do its part
                child.kill()
                child.wait()
        self.ended()

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

    @property
    def pids(self) -> dict[str, int]:
        """Of those that run."""
        return {name: child.pid for name, child in self._running.items()}

    def _tied(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        if not self.by_kernel:
            return self._popen(["/bin/sh", "-c", WATCHDOG, "sh", *command], log, stdin=subprocess.PIPE)
        return self._popen(command, log, stdin=subprocess.DEVNULL, tie=tie_to_us())

    def _popen(
        self, command: list[str], log: IO[bytes], *, stdin: int, tie: Callable[[], None] | None = None
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(self.environment),
            start_new_session=True,
            preexec_fn=tie,
        )


def tie_to_us() -> Callable[[], None]:
    """What a child does before it becomes the program: ask the kernel to be killed when we die. Linux only.

    The kernel watches the thread that starts the child: let it be the main one.
    """
    import ctypes

    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork: nothing may be loaded after it
    parent = os.getpid()

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # we died between fork and prctl
            os._exit(1)

    return tie


def environment(kafka: Mapping[str, str], threads: int = 1) -> dict[str, str]:
    """Ours, with so many BLAS threads a process, this very akkafka on the path, and only these KAFKA_* variables."""
    root = str(Path(__file__).resolve().parents[3])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return kept | dict(thread_caps(threads)) | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": path} | dict(kafka)
