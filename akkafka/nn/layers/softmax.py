"""Softmax as a layer: probabilities inside a network. The loss softmax-cross-entropy has its own and needs none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from akkafka.errors import ShapeError
from akkafka.nn import kernels
from akkafka.nn.layer import F32, Array, Params, Pass, Shape, Tape
from akkafka.nn.layers.samewise import Samewise, float32_only
from akkafka.nn.spec import LayerSpec


class SoftmaxSpec(LayerSpec):
    """Settings of a softmax: none."""

    type: Literal["softmax"] = "softmax"
    """Softmax over the last axis: y = exp(x) / sum(exp(x)). softmax-cross-entropy has its own."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Softmax:
        """A softmax for float32 of one axis or more; raises ShapeError for others."""
        if not in_shape:
            raise ShapeError("softmax takes (..., n), got single numbers", hint="put a linear layer before it")
        return Softmax(float32_only("softmax", in_shape, in_dtype))


@dataclass(frozen=True, slots=True)
class Softmax(Samewise):
    """y = exp(x - max) / sum over the last axis. The tape is y."""

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        y = np.empty(x.shape, np.float32)
        n = self.shape[-1]
        kernels.softmax.rows(x.reshape(-1, n), y.reshape(-1, n))
        return y, y

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        if not need_dx:
            return None, {}
        dx, n = np.empty(dy.shape, np.float32), self.shape[-1]
        kernels.softmax.rows_backward(tape.reshape(-1, n), dy.reshape(-1, n), dx.reshape(-1, n))
        return dx, {}
