"""DropConnect of the literature: a linear layer whose single weights are dropped in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from akkafka.nn.initial import Init
from akkafka.nn.layer import F32, Array, Params, Pass, Shape, Tape
from akkafka.nn.layers.around_linear import AroundLinear
from akkafka.nn.layers.linear import Linear, features
from akkafka.nn.mask import Mask
from akkafka.nn.spec import LayerSpec


class DropConnectWeightsSpec(LayerSpec):
    """Settings of a linear layer with dropped weights."""

    type: Literal["dropconnect-weights"] = "dropconnect-weights"
    """DropConnect (Wan et al. 2013, ICML): y = x @ (W · mask / (1 - p)) + b, with one mask for each batch."""
    out: int = Field(ge=1)
    """Features going out."""
    p: float = Field(default=0.5, ge=0, lt=1)
    """Fraction of the weights dropped; the rest is scaled by 1/(1 - p). The bias is never dropped."""
    bias: bool = True
    """Whether there is a b."""
    init: Init = "he"
    """Distribution of the first weights, as for linear."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> DropConnectWeights:
        """A layer for vectors of `in_shape` (n,); raises ShapeError for other shapes and for uint8."""
        linear = Linear(features(self.type, in_shape, in_dtype), self.out, self.bias, self.init)
        return DropConnectWeights(linear, Mask(keep=1 - self.p, scale=1 / (1 - self.p)))


class MaskedTape(NamedTuple):
    """The linear layer's tape, and the key of the weights' mask, or None outside training."""

    linear: Tape
    key: int | None


@dataclass(frozen=True, slots=True)
class DropConnectWeights(AroundLinear):
    """A linear layer that sees masked weights; params and shapes are the linear layer's."""

    mask: Mask

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        key = run.key if run.training else None
        y, tape = self.linear.forward(self._seen(params, key), x, run)
        return y, MaskedTape(tape, key)

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer; the mask is drawn again from its key."""
        seen = self._seen(params, tape.key) if need_dx else params  # the weights are needed for dx alone
        dx, grads = self.linear.backward(seen, tape.linear, dy, need_dx=need_dx)
        return dx, self._seen(grads, tape.key)

    def _seen(self, params: Params, key: int | None) -> dict[str, F32]:
        """Params as the batch sees them; the same rule takes the gradient of the masked weights to that of
        W."""
        if key is None:
            return dict(params)
        return {**params, "weight": self.mask.apply(params["weight"], key)}
