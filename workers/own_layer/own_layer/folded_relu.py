"""A rectifier that folds instead of cutting: an example of a layer of one's own, that keeps nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from akkafka.nn.layer import F32, Array, Params, Pass, Shape, Tape
from akkafka.nn.layers.samewise import Samewise, float32_only
from akkafka.nn.spec import LayerSpec


class FoldedReluSpec(LayerSpec):
    """Settings: what may stand in a configuration file beside `type = "folded-relu"`; all else is refused."""

    type: Literal["folded-relu"] = "folded-relu"
    """Folded rectifier: y = x where x > 0, else -slope x: what is below 0 is folded up; on any shape."""
    slope: float = Field(default=0.01, ge=0, lt=1)
    """How steeply it rises below 0; 0 is the relu."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> FoldedRelu:
        """The layer for samples of `in_shape`; raises ShapeError for uint8."""
        return FoldedRelu(float32_only("folded-relu", in_shape, in_dtype), self.slope)


@dataclass(frozen=True, slots=True)
class FoldedRelu(Samewise):
    """y = max(x, -slope x). Its derivative at 0 is -slope; the tape is x."""

    slope: float

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """Output like `x`, (B, *shape) float32. `run` is for layers with chance or statistics of the batch."""
        return np.maximum(x, np.float32(-self.slope) * x), x

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """Gradient for the input, and none for params: there are none. A layer with weights adds `param_shapes`,
        `init` and gradients keyed alike; akkafka/nn/layers/linear.py shows that."""
        if not need_dx:
            return None, {}
        return np.where(tape > 0, dy, np.float32(-self.slope) * dy), {}
