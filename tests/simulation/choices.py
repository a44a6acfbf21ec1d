"""Where chance comes from: a seeded generator for mass, a list of small numbers for Hypothesis to shrink."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Choices(Protocol):
    """A source of choices. 0 is always the tamest answer, so that shrinking makes schedules tamer."""

    def pick(self, n: int) -> int:
        """A number from 0 to n - 1; n is at least 1."""

    @property
    def spent(self) -> bool:
        """Nothing but zeros will come any more."""


class Seeded:
    """Uniform choices from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def pick(self, n: int) -> int:
        return int(self._random() * n)

    @property
    def spent(self) -> bool:
        return False


class Listed:
    """The numbers of a list, then zeros."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers, self._at = numbers, 0

    def pick(self, n: int) -> int:
        if self.spent:
            return 0
        self._at += 1
        return self._numbers[self._at - 1] % n

    @property
    def spent(self) -> bool:
        return self._at >= len(self._numbers)


def one_of(choices: Choices, options: Sequence[T]) -> T:
    """One of the options; the first is the tamest."""
    return options[choices.pick(len(options))]
