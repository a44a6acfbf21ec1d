"""Whether processes have ended, after a while."""

from __future__ import annotations

import time
from collections.abc import Collection

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
