"""Activations that look at one number at a time: one class, and one spec for each name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from akkafka.nn import kernels
from akkafka.nn.layer import F32, Array, Params, Pass, Shape, Tape
from akkafka.nn.layers.samewise import Samewise, float32_only
from akkafka.nn.spec import LayerSpec


class PointwiseSpec(LayerSpec):
    """What the specs of this file share: how they are built."""

    kernel: ClassVar[str]
    keeps_output: ClassVar[bool] = False

    @property
    def setting(self) -> float:
        """The activation's own number, 0 where it has none."""
        return 0.0

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Pointwise:
        """The activation for any shape of float32; raises ShapeError for uint8."""
        return Pointwise(
            float32_only(self.type, in_shape, in_dtype), self.kernel, np.float32(self.setting), self.keeps_output
        )


class LeakyReluSpec(PointwiseSpec):
    """Settings of a leaky relu."""

    type: Literal["leaky-relu"] = "leaky-relu"
    """Leaky relu (Maas et al. 2013): y = x where x > 0, else slope·x, on any shape."""
    slope: float = Field(default=0.01, ge=0, lt=1)
    """Slope below 0; the derivative at 0 is this, too."""

    kernel = "leaky_relu"

    @property
    def setting(self) -> float:
        """The slope."""
        return self.slope


class EluSpec(PointwiseSpec):
    """Settings of an ELU."""

    type: Literal["elu"] = "elu"
    """ELU (Clevert et al. 2016, arXiv:1511.07289): y = x where x > 0, else alpha·(exp(x) - 1), on any shape."""
    alpha: float = Field(default=1.0, ge=0, le=1e6)
    """What y falls to, without the sign."""

    kernel = "elu"

    @property
    def setting(self) -> float:
        """Alpha."""
        return self.alpha


class GeluSpec(PointwiseSpec):
    """Settings of a GELU: none."""

    type: Literal["gelu"] = "gelu"
    """GELU (Hendrycks, Gimpel 2016, arXiv:1606.08415): y = x·Phi(x), the exact form, on any shape."""

    kernel = "gelu"


class SiluSpec(PointwiseSpec):
    """Settings of a SiLU: none."""

    type: Literal["silu"] = "silu"
    """SiLU, also called swish (Elfwing et al. 2018, arXiv:1702.03118): y = x·sigmoid(x), on any shape."""

    kernel = "silu"


class TanhSpec(PointwiseSpec):
    """Settings of a tanh: none."""

    type: Literal["tanh"] = "tanh"
    """Tanh: y = (exp(x) - exp(-x)) / (exp(x) + exp(-x)), on any shape."""

    kernel = "tanh"
    keeps_output = True


class SigmoidSpec(PointwiseSpec):
    """Settings of a sigmoid: none."""

    type: Literal["sigmoid"] = "sigmoid"
    """Sigmoid: y = 1 / (1 + exp(-x)), on any shape. In front of the loss binary-cross-entropy it is not needed."""

    kernel = "sigmoid"
    keeps_output = True


@dataclass(frozen=True, slots=True)
class Pointwise(Samewise):
    """y = f(x) for each number. The tape is x or y, whichever the derivative is simplest in."""

    kernel: str
    """Name in akkafka.nn.kernels.activation; that of the way back has "_backward" behind it."""
    setting: np.float32
    keeps_output: bool

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        y = np.empty(x.shape, np.float32)
        getattr(kernels.activation, self.kernel)(x.reshape(-1), self.setting, y.reshape(-1))
        return y, y if self.keeps_output else x

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        if not need_dx:
            return None, {}
        dx = np.empty(dy.shape, np.float32)
        kernel = getattr(kernels.activation, f"{self.kernel}_backward")
        kernel(tape.reshape(-1), dy.reshape(-1), self.setting, dx.reshape(-1))
        return dx, {}
