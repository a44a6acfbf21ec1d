"""The small process that owns the JVM: starts it, restarts it when it dies, and ends it when nobody needs it any more.

Imports the standard library only (it must be up in an eye-blink and stay small), runs in a session of its own (Ctrl-C
in a user's terminal is not meant for it), and takes the JVM with it however it dies itself. Started by `launch`,
which hands over the locked supervisor.lock as an open file: there is no moment in which a broker is starting and
nobody holds the lock.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from akkafka.broker.embedded.diagnosis import Diagnosis, diagnose, size_of
from akkafka.broker.embedded.handshake import probe
from akkafka.broker.embedded.place import Place, guarded, live_leases, read_json, sweep_leases, write_json
from akkafka.broker.embedded.tether import kill, tethered
from akkafka.broker.embedded.tidying import Tidying

TICK_S = 0.25  # how often leases are looked at; a death of the JVM wakes us at once
STARTING_TICK_S = 0.02
PROBE_S = 1.0
FAST_FAILURE_S = 10.0  # a JVM that dies sooner than this after it was ready counts as a fast failure
MAX_FAST_FAILURES = 4
ARCHIVE_S = 60.0  # more for a JVM that writes its class archive: seconds on an idle machine, more on a busy one
BACK_OFF_S = (0.0, 0.5, 1.0, 2.0)


@dataclass(slots=True)
class Supervisor:
    """One JVM's life, as a loop of short looks; `orders` is the content of launch.json."""

    place: Place
    orders: dict[str, Any]
    clock: Callable[[], float] = time.monotonic
    report: dict[str, Any] = field(default_factory=dict)
    jvm: subprocess.Popen[bytes] | None = None
    ready_at: float | None = None
    log_start: int = 0  # where this start begins in server.log
    start_at: float = 0.0  # when the next JVM may start
    failures: int = 0
    idle_since: float | None = None
    asked_to_end: bool = False
    tidying: Tidying = field(init=False)

    def __post_init__(self) -> None:
        self.tidying = Tidying(self.orders["jcmd"], self.orders["rss_bytes"], self.place.root)

    def run(self) -> int:
        """Until nobody needs the broker (0), or it cannot be kept running (1)."""
        wake = _Wake(self._on_signal)
        self.start_at = self.clock()
        while True:
            self._look_at_jvm()
            if self.report.get("phase") == "failed":
                self.place.held.unlink(missing_ok=True)
                return 1
            if self.asked_to_end or self._nobody_left():
                return self._end()
            wake.wait(TICK_S if self.ready_at is not None else STARTING_TICK_S)

    def _on_signal(self) -> None:
        self.asked_to_end = True

    # -- the JVM

    def _look_at_jvm(self) -> None:
        if self.jvm is None:
            if self.clock() >= self.start_at:
                self._start()
        elif self.jvm.poll() is not None:
            self._jvm_died(self.jvm.returncode)
        elif self.ready_at is None and probe("127.0.0.1", self.orders["port"], timeout_s=PROBE_S).is_kafka:
            self.ready_at = self.clock()
            self._say("ready", ready_after_s=round(self.ready_at - self.start_at, 3), problem=None)
        elif self.ready_at is not None and (told := self.tidying.look(self.jvm.pid, self.clock())):
            self._log(told)

    def _start(self) -> None:
        self.start_at, self.ready_at = self.clock(), None
        self.log_start = size_of(self.place.logs / "server.log")
        with (self.place.logs / "console.log").open("wb") as console:
            self.jvm = tethered(self.orders["command"], console, self.place.root)
        self._say("restarting" if self.report.get("restarts") else "starting", jvm_pid=self.jvm.pid)

    def _jvm_died(self, code: int) -> None:
        was_ready, self.jvm = self.ready_at, None
        quick = was_ready is None or self.clock() - was_ready < FAST_FAILURE_S
        self.failures = self.failures + 1 if quick else 1
        self.ready_at = None
        found = diagnose(self.place, code, self.log_start)
        hopeless = found.kind != "unknown" and was_ready is None and not self.report.get("restarts")
        if hopeless or self.failures >= MAX_FAST_FAILURES:
            self._say("failed", jvm_pid=None, kind=found.kind, problem=self._verdict(found))
            return
        self.start_at = self.clock() + BACK_OFF_S[min(self.failures - 1, len(BACK_OFF_S) - 1)]
        restarts = self.report.get("restarts", 0) + 1
        self._say("restarting", jvm_pid=None, restarts=restarts, problem=found.text)

    def _verdict(self, found: Diagnosis) -> str:
        times = f"{self.failures} times in a row" if self.failures > 1 else "at its start"
        return f"Kafka ended {times}: {found.text}"

    # -- the users

    def _nobody_left(self) -> bool:
        """True once no lease was held for the linger; decided under the guard, so that nobody can join meanwhile."""
        if self.place.held.exists() or live_leases(self.place):
            self.idle_since = None
            return False
        self.idle_since = self.idle_since if self.idle_since is not None else self.clock()
        if self.clock() - self.idle_since < self.orders["linger_s"]:
            return False
        try:
            with guarded(self.place, timeout_s=0.05):
                sweep_leases(self.place)
                if live_leases(self.place) or self.place.held.exists():
                    return False
                self._say("stopping")
                return True
        except TimeoutError:
            return False  # somebody is just deciding to join or start: look again

    # -- the end

    def _end(self) -> int:
        self._say("stopping")
        self.tidying.end()
        if self.jvm is not None:
            self.jvm.terminate()
            begun = self.clock()
            while not self._ended_within(TICK_S):
                patience = self.orders["stop_timeout_s"]
                if self._writes_archive():
                    self._say("archiving")
                    patience += ARCHIVE_S
                if self.clock() - begun > patience:
                    self._log(f"the JVM did not end within {self.clock() - begun:.0f} s and is killed")
                    kill(self.jvm)
                    self.jvm.wait()
        self._keep_archive()
        self.place.held.unlink(missing_ok=True)
        self._say("stopped", jvm_pid=None)
        return 0

    def _ended_within(self, seconds: float) -> bool:
        assert self.jvm is not None, "the caller looks"
        with suppress(subprocess.TimeoutExpired):
            self.jvm.wait(seconds)
        return self.jvm.poll() is not None

    def _writes_archive(self) -> bool:
        """Whether Kafka has ended and the JVM writes its class archive, for the first start on this machine."""
        fresh = self.orders.get("archive_fresh")
        return bool(fresh) and any(Path(f"{fresh}{end}").exists() for end in ("", ".config"))

    def _keep_archive(self) -> None:
        """A class data archive that the JVM wrote at its end is moved to where the next start looks for it."""
        fresh, kept = self.orders.get("archive_fresh"), self.orders.get("archive")
        if fresh and kept and Path(fresh).exists():
            Path(fresh).replace(kept)

    def _say(self, phase: str, **facts: Any) -> None:
        changed = phase != self.report.get("phase")
        self.report |= {**facts, "phase": phase, "supervisor_pid": os.getpid(), "at": time.time()}
        with suppress(OSError):  # a full disk must not take the broker down with it; whoever reads sees an older report
            write_json(self.place.state, self.report)
        if changed or facts.get("problem"):
            self._log(" ".join([phase, *(f"{key}={value}" for key, value in facts.items() if value is not None)]))

    def _log(self, line: str) -> None:
        with suppress(OSError):
            print(time.strftime("%Y-%m-%d %H:%M:%S"), line, flush=True)


class _Wake:
    """Sleeps that end early when a child dies or a signal asks us to end."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _plain_pipe()
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: on_end())
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def wait(self, seconds: float) -> None:
        if select.select([self._reading], [], [], seconds)[0]:
            os.read(self._reading, 4096)


def _plain_pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    return reading, writing


def main(state_dir: str, lock_fd: str) -> int:
    """Supervise the broker of `state_dir`; `lock_fd`: the open, locked supervisor.lock, ours until we end."""
    if os.fork():  # whoever started us goes on; from here on we are nobody's child, and nobody has to wait for us
        os._exit(0)
    place = Place(Path(state_dir))
    orders = read_json(place.launch)
    supervisor = Supervisor(place, orders, report=dict(orders["facts"]))
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
