"""Whether processes have ended or stand still, after a while."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

import psutil

from akkafka.cli.living import lives

PATIENCE_S = 60.0  # only keeps a failing test from hanging


def gone(processes: Collection[psutil.Process]) -> bool:
    """None of them lives, after the time that the kernel and they need for it."""
    end = time.monotonic() + PATIENCE_S
    while any(map(lives, processes)):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def freeze(pid: int) -> None:
    """SIGSTOP, and wait until every thread stands still: some go on for a moment, and may answer what comes then."""
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + PATIENCE_S
    while any(_runs(task) for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < end, f"process {pid} does not stand still"
        time.sleep(0.005)


def _runs(task: Path) -> bool:
    try:
        told = (task / "stat").read_text()
    except OSError:
        return False  # it has just ended
    return told.rpartition(")")[2].split()[0] not in "TZX"
