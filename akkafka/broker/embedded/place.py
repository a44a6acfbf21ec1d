"""The state directory: what lies where, and the file locks that say who is alive.

Truth about processes is in locks, never in a number written down: the kernel frees a lock when its holder dies,
however it dies, while a pid in a file outlives its process and may mean another one tomorrow.

    guard           held for milliseconds around every decision to start, join or end
    supervisor.lock held by the supervisor as long as it lives
    leases/*        one per user, each held by its process
    held            present while `broker start` keeps the broker up without a process of its own
    state.json      what the supervisor says of itself; only to be believed while supervisor.lock is held
    launch.json     what the supervisor is to run
    port.json       ports used last; reused, so that clients which remember an address find the broker again
    meta.properties a copy of Kafka's identity file, so that a lost one can be put back
    data, logs      Kafka's
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

GUARD_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Place:
    """A broker's state directory."""

    root: Path

    @property
    def guard(self) -> Path:
        """Lock around decisions."""
        return self.root / "guard"

    @property
    def supervisor_lock(self) -> Path:
        """Lock held while the supervisor lives."""
        return self.root / "supervisor.lock"

    @property
    def leases(self) -> Path:
        """Directory of the users' locks."""
        return self.root / "leases"

    @property
    def held(self) -> Path:
        """Marker of `broker start`."""
        return self.root / "held"

    @property
    def state(self) -> Path:
        """The supervisor's report."""
        return self.root / "state.json"

    @property
    def launch(self) -> Path:
        """The supervisor's orders."""
        return self.root / "launch.json"

    @property
    def ports(self) -> Path:
        """Ports used last."""
        return self.root / "port.json"

    @property
    def identity(self) -> Path:
        """Copy of the identity file in `data`."""
        return self.root / "meta.properties"

    @property
    def data(self) -> Path:
        """Kafka's log directory."""
        return self.root / "data"

    @property
    def logs(self) -> Path:
        """server.log (Kafka), console.log (the JVM), supervisor.log."""
        return self.root / "logs"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; {} if the file is missing or not an object: a torn or stale file is worth nothing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replaces the file as a whole, so that a reader sees the old or the new one. Raises OSError."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def try_lock(path: Path) -> IO[bytes] | None:
    """The file, locked for us alone until it is closed; None if another holds it. Creates the file. Raises OSError."""
    handle = path.open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle


def lock_own(path: Path) -> IO[bytes]:
    """A file that only this process ever locks for itself, locked: those who look at it let go of it in microseconds,
    and to be put off by one of them would be to have no lock at all. Creates the file. Raises OSError."""
    handle = path.open("ab")
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def is_held(path: Path) -> bool:
    """True if a living process holds the file's lock. Asked with a shared lock: two who ask do not see each other."""
    try:
        with path.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def guarded(place: Place, timeout_s: float = GUARD_TIMEOUT_S) -> Iterator[None]:
    """Alone with the decision to start, join or end. Raises TimeoutError if another process (stopped?) sits on it."""
    deadline = time.monotonic() + timeout_s
    while (handle := try_lock(place.guard)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{place.guard} is held by another process for {timeout_s:g} s")
        time.sleep(0.005)
    with handle:
        yield


def live_leases(place: Place) -> list[int]:
    """Pids of the users that hold a lease now."""
    return [pid for path, pid in lease_files(place) if is_held(path)]


def sweep_leases(place: Place) -> None:
    """Removes what dead users left. Only under the guard: leases are made under it, so none is seen half made."""
    for path, _ in lease_files(place):
        if not is_held(path):
            path.unlink(missing_ok=True)


def lease_files(place: Place) -> list[tuple[Path, int]]:
    """Lease files and the pids in their names (0 if a name has none)."""
    try:
        paths = sorted(place.leases.iterdir())
    except OSError:
        return []
    return [(path, int(head) if (head := path.name.split("-")[0]).isdigit() else 0) for path in paths]
