"""Scale: pixels travel as bytes and become floats of a size that suits a network here, in the first gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from akkafka.errors import ShapeError
from akkafka.nn import kernels
from akkafka.nn.layer import F32, FLOAT32, UINT8, Array, Layer, Params, Pass, Shape, Tape, Unweighted
from akkafka.nn.layers.linear import Linear
from akkafka.nn.layers.scaled_linear import FEWEST_COLUMNS, ScaledLinear
from akkafka.nn.spec import LayerSpec


class ScaleSpec(LayerSpec):
    """Settings of a scale layer."""

    type: Literal["scale"] = "scale"
    """Scale: y = x * scale + shift on any shape, uint8 or float32 in, float32 out."""
    scale: float = Field(default=1 / 255, gt=-3e38, lt=3e38)
    """Factor, by default 1/255: pixels to 0…1."""
    shift: float = Field(default=0.0, gt=-3e38, lt=3e38)
    """Added after the factor."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Scale:
        """A scale layer for any shape; raises ShapeError for dtypes other than float32 and uint8."""
        return Scale(in_shape, pixels_or_floats("scale", in_dtype), self.scale, self.shift)


def pixels_or_floats(kind: str, in_dtype: np.dtype[Any]) -> np.dtype[Any]:
    """`in_dtype`; raises ShapeError if it is neither float32 nor uint8."""
    if in_dtype not in (FLOAT32, UINT8):
        raise ShapeError(f"{kind} takes float32 or uint8, got {in_dtype}", hint="convert the data set to float32")
    return in_dtype


@dataclass(frozen=True, slots=True)
class Scale(Unweighted):
    """y = x * scale + shift, both rounded to float32 first. There is nothing on the tape."""

    in_shape: Shape
    in_dtype: np.dtype[Any]
    scale: float
    shift: float

    @property
    def out_shape(self) -> Shape:
        """As it came in."""
        return self.in_shape

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    def followed_by(self, following: Layer) -> Layer | None:
        """Both in one where bytes go into a linear layer that is no narrow one."""
        if self.in_dtype != UINT8 or not isinstance(following, Linear) or following.n_out < FEWEST_COLUMNS:
            return None
        return ScaledLinear(following, self.scale, self.shift)

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        y = np.empty(x.shape, np.float32)
        sweep = kernels.elementwise.scale_uint8 if x.dtype == UINT8 else kernels.elementwise.scale_float32
        sweep(x.reshape(-1), np.float32(self.scale), np.float32(self.shift), y.reshape(-1))
        return y, None

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        return dy * np.float32(self.scale) if need_dx else None, {}
