"""Scale and linear in one, for bytes that are mostly zero: of a handwritten digit four pixels in five are.

A zero takes no part in a product: (scale·x + shift) @ W = scale·(x @ W) + shift·(the sum of W's rows), and x @ W needs
the entries of x that are not zero alone, as does the weights' gradient, x.T @ dz. The sums have other orders than
BLAS's, so the last bits differ from those of the two layers apart. Batches with more entries, or few rows, go through
the two layers.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from akkafka.nn import kernels
from akkafka.nn.layer import F32, UINT8, Array, Layer, Params, Pass, Tape
from akkafka.nn.layers.around_linear import AroundLinear
from akkafka.nn.layers.linear import Linear

MOST: Final = 0.25
"""Of the entries that may be other than zero; the time grows with them, at a third it is BLAS's."""
FEWEST_ROWS: Final = 32
"""Of a batch; the weights' rows are summed once for all of them."""
FEWEST_COLUMNS: Final = 32
"""Of the weights: for each entry, so many products at least."""
LARGEST: Final = 1 << 16
"""Features, and rows of a batch: an entry's place takes two bytes."""


class Entries(NamedTuple):
    """A matrix of bytes as its entries that are not zero (kernels/sparse.py)."""

    positions: NDArray[np.uint16]
    values: NDArray[np.uint8]
    starts: NDArray[np.int64]

    def by_column(self, width: int) -> Entries:
        """The same, its `width` columns in place of its rows."""
        count = int(self.starts[-1])
        turned = Entries(np.empty(count, np.uint16), np.empty(count, np.uint8), np.empty(width + 1, np.int64))
        kernels.sparse.by_column(*self, *turned)
        return turned

    def times(self, table: F32, scale: np.float32, added: F32, floor: float) -> F32:
        """(the matrix @ `table`) * scale + added, `floor` where that is not more."""
        out = np.empty((len(self.starts) - 1, table.shape[1]), np.float32)
        kernels.sparse.times(*self, table, scale, added, np.float32(floor), out)
        return out


class SparseTape(NamedTuple):
    """What the forward saw, and what it gave if there is a relu on top."""

    x: Entries
    y: F32 | None


@dataclass(frozen=True, slots=True)
class ScaledLinear(AroundLinear):
    """y = (x * scale + shift) @ weight + bias for uint8, with max(·, 0) on top if `linear` has a relu."""

    scale: float
    shift: float

    @property
    def in_dtype(self) -> np.dtype[Any]:
        """uint8."""
        return UINT8

    def followed_by(self, following: Layer) -> Layer | None:
        """As the linear layer."""
        linear = self.linear.followed_by(following)
        return dataclasses.replace(self, linear=linear) if isinstance(linear, Linear) else None

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        entries = entries_of(x)
        if entries is None:
            dense = np.empty(x.shape, np.float32)
            kernels.elementwise.scale_uint8(x.reshape(-1), *self._numbers, dense.reshape(-1))
            return self.linear.forward(params, dense, run)
        weight, (scale, shift) = params["weight"], self._numbers
        added = _sum_of_rows(weight) * shift
        if self.linear.bias:
            added += params["bias"]
        y = entries.times(weight, scale, added, 0 if self.linear.relu else -math.inf)
        return y, SparseTape(entries, y if self.linear.relu else None)

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        scale, shift = self._numbers
        if not isinstance(tape, SparseTape):
            dx, grads = self.linear.backward(params, tape, dy, need_dx=need_dx)
            return None if dx is None else dx * scale, grads
        dz, grads = self.linear.before_bias(tape.y, dy)
        sums = grads["bias"] if self.linear.bias else _sum_of_rows(dz)
        weight = tape.x.by_column(self.linear.n_in).times(dz, scale, sums * shift, -math.inf)
        dx = np.dot(dz, params["weight"].T) * scale if need_dx else None
        return dx, {"weight": weight, **grads}

    @property
    def _numbers(self) -> tuple[np.float32, np.float32]:
        return np.float32(self.scale), np.float32(self.shift)


def entries_of(x: NDArray[np.uint8]) -> Entries | None:
    """Those of the batch `x` (B, n) that are not zero; None where it is not worth it."""
    sparse = kernels.sparse  # here, so that kernels are ready once any batch has been through (nn/warm.py)
    rows, width = x.shape
    if not FEWEST_ROWS <= rows < LARGEST or width > LARGEST:
        return None
    room = int(rows * width * MOST) + sparse.WORD
    found = Entries(np.empty(room, np.uint16), np.empty(room, np.uint8), np.empty(rows + 1, np.int64))
    flat = x.reshape(-1)
    # a message's array may begin anywhere in its bytes
    whole = width % sparse.WORD == 0 and flat.ctypes.data % sparse.WORD == 0
    words = flat.view(np.uint64) if whole else np.empty(0, np.uint64)
    count = sparse.nonzeros(flat, words, width, *found)
    return None if count < 0 else found


def _sum_of_rows(matrix: F32) -> F32:
    sums = np.empty(matrix.shape[1], np.float32)
    kernels.dense.sum_rows(matrix, sums)
    return sums
