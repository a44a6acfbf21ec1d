"""What users of the broker call: acquire a lease, look, start, stop, run in the foreground."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn

from akkafka.broker.embedded.diagnosis import disk_is_full, tail
from akkafka.broker.embedded.launch import launch, prepare, unwritable
from akkafka.broker.embedded.place import Place, guarded, is_held, live_leases, lock_own, read_json, try_lock
from akkafka.broker.embedded.provisioning import Provision, provision
from akkafka.broker.embedded.settings import BrokerSettings
from akkafka.errors import BrokerError

POLL_S = 0.02
PORT_ATTEMPTS = 3

Progress = Callable[[str], None]


ENDING = ("stopping", "archiving", "stopped", "failed")  # phases


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """What is known of the broker of one state directory."""

    running: bool  # a broker answers, or is being brought up
    phase: str  # starting, ready, restarting, stopping, archiving, stopped, failed; "none" if there never was one
    bootstrap: str | None
    pid: int | None  # of the supervisor
    jvm_pid: int | None
    version: str | None  # Kafka's
    leases: tuple[int, ...]  # pids of the users
    held: bool  # `broker start` keeps it up
    data_bytes: int  # disk in use by the data
    started_at: float | None  # seconds since the epoch
    restarts: int
    cluster_id: str | None
    problem: str | None
    state_dir: Path


@dataclass(slots=True)
class Lease:
    """The right to a running broker, for as long as it is held or this process lives; a context manager."""

    bootstrap: str  # "127.0.0.1:port"
    path: Path
    _handle: IO[bytes] | None = field(repr=False)

    def release(self) -> None:
        """Give it back; the broker ends when nobody holds one. Doing it twice does nothing."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self.path.unlink(missing_ok=True)
            handle.close()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def acquire(
    settings: BrokerSettings, *, progress: Progress = lambda line: None, give_up: threading.Event | None = None
) -> Lease:
    """A lease on the broker of `settings.state_dir`, which is started if none runs and is ready when this returns.

    The lease ends with `release()` or with this process, however it ends (and with processes forked from it
    meanwhile). Raises BrokerError: no Java, no jars, port taken, directory not writable, Kafka does not start; or
    `give_up` was set by another thread.
    """
    place = prepare(settings.state_dir)
    lease = Lease("", _lease_path(place), None)
    try:
        lease.bootstrap = _Acquisition(place, settings, progress, lease, give_up or threading.Event()).run()
    except BaseException:
        lease.release()
        raise
    return lease


def _lease_path(place: Place) -> Path:
    return place.leases / f"{os.getpid()}-{secrets.token_hex(4)}"


@dataclass(slots=True)
class _Acquisition:
    place: Place
    settings: BrokerSettings
    progress: Progress
    lease: Lease
    give_up: threading.Event
    provided: Provision | None = None
    told: set[str] = field(default_factory=set)
    begun: float = field(default_factory=time.monotonic)

    def run(self) -> str:
        for _ in range(PORT_ATTEMPTS):
            self._join_or_launch()
            report = self._wait_until_ready()
            if report.get("phase") == "ready":
                return self._fits(report)
            if report.get("kind") != "port" or self.settings.port is not None:
                raise self._failed(report)
            self.place.ports.unlink(missing_ok=True)  # somebody was quicker: choose again
        raise self._failed(report)

    def _join_or_launch(self) -> None:
        while True:
            try:
                with guarded(self.place):
                    if self._step():
                        return
            except TimeoutError as error:
                raise BrokerError(str(error), hint="end that process, then try again") from error
            except OSError as error:
                raise unwritable(self.place, error) from error
            self._meanwhile()

    def _step(self) -> bool:
        """Under the guard: True once a supervisor lives that will serve our lease."""
        if self.lease._handle is None:
            self.lease._handle = lock_own(self.lease.path)
        lock = try_lock(self.place.supervisor_lock)
        if lock is None:
            # `is_held` too: somebody's look at the lock (a shared one, for microseconds) is not a supervisor.
            phase = read_json(self.place.state).get("phase")
            return is_held(self.place.supervisor_lock) and phase not in ENDING
        with lock:
            if self.provided is None:
                return False
            others = len([pid for pid in live_leases(self.place) if pid != os.getpid()])
            launch(self.place, self.settings, self.provided, lock, others, self.progress)
            self.progress(f"starting Kafka {self.provided.kafka_version} (data in {self.place.data})")
        return True

    def _meanwhile(self) -> None:
        """Outside the guard: what has to happen before the next step can succeed."""
        if is_held(self.place.supervisor_lock):
            self._tell_once("waiting for the broker before this one to end")
            self._check_patience()
            time.sleep(POLL_S)
        elif self.provided is None:
            self.provided = provision(self.progress)

    def _wait_until_ready(self) -> dict[str, Any]:
        while True:
            alive = is_held(self.place.supervisor_lock)
            report = read_json(self.place.state)
            if report.get("phase") == "failed" or (alive and report.get("phase") == "ready"):
                return report
            if not alive:
                return report | {"phase": "failed"} | _silent_death(self.place)
            if report.get("phase") == "restarting":
                self._tell_once(f"waiting for Kafka to be back ({report.get('problem')})")
            self._check_patience()
            time.sleep(POLL_S)

    def _fits(self, report: dict[str, Any]) -> str:
        bootstrap = str(report["bootstrap"])
        asked = self.settings.port
        if asked is not None and bootstrap.rpartition(":")[2] != str(asked):
            raise BrokerError(
                f"the broker of {self.place.root} runs already, at {bootstrap}, not at the port asked for ({asked})",
                hint="leave --port out, stop it first (akkafka broker stop), or use another --state-dir",
            )
        if self.provided is not None:
            self.progress(f"Kafka is ready at {bootstrap} after {time.monotonic() - self.begun:.1f} s")
        return bootstrap

    def _tell_once(self, line: str) -> None:
        if line not in self.told:
            self.told.add(line)
            self.progress(line)

    def _check_patience(self) -> None:
        if self.give_up.is_set():
            raise BrokerError("given up before the broker was ready")
        if time.monotonic() - self.begun > self.settings.start_timeout_s:
            raise BrokerError(
                f"the broker of {self.place.root} was not ready within {self.settings.start_timeout_s:g} s",
                hint=f"see {self.place.logs}; on a slow machine raise start_timeout_s",
            )

    def _failed(self, report: dict[str, Any]) -> BrokerError:
        said = report.get("problem") or "it gave no reason"
        lines = tail(self.place.logs / "supervisor.log", 5)
        return BrokerError(
            f"the embedded broker of {self.place.root} failed: {said}",
            hint=_advice(str(report.get("kind"))) + f"; logs: {self.place.logs}" + ("" if lines else " (empty)"),
        )


def _advice(kind: str) -> str:
    return {
        "port": "ask for another --port",
        "disk": "free some space, or choose another --state-dir",
        "memory": "free some memory, or change heap_mb",
        "java": "set JAVA_HOME to Java 17 or newer",
        "data": "move the data directory away to start empty, or choose another --state-dir",
    }.get(kind, "try again")


def status(state_dir: Path) -> BrokerStatus:
    """Look, without changing anything."""
    place = Place(state_dir.expanduser().absolute())
    alive = is_held(place.supervisor_lock)
    report = read_json(place.state)
    phase = str(report.get("phase", "none"))
    if not alive and phase not in ("none", "stopped", "failed"):
        report |= _silent_death(place)
        phase = "stopped"
    return BrokerStatus(
        running=alive and phase not in ENDING,
        phase=phase,
        bootstrap=report.get("bootstrap") if alive else None,
        pid=report.get("supervisor_pid") if alive else None,
        jvm_pid=report.get("jvm_pid") if alive else None,
        version=report.get("version"),
        leases=tuple(live_leases(place)),
        held=alive and place.held.exists(),
        data_bytes=_bytes_under(place.data),
        started_at=report.get("started_at") if alive else None,
        restarts=int(report.get("restarts", 0)),
        cluster_id=report.get("cluster_id"),
        problem=report.get("problem"),
        state_dir=place.root,
    )


def _silent_death(place: Place) -> dict[str, str]:
    """Why a supervisor is gone that did not say why: killed, or no room left even for its report."""
    if disk_is_full(place):
        return {"kind": "disk", "problem": "the disk is full"}
    return {"kind": "unknown", "problem": "its supervisor was killed"}


def _bytes_under(directory: Path) -> int:
    """Disk in use (blocks, as Kafka's index files are mostly holes)."""
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            try:
                total += (Path(parent) / name).lstat().st_blocks * 512
            except OSError:  # removed meanwhile
                continue
    return total


def start(settings: BrokerSettings, progress: Progress) -> str:
    """Start the broker, or join it, and keep it up after this process has ended, until `stop`. Returns its address."""
    with acquire(settings, progress=progress) as lease:
        Place(settings.state_dir.expanduser().absolute()).held.touch()
        return lease.bootstrap


def stop(state_dir: Path, progress: Progress, *, force: bool = False, timeout_s: float = 100.0) -> bool:
    """Take back what `start` gave. True if no broker runs any more when this returns.

    While others hold leases the broker goes on (False, and `progress` says who); `force` ends it all the same.
    """
    place = Place(state_dir.expanduser().absolute())
    if not is_held(place.supervisor_lock):
        progress("no broker is running")
        return True
    place.held.unlink(missing_ok=True)
    users = live_leases(place)
    if users and not force:
        progress(f"the broker goes on until its users end: pid {', '.join(map(str, users))}")
        return False
    _end_supervisor(place, timeout_s)
    progress("the broker has ended; its data stay")
    return True


def _end_supervisor(place: Place, timeout_s: float) -> None:
    deadline, asked = time.monotonic() + timeout_s, False
    while is_held(place.supervisor_lock):
        pid = read_json(place.state).get("supervisor_pid")
        if isinstance(pid, int) and not asked:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            asked = True
        if time.monotonic() > deadline:
            raise BrokerError(
                f"the broker of {place.root} did not end within {timeout_s:g} s", hint=f"see {place.logs}"
            )
        time.sleep(POLL_S)


def run_foreground(settings: BrokerSettings, progress: Progress) -> int:
    """`akkafka broker`: until Ctrl-C or SIGTERM (0) or until the broker fails (BrokerError). Main thread only."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with acquire(settings, progress=progress) as lease:
            progress(f"broker at {lease.bootstrap}; Ctrl-C ends it")
            _watch(prepare(settings.state_dir))
    except KeyboardInterrupt:
        for number in before:  # a second Ctrl-C would only leave the end to the supervisor
            signal.signal(number, signal.SIG_IGN)
        progress("ending the broker (its data stay)")
        stop(settings.state_dir, progress)
        return 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(place: Place) -> NoReturn:
    """Until the broker is gone (BrokerError) or a signal comes (KeyboardInterrupt)."""
    while is_held(place.supervisor_lock):
        time.sleep(0.25)
    said = read_json(place.state).get("problem") or "somebody stopped it or killed its supervisor"
    raise BrokerError(f"the broker has ended: {said}", hint=f"see {place.logs}")
