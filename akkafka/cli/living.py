"""Whether a process lives, asked while it may be just ending."""

from __future__ import annotations

from contextlib import suppress

import psutil


def lives(process: psutil.Process) -> bool:
    """A zombie does not: nobody may come to fetch it. One that goes between two questions does not, either."""
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
