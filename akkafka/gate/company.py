"""Which of a gate's results wait for the next one, so that the batches of a burst travel together.

A message says whether another batch of its burst is right behind it. To the core results are on their way: only the
shell's sending is put off, and no longer than one job takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from akkafka.gate import events as e

Result = e.SendForward | e.SendBackward
_NEXT_OF: Final[dict[type, type]] = {e.ForwardComputed: e.ComputeForward, e.BackwardComputed: e.ComputeBackward}


class Company:
    """Passes a core's instructions on, results held back while the next of their kind is being computed."""

    def __init__(self) -> None:
        self._held: list[e.Instruction] = []

    @property
    def empty(self) -> bool:
        """Nothing is held back."""
        return not self._held

    def of(self, event: e.Event, asked: Sequence[e.Instruction]) -> Sequence[e.Instruction]:
        """What is to be done now, of all that the core asked for on `event`; sends keep their order."""
        next_kind = _NEXT_OF.get(type(event))
        results = [i for i in asked if isinstance(i, Result)]
        if not results and not (self._held and next_kind):
            return asked
        rest = [i for i in asked if not isinstance(i, Result)]
        self._held += results
        if results and results[-1].message.followed and any(type(i) is next_kind for i in rest):
            return rest
        held, self._held = self._held, []
        return [*held, *rest]
