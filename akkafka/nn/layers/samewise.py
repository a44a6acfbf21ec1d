"""What layers that keep the shape and have no weights share: relu, dropout, dropconnect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from akkafka.errors import ShapeError
from akkafka.nn.layer import FLOAT32, Shape, Unweighted


@dataclass(frozen=True, slots=True)
class Samewise(Unweighted):
    """float32 of any shape in, the same shape out, no params."""

    shape: Shape

    @property
    def in_shape(self) -> Shape:
        """Any."""
        return self.shape

    @property
    def out_shape(self) -> Shape:
        """As it came in."""
        return self.shape

    @property
    def in_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32


def float32_only(kind: str, in_shape: Shape, in_dtype: np.dtype[Any]) -> Shape:
    """`in_shape`; raises ShapeError if what comes in is not float32."""
    if in_dtype != FLOAT32:
        raise ShapeError(f"{kind} takes float32, got {in_shape} {in_dtype}", hint="put a scale layer before it")
    return in_shape
