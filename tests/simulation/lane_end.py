"""How far a lane has come, as the simulated shells find out: by its last message, or by walking it.

The last message alone may be a late duplicate of an earlier batch: then it tells less than the truth, which must do no
harm. It may be forged, too: against that only the walk with the rule of acceptance helps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from akkafka.protocol.messages import Backward, Forward
from akkafka.protocol.sequence import Verdict, judge

Edge = Forward | Backward


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

    def newest(self, records: list[bytes]) -> Edge | None:
        """The last message that belongs here, whichever copy it is."""
        return next((m for record in reversed(records) if (m := self.fits(record)) is not None), None)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a shell believes of a lane."""

    next_seq: int
    last: Edge | None
    position: int  # end of the lane when it was looked at
