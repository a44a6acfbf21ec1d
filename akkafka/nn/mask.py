"""A mask of chance by its key: what the dropout family has in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from akkafka.nn import kernels
from akkafka.nn.layer import F32

WORD = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Mask:
    """Keeps a fraction of the elements and scales what it keeps."""

    keep: float
    """Fraction kept, 0 < keep ≤ 1, rounded to a multiple of 2**-32."""
    scale: float
    """What is kept is multiplied by this, in float32."""

    def apply(self, x: F32, key: int) -> F32:
        """x · scale where the mask of `key` (0 ≤ key < 2**128) keeps, else 0: a new array of x's shape."""
        out = np.empty(x.shape, np.float32)
        threshold = np.uint64(round(self.keep * 2**32))
        low, high = np.uint64(key & WORD), np.uint64(key >> 64)
        kernels.masks.drop(x.reshape(-1), low, high, threshold, np.float32(self.scale), out.reshape(-1))
        return out
