"""Where a batch's time goes: wall-clock times that some batches collect on their way there and back.

A sentinel begins with one batch in `EVERY`; whoever gets a batch with stamps adds its own, and so does nobody else.
Nothing decides by them, and no journal holds them. Each station (the sentinel that issues, every gate, the loss, every
gate on the way back) adds six, in ns since 1970:

    sent      the message that came was handed to its producer; from a record header, as it is later than its bytes
    arrived   it was taken from the broker's answer
    decoded   it was read
    begun     a thread began to compute
    done      it had finished
    left      its own message was about to be encoded

so of a station `arrived - sent` is producer, broker and fetch, `begun - decoded` waiting, `left - done` waiting for the
journal (output commit) and for batches before it; and encoding is the next station's `sent` minus this one's `left`.
Between machines their clocks' difference is in it. They come home with `backward.0`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeVar

from akkafka.protocol.messages import Backward, Forward, Message

EVERY: Final = 16
PER_STATION: Final = 6
MAX_GATES: Final = 41  # of a network whose batches are stamped: longer lists are refused by readers (wire.py)
MOST: Final = PER_STATION * (2 * MAX_GATES + 2)  # stamps of a batch
SENT: Final = "sent"

Headers = tuple[tuple[str, bytes], ...]
Travelling = TypeVar("Travelling", Forward, Backward)


def begun(seq: int, gates: int, begun_ns: int) -> tuple[int, ...] | None:
    """The first stamps of a batch whose making began at `begun_ns` and is done; None: it collects none."""
    if seq % EVERY or gates > MAX_GATES:
        return None
    return (begun_ns, begun_ns, begun_ns, begun_ns, time.time_ns())


def arrived(message: Message, headers: Headers, arrived_ns: int) -> Message:
    """`message` as it has just been decoded, with the times of that.

    Without stamps if this station's would be too many for the next reader: whoever made so many shall stop no lane.
    """
    if not isinstance(message, Forward | Backward):
        return message
    stamps = message.stamps
    if stamps is None:
        return message
    if len(stamps) + PER_STATION > MOST:
        return replace(message, stamps=None)
    return replace(message, stamps=(*stamps, _sent(headers), arrived_ns, time.time_ns()))


def computed(stamps: tuple[int, ...] | None, spent: tuple[int, int]) -> tuple[int, ...] | None:
    """With the times at which a computation began and was done; (0, 0) if there was none."""
    return None if stamps is None else stamps + spent


def leaving(message: Travelling) -> Travelling:
    """`message` just before it is encoded."""
    return message if message.stamps is None else replace(message, stamps=_and_now(message.stamps))


def sent(message: Forward | Backward) -> Headers:
    """The header of a message that has just been encoded."""
    return () if message.stamps is None else ((SENT, str(time.time_ns()).encode()),)


def stations(stamps: Sequence[int], gates: int) -> list[tuple[int, ...]] | None:
    """Six times for each of 2 × gates + 2 stations, in order; None if some are missing or not in order of time.

    A batch that was voided, computed again or taken over on its way tells nothing of how long batches take.
    """
    if len(stamps) != PER_STATION * (2 * gates + 2) or list(stamps) != sorted(stamps):
        return None
    return [tuple(stamps[i : i + PER_STATION]) for i in range(0, len(stamps), PER_STATION)]


def _and_now(stamps: tuple[int, ...]) -> tuple[int, ...]:
    return (*stamps, time.time_ns())


def _sent(headers: Headers) -> int:
    for name, value in headers:
        if name == SENT and value.isdigit() and len(value) < 20:
            return int(value)
    return 0
