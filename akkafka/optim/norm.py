"""The length of a gradient over all of a gate's params."""

from __future__ import annotations

import math
from collections.abc import Iterable

from akkafka import optim
from akkafka.nn.layer import F32


def norm(arrays: Iterable[F32]) -> float:
    """2-norm over all `arrays` together, summed in float64, in their order and each in C order."""
    return math.sqrt(sum(optim.kernels.sum_of_squares(array.ravel()) for array in arrays))
