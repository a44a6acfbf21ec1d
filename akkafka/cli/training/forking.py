"""A supervisor's side of the fork server: programs by name."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from akkafka.broker.embedded.tie import tie_to_us
from akkafka.cli.training.orders import Fork, Forked, Lines, Load, Over, Signal, encoded
from akkafka.cli.training.supervision import Order

SERVER: Final = "akkafka.cli.training.forkserver"
READ_BYTES: Final = 1 << 16
GONE_S: Final = 10.0  # what is killed is gone in milliseconds


@dataclass(slots=True)
class _Running:
    """The fork server, and where we talk to it."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    lines: Lines = field(default_factory=Lines)


@dataclass(slots=True)
class Forking:
    """Starts, signals and ends programs through a fork server, which is started with the first. Main thread only."""

    log: Path  # of the server itself
    modules: Sequence[str]  # that it loads beforehand
    pids: dict[str, int] = field(default_factory=dict)  # of those that are known to run
    _numbers: dict[str, int] = field(default_factory=dict)  # of what is not known to have ended
    _logs: dict[str, Path] = field(default_factory=dict)
    _latest: int = 0
    _server: _Running | None = None
    _lost: list[tuple[str, int]] = field(default_factory=list)  # ended with the server

    @property
    def names(self) -> frozenset[str]:
        """See children.Way."""
        return frozenset(self._numbers)

    def start(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        """Have it started; `pids` has it as soon as it runs."""
        self._latest += 1
        self._numbers[name], self._logs[name] = self._latest, log
        if self._server is None:
            self._server = self._started(environment)
        self._order(Fork(self._latest, list(command), str(log), dict(environment)))

    def ended(self) -> list[tuple[str, int]]:
        """(name, exit code) of those that have ended since the last call."""
        found = self._read()
        lost, self._lost = self._lost, []
        return found + lost

    def send(self, name: str, order: Order) -> None:
        """Send a signal; nothing to one that has ended."""
        if name in self._numbers:
            self._order(Signal(self._numbers[name], signal.Signals[order.value]))

    def kill_all(self) -> None:
        """End everything at once and wait until it is gone."""
        self._read()
        self._lost.clear()  # of those that are started now under the same names, it would be untrue
        if self._server is None:
            return
        family = _family(self._server.process.pid)
        self._server.process.kill()  # the kernel takes all that it forked along
        self._server.process.wait()
        self._server.channel.close()
        self._server = None
        psutil.wait_procs(family, timeout=GONE_S)
        self._numbers.clear()
        self.pids.clear()

    def _started(self, environment: Mapping[str, str]) -> _Running:
        ours, theirs = socket.socketpair()
        with theirs, self.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", SERVER, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                preexec_fn=tie_to_us(),
            )
        ours.sendall(encoded(Load(list(self.modules))))
        return _Running(process, ours)

    def _order(self, order: Fork | Signal) -> None:
        if self._server is None:
            return
        self._server.process.send_signal(signal.SIGCONT)  # one that somebody has stopped would hold up every end
        try:
            self._server.channel.sendall(encoded(order))
        except OSError:
            self._lose()

    def _read(self) -> list[tuple[str, int]]:
        """Take in what the server has said by now."""
        found: list[tuple[str, int]] = []
        while self._server is not None:
            try:
                data = self._server.channel.recv(READ_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self._lose()
                break
            names = {number: name for name, number in self._numbers.items()}
            for answer in self._server.lines.of(data):
                match answer:
                    case Forked():
                        self.pids[names[answer.number]] = answer.pid
                    case Over():
                        name = names[answer.number]
                        del self._numbers[name], self.pids[name]
                        found.append((name, answer.code))
        return found

    def _lose(self) -> None:
        """The server has ended, and the kernel has taken all that it forked along."""
        assert self._server is not None, "it is what was lost"
        self._server.channel.close()
        code = self._server.process.wait()
        self._server = None
        said = self.log.read_bytes()
        for name, log in self._logs.items():
            if name in self._numbers and name not in self.pids:  # it has said nothing itself
                log.write_bytes(said)
        self._lost += [(name, code) for name in self._numbers]
        self._numbers.clear()
        self.pids.clear()


def _family(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return []
