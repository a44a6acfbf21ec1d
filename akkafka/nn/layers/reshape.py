"""Reshape: the same numbers in another shape; no number is touched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from akkafka.errors import ShapeError
from akkafka.nn.layer import F32, Array, Params, Pass, Shape, Tape, Unweighted
from akkafka.nn.layers.scale import pixels_or_floats
from akkafka.nn.sizes import Sizes
from akkafka.nn.spec import LayerSpec


class ReshapeSpec(LayerSpec):
    """Settings of a reshape layer."""

    type: Literal["reshape"] = "reshape"
    """Reshape: any shape to `shape`, in C order; takes float32 and uint8 and keeps which it is."""
    shape: Sizes = Field(min_length=1, max_length=8)
    """Shape of one sample going out; one of the sizes may be -1 and is found from the others."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Reshape:
        """The layer; raises ShapeError if the numbers of a sample don't fill the shape, and for other dtypes."""
        return Reshape(in_shape, filled(in_shape, self.shape), pixels_or_floats("reshape", in_dtype))


def filled(in_shape: Shape, shape: Shape) -> Shape:
    """`shape` with its -1, if any, found; raises ShapeError if it does not hold as many numbers as `in_shape`."""
    count, known = math.prod(in_shape), math.prod(size for size in shape if size != -1)
    wrong = ShapeError(
        f"reshape to {shape} takes samples of {known} numbers{' or a multiple' if -1 in shape else ''}, "
        f"got {in_shape}: {count}",
        hint="sizes are at least 1, and one of them may be -1",
    )
    if shape.count(-1) > 1 or any(size < 1 for size in shape if size != -1) or count % known:
        raise wrong
    found = tuple(count // known if size == -1 else size for size in shape)
    if math.prod(found) != count:
        raise wrong
    return found


@dataclass(frozen=True, slots=True)
class Reshape(Unweighted):
    """y is a view of x. There is nothing on the tape."""

    in_shape: Shape
    out_shape: Shape
    in_dtype: np.dtype[Any]

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
