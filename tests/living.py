"""Whether processes live, asked while they may be just ending."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress

import psutil

PATIENCE_S = 60.0  # only keeps a failing test from hanging


def lives(process: psutil.Process) -> bool:
    """A zombie does not: nobody may come to fetch it. One that goes between two questions does not, either."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def gone(processes: Collection[psutil.Process]) -> bool:
    """None of them lives, after the time that the kernel and they need for it."""
    end = time.monotonic() + PATIENCE_S
    while any(map(lives, processes)):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
