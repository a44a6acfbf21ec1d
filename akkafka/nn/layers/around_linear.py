"""What layers have in common that do something around a linear layer, whose params and shapes are theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from akkafka.nn.layer import F32, Shape
from akkafka.nn.layers.linear import Linear


@dataclass(frozen=True, slots=True)
class AroundLinear:
    """A layer around `linear`; what it does to numbers is its own."""

    linear: Linear

    @property
    def in_shape(self) -> Shape:
        """(n_in,)."""
        return self.linear.in_shape

    @property
    def out_shape(self) -> Shape:
        """(n_out,)."""
        return self.linear.out_shape

    @property
    def in_dtype(self) -> np.dtype[Any]:
        """float32."""
        return self.linear.in_dtype

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """float32."""
        return self.linear.out_dtype

    @property
    def param_shapes(self) -> Mapping[str, Shape]:
        """The linear layer's."""
        return self.linear.param_shapes

    @property
    def buffers(self) -> Mapping[str, float]:
        """Empty."""
        return self.linear.buffers

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """As the linear layer's."""
        return self.linear.init(rng)
