"""What a training batch brings, in numbers that add up, so that epochs can be proved whole in a trimmed log.

The issuing sentinel, who has the data, writes the tally into the batch; it travels to the open end, back with the
gradient and into every gate's journal, untouched. Gates never see a sample's id at their journals (the context travels
forward only, and whoever has forgotten a batch does not fetch it again to void it), so nobody else could tell honestly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from akkafka.data.epochs import Cursor, Plan
from akkafka.data.keys import digest

TALLY_MASK: Final = (1 << 63) - 1  # numbers on the wire have 63 bits


@dataclass(frozen=True, slots=True)
class Tally:
    """Samples of one batch, of an epoch that goes over rows `first` to before `beyond` of its data set."""

    epoch: int
    samples: int
    ids: int  # sum over the samples' rows of a hash of (epoch, row), modulo 2**63: a repeated row counts twice
    first: int
    beyond: int

    @property
    def numbers(self) -> tuple[int, ...]:
        """As it travels."""
        return self.epoch, self.samples, self.ids, self.first, self.beyond


def tally_of(ids: NDArray[np.integer[Any]], epoch: int, first: int, beyond: int) -> Tally:
    """Of a batch with these rows; 20 us for 1024 of them."""
    return Tally(epoch, len(ids), digest(ids, epoch) & TALLY_MASK, first, beyond)


def planned(plan: Plan, cursor: Cursor) -> Tally:
    """What the batch at `cursor` has to bring."""
    return tally_of(plan.ids(cursor), cursor.epoch, plan.rows.start, plan.rows.stop)


def added(sums: Iterable[int]) -> int:
    """Sum of `ids` numbers."""
    return sum(sums) & TALLY_MASK
