"""Lets one process at a time do what is wasteful, but not wrong, to do twice: unpacking and downloading."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[bool]:
    """Whether nobody else is within; tried once, never waited for. Ends with the process, SIGKILL included.

    On a file system without locks everybody is told True. Raises OSError if the file cannot be made.
    """
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            alone = False
        except OSError:  # no locks here (some network file systems)
            alone = True
        else:
            alone = True
        yield alone
