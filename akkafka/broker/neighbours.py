"""What a process writes it reads from its own memory: producers and readers of one broker that meet at a partition.

A record that is acknowledged lies in the log and has an offset, so a reader beside its producer need not ask for it.
Nothing else changes: a reader takes what continues its own place, in order of offset, and asks the log for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from akkafka.broker.base import Record, TopicPartition


class Listener(Protocol):
    """A reader, as its neighbours see it."""

    def reads(self, where: TopicPartition) -> bool:
        """It wants to hear of what is written here."""

    def heard(self, where: TopicPartition, records: Sequence[Record], size: int) -> None:
        """These records, `size` bytes, are in the log, one behind the other; never raises."""


class Neighbours:
    """The readers of a broker, for its producers."""

    def __init__(self) -> None:
        self._listeners: dict[Listener, None] = {}  # a set in order of coming

    def join(self, listener: Listener) -> None:
        """From now on it hears what is written."""
        self._listeners[listener] = None

    def leave(self, listener: Listener) -> None:
        """It hears nothing more."""
        self._listeners.pop(listener, None)

    def of(self, where: TopicPartition) -> list[Listener]:
        """Who reads this partition."""
        return [listener for listener in self._listeners if listener.reads(where)]
