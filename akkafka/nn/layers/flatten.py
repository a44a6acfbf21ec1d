"""Flatten: images and the like become feature vectors; no number is touched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from akkafka.nn.layer import F32, Array, Params, Pass, Shape, Tape, Unweighted
from akkafka.nn.layers.scale import pixels_or_floats
from akkafka.nn.spec import LayerSpec


class FlattenSpec(LayerSpec):
    """Settings of a flatten layer: none."""

    type: Literal["flatten"] = "flatten"
    """Flatten: any shape to (n,), in C order; takes float32 and uint8 and keeps which it is."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Flatten:
        """A flatten layer for any shape; raises ShapeError for dtypes other than float32 and uint8."""
        return Flatten(in_shape, pixels_or_floats("flatten", in_dtype))


@dataclass(frozen=True, slots=True)
class Flatten(Unweighted):
    """y is a view of x. There is nothing on the tape."""

    in_shape: Shape
    in_dtype: np.dtype[Any]

    @property
    def out_shape(self) -> Shape:
        """(n,), n the product of the sizes of `in_shape`."""
        return (math.prod(self.in_shape),)

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """As it came in."""
        return self.in_dtype

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[Array, Tape]:
        """See Layer."""
        return x.reshape(len(x), *self.out_shape), None

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        return dy.reshape(len(dy), *self.in_shape) if need_dx else None, {}
