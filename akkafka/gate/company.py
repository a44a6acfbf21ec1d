"""Which of a gate's results wait for the next one, so that the batches of a burst travel together.

To the core they are on their way: only the shell's sending is put off, and no longer than one job takes.
"""

from __future__ import annotations

from collections.abc import Sequence

from akkafka.gate import events as e

_RESULTS = (e.SendForward, e.SendBackward)
_NEXT_OF: dict[type, type] = {e.ForwardComputed: e.ComputeForward, e.BackwardComputed: e.ComputeBackward}


class Company:
    """Passes a core's instructions on, results held back while the next of their kind is being computed."""

    def __init__(self, burst: int) -> None:
        """`burst`: results that leave together, at most; 1: nothing is ever held back."""
        self._burst = burst
        self._held: list[e.Instruction] = []

    @property
    def empty(self) -> bool:
        """Nothing is held back."""
        return not self._held

    def of(self, event: e.Event, asked: Sequence[e.Instruction]) -> Sequence[e.Instruction]:
        """What is to be done now, of all that the core asked for on `event`; sends keep their order."""
        if self._burst == 1:
            return asked
        next_kind = _NEXT_OF.get(type(event))
        results = [i for i in asked if isinstance(i, _RESULTS)]
        if not results and next_kind is None:
            return asked
        rest = [i for i in asked if not isinstance(i, _RESULTS)]
        self._held += results
        if any(type(i) is next_kind for i in rest) and len(self._held) < self._burst:
            return rest
        held, self._held = self._held, []
        return [*held, *rest]
