"""The rectifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from akkafka.nn import kernels
from akkafka.nn.layer import F32, Array, Params, Pass, Shape, Tape
from akkafka.nn.layers.samewise import Samewise, float32_only
from akkafka.nn.spec import LayerSpec


class ReluSpec(LayerSpec):
    """Settings of a relu: none."""

    type: Literal["relu"] = "relu"
    """Relu: y = max(x, 0), on any shape."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Relu:
        """A relu for any shape of float32; raises ShapeError for uint8."""
        return Relu(float32_only("relu", in_shape, in_dtype))


@dataclass(frozen=True, slots=True)
class Relu(Samewise):
    """y = max(x, 0). Its derivative at 0 is 0; not-a-number passes, so that it is noticed. The tape is y."""

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        y = np.empty(x.shape, np.float32)
        kernels.elementwise.relu(x.reshape(-1), y.reshape(-1))
        return y, y

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        if not need_dx:
            return None, {}
        dx = np.empty(dy.shape, np.float32)
        kernels.elementwise.relu_backward(tape.reshape(-1), dy.reshape(-1), dx.reshape(-1))
        return dx, {}
