"""Rows made orthonormal: first weights that keep lengths. In one fixed order of sums, so the same bits everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from akkafka.nn.kernels.machine import compiled, f64_2d, nothing


@compiled(nothing, f64_2d)
def orthonormalise(out: NDArray[np.float64]) -> None:
    """Make the rows of `out` (R ≤ n, n), linearly independent, orthonormal: Gram-Schmidt, each row twice.

    Twice is enough (Giraud, Langou 2002): the first pass leaves an error that grows with the condition of the rows.
    """
    rows, n = out.shape
    for i in range(rows):
        for _ in range(2):
            for k in range(i):
                along = 0.0
                for j in range(n):
                    along += out[i, j] * out[k, j]
                for j in range(n):
                    out[i, j] -= along * out[k, j]
        square = 0.0
        for j in range(n):
            square += out[i, j] * out[i, j]
        inverse = 1.0 / np.sqrt(square)
        for j in range(n):
            out[i, j] *= inverse
