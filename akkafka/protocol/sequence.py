"""The one rule of acceptance: a lane's next seq is taken, an earlier one is a duplicate, a later one is refused.

No message ahead of its turn is kept waiting. Producers append the message after s only if they know that s is in the
log (broker/base.py), so a first copy never overtakes another: what comes too early is forged, or the log lost some.
Keeping it would also break the start-up rule, which goes on behind the last input that was worked on.
"""

from __future__ import annotations

import enum


class Verdict(enum.Enum):
    """What to do with a message of a lane."""

    NEXT = "next"
    DUPLICATE = "duplicate"
    AHEAD = "ahead"


def judge(seq: int, expected: int) -> Verdict:
    """Verdict on `seq` in a lane whose next is `expected`."""
    if seq == expected:
        return Verdict.NEXT
    return Verdict.DUPLICATE if seq < expected else Verdict.AHEAD
