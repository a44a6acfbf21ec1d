"""Each: a block for vectors on every position of a sequence, with the same weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from akkafka.errors import ShapeError
from akkafka.nn.block import Around, Block
from akkafka.nn.layer import F32, Array, Params, Pass, Shape, Tape
from akkafka.nn.spec import LayerSpec, build_sequence


class EachSpec(LayerSpec):
    """Settings of a block for each position."""

    type: Literal["each"] = "each"
    """Each: its layers on each element along the first axes, such as a linear layer on each position of a sequence."""
    layers: Block
    """The layers, in order; they see one element as one sample."""
    axes: int = Field(default=1, ge=1, le=8)
    """How many axes are gone along: 1 for sequences (T, ...)."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Each:
        """The layer for samples (T, ...); raises ShapeError if there are fewer axes, or naming a layer of the block."""
        if len(in_shape) < self.axes:
            raise ShapeError(f"each takes samples of {self.axes} axes or more, got {in_shape}")
        inner = build_sequence(self.layers, in_shape[self.axes :], in_dtype)
        return Each(inner, in_shape[: self.axes])


@dataclass(frozen=True, slots=True)
class Each(Around):
    """y[b, t] = f(x[b, t]). The tape is the block's, which saw a batch of B·T samples."""

    along: Shape

    @property
    def in_shape(self) -> Shape:
        """(T, ...)."""
        return (*self.along, *self.inner.in_shape)

    @property
    def out_shape(self) -> Shape:
        """(T, ...), with what the block gives for one element."""
        return (*self.along, *self.inner.out_shape)

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[Array, Tape]:
        """See Layer."""
        y, tape = self.inner.forward(params, x.reshape(self._count(x), *self.inner.in_shape), run)
        return y.reshape(len(x), *self.out_shape), tape

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        flat = dy.reshape(self._count(dy), *self.inner.out_shape)
        dx, grads = self.inner.backward(params, tape, flat, need_dx=need_dx)
        return None if dx is None else dx.reshape(len(dy), *self.in_shape), grads

    def _count(self, batch: Array) -> int:
        return len(batch) * math.prod(self.along)
