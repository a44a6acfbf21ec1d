"""When a gate's state is to be saved: so much of the journal or so long after the last time, and before it leaves.

Pure: time comes in as it is told.
"""

from __future__ import annotations


class Saving:
    """One snapshot at a time, and none of a version that is saved already."""

    def __init__(self, version: int, every_bytes: int, every_seconds: float) -> None:
        """`version`: what the process begins with."""
        self._saved = version
        self._every_bytes, self._every_seconds = every_bytes, every_seconds
        self.under_way = False
        self._bytes = 0  # of journal records since the last one was begun
        self._begun_at = 0.0
        self._now = 0.0

    def ticked(self, now: float) -> None:
        """Time went on (seconds, any origin)."""
        self._now = now

    def appended(self, size: int) -> None:
        """The journal has so many bytes more."""
        self._bytes += size

    def due(self, version: int, *, last: bool) -> bool:
        """Whether the certain version is to be saved; `last`: no other will come."""
        if self.under_way or version == self._saved:
            return False
        return last or self._bytes >= self._every_bytes or self._now - self._begun_at >= self._every_seconds

    def begun(self) -> None:
        """It is being written."""
        self.under_way = True
        self._bytes = 0
        self._begun_at = self._now

    def ended(self, version: int, *, verified: bool) -> None:
        """It is written; if it was not found whole, the version is still to be saved."""
        self.under_way = False
        if verified:
            self._saved = version
