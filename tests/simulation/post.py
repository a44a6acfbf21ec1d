"""An idempotent producer with a sender behind it, as the outlet and the journal of the shells use one.

Order holds within a partition; acknowledgements may be late or lost; when the producer breaks, what it had sent may be
in the log, may land later (whole and in order), or never. Steps: a batch lands, its acknowledgement comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from akkafka.broker.base import TopicPartition

from .world import World

Move = tuple[Callable[[Any], None], Any]


@dataclass(slots=True, eq=False)
class Item:
    value: bytes
    seq: int
    offset: int = -1


@dataclass(slots=True, eq=False)
class Line:
    """One partition: waiting, then landed, then acknowledged."""

    where: TopicPartition
    waiting: deque[Item] = field(default_factory=deque)
    landed: deque[Item] = field(default_factory=deque)


@dataclass(slots=True, eq=False)
class Post:
    """See the module's docstring. `delivered(where, item)` is called once for each item, in order."""

    world: World
    delivered: Callable[[TopicPartition, Item], None]
    lines: dict[TopicPartition, Line] = field(default_factory=dict)  # those that are not empty
    broken: bool = False

    def put(self, where: TopicPartition, value: bytes, seq: int) -> None:
        line = self.lines.get(where)
        if line is None:
            line = self.lines[where] = Line(where)
        line.waiting.append(Item(value, seq))

    @property
    def empty(self) -> bool:
        return not self.lines

    @property
    def still(self) -> bool:
        """Nothing can happen next."""
        return not (self.lines or self.broken)

    def moves(self, moves: list[Move], *, frozen: bool = False) -> None:
        """What can happen next; of a frozen process only what the network holds already."""
        if self.broken:
            if not frozen:
                moves.append((self.mend, None))
            return
        for line in self.lines.values():
            if line.waiting:
                moves.append((self.land, line))
            if line.landed and not frozen:
                moves.append((self.acknowledge, line))

    def land(self, line: Line) -> None:
        for _ in range(len(line.waiting) - self.world.choices.pick(len(line.waiting))):
            item = line.waiting.popleft()
            item.offset = self.world.append(line.where, item.value)
            line.landed.append(item)

    def acknowledge(self, line: Line) -> None:
        for _ in range(len(line.landed) - self.world.choices.pick(len(line.landed))):
            item = line.landed.popleft()
            if not line.landed and not line.waiting:
                del self.lines[line.where]
            self.delivered(line.where, item)

    def abandon(self) -> None:
        """The producer ends here; a part of what it was about to send is in the network."""
        for line in self.lines.values():
            if line.waiting:
                self.world.leave_in_network(line.where, [item.value for item in line.waiting])

    def break_down(self) -> None:
        """The producer breaks as a whole; nobody knows what is in the log until `mend` has looked."""
        if not self.broken:
            self.abandon()
            self.broken = True

    def mend(self, _: None = None) -> None:
        """Look up what is in the log, send the rest again with a new producer."""
        self.broken = False
        lines, self.lines = self.lines, {}
        for where, line in lines.items():
            items = [*line.landed, *line.waiting]
            there = self.world.standing(where).next_seq
            for item in items:
                if item.seq >= there:
                    self.put(where, item.value, item.seq)
            for item in items:
                if item.seq < there:
                    self.delivered(where, item)
