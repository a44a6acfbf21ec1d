"""Trims what nobody needs any more: each lane's reader trims it, up to a first copy, and always leaves the lane's last.

So whoever looks at a lane finds a first copy at its head, and at its end how far the lane has come. Only whole segments
free disk (topics.py), so a look every second is enough.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from akkafka.broker.base import Broker, BrokerUnavailableError, OffsetGoneError, TopicPartition
from akkafka.errors import BrokerError

log = logging.getLogger("akkafka.trimming")
EVERY_S = 1.0
ONCE_S = 1.0
TRIES = 3
IN_A_ROW_S = 30.0


@dataclass(slots=True)
class FirstCopies:
    """Where a lane's newest first copies lie, as far as they were read by this process."""

    _taken: deque[tuple[int, int]] = field(default_factory=deque)  # (seq, offset), both rising
    _told: int = 0  # nothing lies before the first offset

    def take(self, seq: int, offset: int) -> None:
        """The first copy of the lane's next batch lies there."""
        if not self._taken or seq > self._taken[-1][0]:
            self._taken.append((seq, offset))

    def needless(self, needed: int) -> int | None:
        """Offset before which nothing is needed if all from batch `needed` on is; None if nothing new is needless.

        Never beyond the newest that was taken: it stays, whatever is needed.
        """
        while len(self._taken) > 1 and self._taken[1][0] <= needed:
            self._taken.popleft()
        if not self._taken or self._taken[0][0] > needed or self._taken[0][1] == self._told:
            return None
        self._told = self._taken[0][1]
        return self._told


@dataclass(slots=True)
class Overtaken:
    """Lets a process begin anew that had slept (a pause, a laptop's lid) while others went on and trimmed its inputs.

    Whether the log is whole is found out at that beginning; who wants the same place again and again has found a hole.
    Who is just slower than its twin wants another place each time.
    """

    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _place: tuple[TopicPartition, int] | None = None
    _times: deque[float] = field(default_factory=lambda: deque(maxlen=TRIES))

    def begin_anew(self, error: OffsetGoneError) -> None:
        """Return if the process may begin anew, else raise `error`."""
        now, place = self.clock(), (error.where, error.wanted)
        if place != self._place:
            self._place = place
            self._times.clear()
        in_a_row = len(self._times) == TRIES and now - self._times[0] < IN_A_ROW_S
        if not error.trimmed or in_a_row:
            raise error
        self._times.append(now)
        self.say(
            f"others have gone on meanwhile: {error.where.topic}[{error.where.partition}] was trimmed up to offset "
            f"{error.low}, {error.wanted} was wanted; beginning anew from the log"
        )


async def trim_once(broker: Broker, before: Mapping[TopicPartition, int]) -> None:
    """Trim, if that is possible at once; else somebody else will."""
    if before:
        with suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(ONCE_S):
                await broker.trim(before)


async def keep_trimming(
    broker: Broker, needless: Callable[[], Mapping[TopicPartition, int]], name: str, *, keep_log: bool = False
) -> None:
    """Every second trim before the offsets that `needless` gave the time before; for ever.

    Not at once: a second process at the same lanes may be a little slower, and would have to begin anew. `keep_log`:
    they are only asked for, so that nobody remembers them.
    """
    due: dict[TopicPartition, int] = {}
    upcoming: Mapping[TopicPartition, int] = {}
    while True:
        await asyncio.sleep(EVERY_S)
        due.update(upcoming)
        upcoming = needless()
        if keep_log:
            due.clear()
        if not due:
            continue
        with suppress(BrokerUnavailableError):  # then with the next ones
            try:
                await broker.trim(due)
            except BrokerUnavailableError:
                raise
            except BrokerError as error:
                log.warning("%s: cannot trim: %s", name, error)
            due = {}
