"""A process that has loaded what gates and sentinels need, and becomes one of them by a fork: in milliseconds.

To import numpy, numba and akkafka takes a process 1.3 s of CPU, and a training starts with four or more of them beside
a broker; here it is taken once. Linux only: elsewhere libraries do not survive a fork. No thread may run in this
process when it forks, so it loads modules and does nothing with them.

Run as `python -m akkafka.cli.training.forkserver SOCKET`, no longer than a child's command line, which is written over
it for `ps`. Orders come on that inherited socket, answers go back on it (orders.py). When the other end is closed this
process ends, and the kernel takes all that it forked along.
"""

from __future__ import annotations

import gc
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from setproctitle import setproctitle, setthreadtitle

from akkafka.broker.embedded.tie import tie_to_us
from akkafka.cli.training.orders import Fork, Forked, Line, Lines, Load, Over, Signal, encoded

READ_BYTES = 1 << 16


class Server:
    """Forks, signals, tells."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._alarm, self._raised = socket.socketpair()  # tells that a child has ended
        self._pids: dict[int, int] = {}  # by number: those that are not known to have ended
        self._lines = Lines()

    def run(self) -> Fork | None:
        """Returns in every child at once, with its order; in the parent when the other end is closed, with None."""
        for end in (self._alarm, self._raised):
            end.setblocking(False)
        signal.set_wakeup_fd(self._raised.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler nothing wakes us
        with selectors.DefaultSelector() as selector:
            for end in (self._channel, self._alarm):
                selector.register(end, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._alarm in ready:
                    self._alarm.recv(READ_BYTES)
                    self._reap()
                if self._channel not in ready:
                    continue
                data = self._channel.recv(READ_BYTES)
                if not data:
                    return None
                for order in self._lines.of(data):
                    match order:
                        case Load():
                            _load(order)
                        case Fork():
                            if self._forked(order):
                                return order
                        case Signal():
                            self._signal(order)

    def let_go(self) -> None:
        """What a child does with what is its parent's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in (self._channel, self._alarm, self._raised):
            end.close()

    def _forked(self, order: Fork) -> bool:
        """True in the child."""
        pid = os.fork()
        if pid == 0:
            return True
        self._pids[order.number] = pid
        self._tell(Forked(order.number, pid))
        return False

    def _signal(self, order: Signal) -> None:
        if order.number in self._pids:
            with suppress(ProcessLookupError):
                os.kill(self._pids[order.number], order.signal)

    def _reap(self) -> None:
        for number, pid in list(self._pids.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._pids[number]
                self._tell(Over(number, os.waitstatus_to_exitcode(status)))

    def _tell(self, answer: Line) -> None:
        with suppress(OSError):  # nobody is there any more: the next read says so
            self._channel.sendall(encoded(answer))


def _load(order: Load) -> None:
    for module in order.modules:
        import_module(module)
    gc.collect()
    gc.freeze()  # what is loaded stays shared with the children: no collection writes to it


def become(order: Fork, tie: Callable[[], None]) -> None:
    """Be the program that was ordered; ends as it ends."""
    tie()
    os.setsid()
    into = os.open(order.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for number in (1, 2):
        os.dup2(into, number)
    os.close(into)
    # `ps` shows it as if it had been started alone. Before the environment changes: it tells where the words lie.
    sys.orig_argv = [sys.executable, *order.command]
    setproctitle(" ".join(sys.orig_argv))
    setthreadtitle(Path(sys.executable).name)
    os.environ.clear()
    os.environ.update(order.environment)
    way, what, *rest = order.command
    if way == "-m":
        sys.argv = [what, *rest]
        sys.modules.pop(f"{what}.__main__", None)  # loaded beforehand for what it imports; runpy warns of it
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [way, *rest]
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


def main(words: Sequence[str]) -> None:
    """`words`: the socket's number."""
    tie, server = tie_to_us(), Server(socket.socket(fileno=int(words[0])))
    order = server.run()
    if order is not None:
        server.let_go()
        become(order, tie)


if __name__ == "__main__":
    main(sys.argv[1:])
