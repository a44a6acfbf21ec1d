"""Dropout: each activation is dropped with probability p in training, and the rest scaled up to make good
for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from akkafka.nn.layer import F32, Array, Params, Pass, Shape, Tape
from akkafka.nn.layers.samewise import Samewise, float32_only
from akkafka.nn.mask import Mask
from akkafka.nn.spec import LayerSpec


class DropoutSpec(LayerSpec):
    """Settings of a dropout layer."""

    type: Literal["dropout"] = "dropout"
    """Dropout (Srivastava et al. 2014, JMLR 15): on any shape, with a chance of its own for each
    activation."""
    p: float = Field(default=0.5, ge=0, lt=1)
    """Fraction dropped; the rest is scaled by 1/(1 - p)."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Masked:
        """A dropout layer for any shape of float32; raises ShapeError for uint8."""
        return Masked(float32_only("dropout", in_shape, in_dtype), Mask(keep=1 - self.p, scale=1 / (1 - self.p)))


@dataclass(frozen=True, slots=True)
class Masked(Samewise):
    """y = x · mask · scale in training, y = x otherwise. The tape is the mask's key, or None outside
    training."""

    mask: Mask

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[Array, Tape]:
        """See Layer."""
        if not run.training:
            return x, None
        return self.mask.apply(x, run.key), run.key

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer; the mask is drawn again from its key."""
        if not need_dx:
            return None, {}
        return (dy if tape is None else self.mask.apply(dy, tape)), {}
