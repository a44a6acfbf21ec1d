"""Trims what nobody needs any more: each lane's reader trims it, up to a first copy, and always leaves the lane's last.

So whoever looks at a lane finds a first copy at its head, and at its end how far the lane has come. Only whole segments
free disk (topics.py), so there is no hurry: a look every few seconds is enough.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from akkafka.broker.base import Broker, BrokerUnavailableError, TopicPartition
from akkafka.errors import BrokerError

log = logging.getLogger("akkafka.trimming")
EVERY_S = 2.0


@dataclass(slots=True)
class FirstCopies:
    """Where a lane's newest first copies lie, as far as they were read by this process."""

    _taken: deque[tuple[int, int]] = field(default_factory=deque)  # (seq, offset), both rising

    def take(self, seq: int, offset: int) -> None:
        """The first copy of the lane's next batch lies there."""
        if not self._taken or seq > self._taken[-1][0]:
            self._taken.append((seq, offset))

    def needless(self, needed: int) -> int | None:
        """Offset before which nothing is needed if all from batch `needed` on is; None if nothing new is needless.

        Never beyond the newest that was taken: it stays, whatever is needed.
        """
        last = None
        while len(self._taken) > 1 and self._taken[1][0] <= needed:
            self._taken.popleft()
            last = self._taken[0][1]
        return last


async def keep_trimming(broker: Broker, needless: Callable[[], Mapping[TopicPartition, int]], name: str) -> None:
    """Every few seconds trim before the offsets that `needless` gives; for ever."""
    due: dict[TopicPartition, int] = {}
    while True:
        await asyncio.sleep(EVERY_S)
        due.update(needless())
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
