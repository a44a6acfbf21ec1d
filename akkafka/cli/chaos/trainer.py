"""The training that is thrown at: `akkafka train` as a user runs it, and its processes by role."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from akkafka.broker.embedded.tie import tie_to_us
from akkafka.cli.living import lives
from akkafka.errors import AkkafkaError

END_S = 120.0  # for a training to end by itself: drain, last snapshots
RoleName = str  # "gate-0", "sentinel-train", "sentinel-validate"


def role_of(command: Sequence[str]) -> RoleName | None:
    """What a process of a training does, by its command line; None for anything else."""
    if "akkafka.gate" in command and "--layer" in command:
        return f"gate-{command[command.index('--layer') + 1]}"
    if "akkafka.sentinel" in command:
        return f"sentinel-{command[command.index('akkafka.sentinel') + 1]}"
    return None


@dataclass(slots=True)
class Trainer:
    """One `akkafka train` at a time. Everything that ever ran under it is remembered, to look for orphans."""

    command: Sequence[str]  # behind the interpreter: "-m", "akkafka", "train", …
    log: Path
    environment: Mapping[str, str]
    seen: dict[int, psutil.Process] = field(default_factory=dict)
    _popen: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        """Run it, with more words behind the command. Main thread only: it ends when we do, however we end."""
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, *self.command, *more],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self.environment),
                start_new_session=True,
                preexec_fn=tie_to_us() if sys.platform == "linux" else None,
            )

    @property
    def ended(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._popen.poll() if self._popen is not None else None

    @property
    def process(self) -> psutil.Process | None:
        """`akkafka train` itself, while it runs."""
        try:
            return psutil.Process(self._popen.pid) if self._popen is not None and self.ended is None else None
        except psutil.NoSuchProcess:
            return None

    def workers(self) -> dict[RoleName, list[psutil.Process]]:
        """Living processes by role, oldest first."""
        found: dict[RoleName, list[psutil.Process]] = {}
        for process in self._children():
            try:
                role = role_of(process.cmdline())
            except psutil.Error:
                continue
            if role is not None:
                found.setdefault(role, []).append(process)
        for processes in found.values():
            processes.sort(key=lambda process: process.pid)
        return found

    def collapse(self) -> None:
        """SIGKILL; the kernel takes its processes along."""
        self._children()
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()

    def stop(self) -> int:
        """Ask it to finish what is begun, and wait for its end; its exit code."""
        assert self._popen is not None, "start() comes first"
        self._popen.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self, timeout_s: float = END_S) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._popen is not None, "start() comes first"
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            self.collapse()
            raise AkkafkaError(
                f"`akkafka train` did not end within {timeout_s:g} s and was killed", hint=f"see {self.log}"
            ) from error

    def orphans(self, patience_s: float = 5.0) -> list[psutil.Process]:
        """Who of all that ever ran still lives; what was killed a moment ago gets a moment to go."""
        until = time.monotonic() + patience_s
        while True:
            alive = [process for process in self.seen.values() if lives(process)]
            if not alive or time.monotonic() > until:
                return alive
            time.sleep(0.1)

    def _children(self) -> list[psutil.Process]:
        if self._popen is None or self._popen.poll() is not None:
            return []
        try:
            found: list[psutil.Process] = psutil.Process(self._popen.pid).children(recursive=True)
        except psutil.Error:
            return []
        self.seen.update({process.pid: process for process in found})
        return found


def environment(bootstrap: str) -> dict[str, str]:
    """Ours, with this very akkafka on the path; the broker only by the proxy's address."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    # A swallowed answer costs its time-out: with the usual 20 s a storm would mostly be waiting.
    return kept | {
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "KAFKA_REQUEST_TIMEOUT_S": "4",
    }
