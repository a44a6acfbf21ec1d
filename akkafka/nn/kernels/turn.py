"""Processes that start together compile in turn: the first fills numba's cache, and the others only read it.

A fleet of six would compile each kernel six times: all kernels take 25 s of a core, those of a plain network 7.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 60.0  # longer than a compilation on a busy machine; a holder may have been paused for good
POLL_S = 0.02


@contextmanager
def compiling_in_turn(source: str, patience_s: float = PATIENCE_S) -> Iterator[bool]:
    """Hold the turn of the kernels in the file `source`; True if it is ours, False if we go on without it.

    The turn is a lock on the source file itself, opened for reading: nothing is written, and it ends with its process.
    It is a matter of efficiency only, so where it cannot be had (file system, patience) the work is done all the same.
    """
    with Path(source).open("rb") as file:
        deadline = time.monotonic() + patience_s
        ours = _locked(file.fileno())
        while not ours and time.monotonic() < deadline:
            time.sleep(POLL_S)
            ours = _locked(file.fileno())
        yield ours


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
