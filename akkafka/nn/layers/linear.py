"""The linear layer, the work horse: y = x @ W + b, with the relu behind it in the same sweep where there is
one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from akkafka.errors import ShapeError
from akkafka.nn import kernels
from akkafka.nn.initial import Init, initial_weight
from akkafka.nn.layer import F32, FLOAT32, NO_BUFFERS, Array, Layer, Params, Pass, Shape, Tape
from akkafka.nn.layers.relu import Relu
from akkafka.nn.spec import LayerSpec


class LinearSpec(LayerSpec):
    """Settings of a linear layer."""

    type: Literal["linear"] = "linear"
    """Linear: y = x @ W + b on feature vectors."""
    out: int = Field(ge=1)
    """Features going out."""
    bias: bool = True
    """Whether there is a b."""
    init: Init = "he"
    """Distribution of the first weights; he suits relu, xavier and lecun suit what has no relu behind it."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Linear:
        """A linear layer for vectors of `in_shape` (n,); raises ShapeError for other shapes and for uint8."""
        return Linear(features("linear", in_shape, in_dtype), self.out, self.bias, self.init)


def features(kind: str, in_shape: Shape, in_dtype: np.dtype[Any]) -> int:
    """Length of the feature vectors that come in; raises ShapeError if they are no float32 vectors."""
    if len(in_shape) != 1:
        raise ShapeError(
            f"{kind} takes feature vectors (n,), got {in_shape}",
            hint="put a flatten layer before it, or for one at each position of a sequence an each layer around it",
        )
    if in_dtype != FLOAT32:
        raise ShapeError(f"{kind} takes float32, got {in_dtype}", hint="put a scale layer before it")
    return in_shape[0]


class LinearTape(NamedTuple):
    """What the forward saw, and what it gave if there is a relu on top (else None: y is not kept alive in vain)."""

    x: F32
    y: F32 | None


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x @ weight + bias, with max(·, 0) on top if `relu`; weight (n_in, n_out), bias (n_out,), all
    float32."""

    n_in: int
    n_out: int
    bias: bool = True
    initial: Init = "he"
    relu: bool = False

    @property
    def in_shape(self) -> Shape:
        """(n_in,)."""
        return (self.n_in,)

    @property
    def out_shape(self) -> Shape:
        """(n_out,)."""
        return (self.n_out,)

    @property
    def in_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    @property
    def param_shapes(self) -> Mapping[str, Shape]:
        """weight, and bias if there is one."""
        weight = {"weight": (self.n_in, self.n_out)}
        return {**weight, "bias": (self.n_out,)} if self.bias else weight

    @property
    def buffers(self) -> Mapping[str, float]:
        """Empty."""
        return NO_BUFFERS

    def followed_by(self, following: Layer) -> Layer | None:
        """This layer with the relu in its own sweep over memory, if a relu follows."""
        fits = isinstance(following, Relu) and not self.relu
        return dataclasses.replace(self, relu=True) if fits else None

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """Weights by `initial`, bias 0."""
        weight = {"weight": initial_weight(self.initial, self.n_in, self.n_out, rng)}
        return {**weight, "bias": np.zeros(self.n_out, np.float32)} if self.bias else weight

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        y: F32 = np.dot(x, params["weight"])
        if self.bias and self.relu:
            kernels.dense.add_bias_relu(y, params["bias"])
        elif self.bias:
            kernels.dense.add_bias(y, params["bias"])
        elif self.relu:
            kernels.elementwise.relu(y.reshape(-1), y.reshape(-1))
        return y, LinearTape(x, y if self.relu else None)

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer; the second of the two matrix products is left out without `need_dx`."""
        dz, grads = self.before_bias(tape.y, dy)
        weight: F32 = np.dot(tape.x.T, dz)
        dx: F32 | None = np.dot(dz, params["weight"].T) if need_dx else None
        return dx, {"weight": weight, **grads}

    def before_bias(self, y: F32 | None, dy: F32) -> tuple[F32, dict[str, F32]]:
        """Gradient for x @ weight, and that for the bias if there is one."""
        sums = np.empty(self.n_out, np.float32)
        dz = dy
        if y is not None:
            dz = np.empty(dy.shape, np.float32)
            kernels.dense.relu_backward_sum_rows(y, dy, dz, sums)
        elif self.bias:
            kernels.dense.sum_rows(dy, sums)
        return dz, {"bias": sums} if self.bias else {}
