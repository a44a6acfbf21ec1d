"""What a gate still needs of its inputs: the rest may be trimmed. Pure, so the simulation runs it."""

from __future__ import annotations

from akkafka.broker.trimming import FirstCopies
from akkafka.protocol.messages import Backward, Forward


class Needs:
    """Tell it what was accepted, sent and applied; ask what is needless, by lane."""

    def __init__(self, lanes: int, window: int) -> None:
        """`window`: batches of a lane that may be open at the gate before."""
        self._window = window
        self._training = [False] * lanes  # by what comes: a spare lane may be claimed for anything
        self._taken = {name: [FirstCopies() for _ in range(lanes)] for name in ("forward", "backward")}
        self._next = [0] * lanes  # of the inputs
        self._sent = [0] * lanes  # next output to be known to be in the log

    def accepted(self, message: Forward | Backward, offset: int) -> None:
        """The lane's next input lies there."""
        lane = message.lane
        if isinstance(message, Forward):
            self._taken["forward"][lane].take(message.seq, offset)
            self._next[lane], self._training[lane] = message.seq + 1, message.mode.training
        else:
            self._taken["backward"][lane].take(message.seq, offset)

    def delivered(self, lane: int, seq: int) -> None:
        """The output of this input is in the log: a new owner goes on behind it."""
        self._sent[lane] = max(self._sent[lane], seq + 1)

    def forward(self, lane: int, applied: int) -> int | None:
        """Offset before which the lane's inputs are needless; `applied`: as the journal has it, next seq.

        A training batch's input is needed until its gradient is in the journal: who has lost the tape reads it again.
        And it says what the gate before was asked for: that one, too, wants to know of its open batches when it begins
        anew, of which it has `window` at the most. Besides, the last one that was sent is needed, which is no older
        than the last one applied: who begins anew reads on behind it, and what lies there may be a later copy of it
        instead of the next one's first.
        """
        open_before = self._next[lane] - self._window
        needed = min(applied - 1, open_before) if self._training[lane] else self._sent[lane] - 1
        return self._taken["forward"][lane].needless(needed)

    def backward(self, lane: int, applied: int) -> int | None:
        """Offset before which the lane's gradients are needless: the journal holds what was made of them."""
        return self._taken["backward"][lane].needless(applied - 1)
