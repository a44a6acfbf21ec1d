"""What a contender's processes cost, seen from outside, so that all are measured alike; and that none is left."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from akkafka.cli.living import lives

EVERY_S = 0.5
AGAIN_S = 0.05
GRACE_S = 30.0  # for daemons to go by themselves: a broker lingers for 2 s, then closes its logs


class Watch:
    """Looks at a process, all below it, and all whose command line names `mark` (a broker is nobody's child)."""

    def __init__(self, pid: int, mark: str) -> None:
        self._root, self._mark = psutil.Process(pid), mark
        self._seen: dict[psutil.Process, tuple[str, float]] = {}  # label, seconds of processor time
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_again_and_again, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def cpu_seconds(self) -> dict[str, float]:
        """By process, from its start to the last look at it (so up to half a second is missing), most first."""
        told: dict[str, float] = {}
        met: Counter[str] = Counter()
        for label, seconds in sorted(self._seen.values(), key=lambda entry: -entry[1]):
            met[label] += 1
            told[label if met[label] == 1 else f"{label} #{met[label]}"] = round(seconds, 2)
        return told

    def clear(self, grace_s: float = GRACE_S) -> list[str]:
        """Wait until everything that was seen has ended, kill what does not; the labels of what was killed."""
        left = self._left(grace_s)
        for process in left:
            with suppress(psutil.Error):  # it has just ended
                process.kill()
        self._left(grace_s)
        return [self._seen[process][0] for process in left]

    def _left(self, patience_s: float) -> list[psutil.Process]:
        """Those that are still there after so many seconds; a zombie is not: nobody may come to fetch it."""
        until = time.monotonic() + patience_s
        while (alive := [one for one in list(self._seen) if lives(one)]) and time.monotonic() < until:
            time.sleep(AGAIN_S)
        return alive

    def _look_again_and_again(self) -> None:
        while not self._over.wait(EVERY_S):
            self.look()

    def look(self) -> None:
        """Once."""
        for process in self._ours():
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    before = self._seen[process][0] if process in self._seen else ""
                    label = label_of(process.cmdline(), process.name(), before)
                    self._seen[process] = (label, times.user + times.system)
            except psutil.Error:  # it has just ended
                continue

    def _ours(self) -> Iterator[psutil.Process]:
        with suppress(psutil.Error):  # it has ended
            yield from [self._root, *self._root.children(recursive=True)]
        for process in psutil.process_iter(["cmdline"]):
            if process.pid != os.getpid() and any(self._mark in word for word in process.info["cmdline"] or ()):
                yield process


def wait_until_gone(mark: str, patience_s: float = GRACE_S) -> list[psutil.Process]:
    """Wait for the end of all whose command line names `mark`, such as a broker that was let go; who is left then."""
    until = time.monotonic() + patience_s
    while True:
        left = [p for p in psutil.process_iter(["cmdline"]) if any(mark in word for word in p.info["cmdline"] or ())]
        if not left or time.monotonic() > until:
            return left
        time.sleep(AGAIN_S)


def label_of(command: Sequence[str], name: str, before: str = "") -> str:
    """A short name: `akkafka.gate 0`, `ray::Actor`, `java`; `before`: of one just ending, whose command is gone."""
    if not command:
        return before or name
    if command[0].startswith("ray::"):
        return command[0].partition(".")[0]
    if "-m" in command[:-1]:
        module, *rest = command[command.index("-m") + 1 :]
        told = [word for before, word in pairwise(["", *rest[:2]]) if word.isidentifier() or before == "--layer"]
        return " ".join([module, *told])
    script = next((word for word in command[1:2] if word.endswith(".py")), command[0])
    return Path(script).name
