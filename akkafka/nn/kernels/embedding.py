"""Rows of a table looked up by number, on the way back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from akkafka.nn.kernels.machine import compiled, f32_2d, in_f32_2d, in_i64_1d, nothing
from akkafka.nn.layer import F32


@compiled(nothing, in_i64_1d, in_f32_2d, f32_2d)
def scatter(numbers: NDArray[np.int64], dy: F32, out: F32) -> None:
    """out[numbers[i]] += dy[i], in order of i. Nothing is checked here."""
    for i in range(numbers.size):
        target, source = out[numbers[i]], dy[i]
        for j in range(source.size):
            target[j] += source[j]
