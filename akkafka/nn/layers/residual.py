"""Residual: a block with a way around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from akkafka.errors import ShapeError
from akkafka.nn.block import Around, Block
from akkafka.nn.layer import F32, FLOAT32, Array, Params, Pass, Shape, Tape
from akkafka.nn.layers.samewise import float32_only
from akkafka.nn.spec import LayerSpec, build_sequence


class ResidualSpec(LayerSpec):
    """Settings of a residual block."""

    type: Literal["residual"] = "residual"
    """Residual (He et al. 2016, arXiv:1512.03385): y = x + f(x), f the block; params are named "<position>.<name>"."""
    layers: Block
    """The block's layers, in order; they give the shape that they take."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Residual:
        """The block for float32 of `in_shape`; raises ShapeError if it gives another shape or dtype."""
        inner = build_sequence(self.layers, float32_only("residual", in_shape, in_dtype), in_dtype)
        if inner.out_shape != in_shape or inner.out_dtype != FLOAT32:
            raise ShapeError(
                f"residual: its block makes {inner.out_shape} {inner.out_dtype} of {in_shape} float32, takes the same",
                hint="what goes around the block is added to what comes through: let the last layer give that shape",
            )
        return Residual(inner)


@dataclass(frozen=True, slots=True)
class Residual(Around):
    """y = x + f(x). The tape is the block's."""

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        y, tape = self.inner.forward(params, x, run)
        return x + y, tape

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        dx, grads = self.inner.backward(params, tape, dy, need_dx=need_dx)
        return None if dx is None else dy + dx, grads
