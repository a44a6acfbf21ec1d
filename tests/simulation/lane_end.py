"""How far a lane has come, as the simulated shells find out: by walking it with the rule of acceptance.

The last record alone does not tell: it may be a late duplicate of an earlier batch, of another run, or forged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from akkafka.protocol.messages import Backward, Forward
from akkafka.protocol.sequence import Verdict, judge

Edge = Forward | Backward
Reader = Callable[[int], list[tuple[int, bytes | None]]]


@dataclass(slots=True)
class LaneEnd:
    """First copies of one lane, in order; `follow` takes in what has come since."""

    fits: Callable[[bytes | None], Edge | None]  # the message of a record that belongs here, in any order
    position: int = 0
    first: list[tuple[int, Edge]] = field(default_factory=list)  # (offset, message) by seq

    @property
    def next_seq(self) -> int:
        return len(self.first)

    def follow(self, records: list[bytes]) -> None:
        """`records`: the whole lane from its beginning."""
        for offset in range(self.position, len(records)):
            message = self.fits(records[offset])
            if message is not None and judge(message.seq, self.next_seq) is Verdict.NEXT:
                self.first.append((offset, message))
        self.position = len(records)
