"""Layer-norm and RMS-norm: each vector by its own mean and length, the same in training and outside of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from akkafka.errors import ShapeError
from akkafka.nn import kernels
from akkafka.nn.layer import F32, FLOAT32, NO_BUFFERS, Array, Params, Pass, Shape, Tape
from akkafka.nn.layers.samewise import float32_only
from akkafka.nn.spec import LayerSpec


class LayerNormSpec(LayerSpec):
    """Settings of layer-norm."""

    type: Literal["layer-norm"] = "layer-norm"
    """Layer-norm (Ba et al. 2016, arXiv:1607.06450) over the last axis of a sample."""
    eps: float = Field(default=1e-5, ge=1e-12, le=1)
    """Added to the variance, against division by 0."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> RowNorm:
        """The layer for float32 (..., n); raises ShapeError for others."""
        return RowNorm(_rows(self.type, in_shape, in_dtype), self.eps, centred=True)


class RmsNormSpec(LayerSpec):
    """Settings of RMS-norm."""

    type: Literal["rms-norm"] = "rms-norm"
    """RMS-norm (Zhang, Sennrich 2019, arXiv:1910.07467) over the last axis of a sample; takes no mean off."""
    eps: float = Field(default=1e-6, ge=1e-12, le=1)
    """Added to the mean of the squares, against division by 0."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> RowNorm:
        """The layer for float32 (..., n); raises ShapeError for others."""
        return RowNorm(_rows(self.type, in_shape, in_dtype), self.eps, centred=False)


def _rows(kind: str, in_shape: Shape, in_dtype: np.dtype[Any]) -> Shape:
    if not in_shape:
        raise ShapeError(f"{kind} takes (..., n), got single numbers")
    return float32_only(kind, in_shape, in_dtype)


class RowNormTape(NamedTuple):
    """The input and what each of its rows was normalised by, in float64."""

    x: F32
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RowNorm:
    """y = (x - mean)·scale·weight + bias over the last axis, n long; without mean and bias if not `centred`.

    scale = 1/sqrt(var + eps), var = mean of (x - mean)², or of x². weight and bias (n,).
    """

    in_shape: Shape
    eps: float
    centred: bool

    @property
    def out_shape(self) -> Shape:
        """As it came in."""
        return self.in_shape

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
        """weight, and bias if `centred`."""
        return dict.fromkeys(("weight", "bias") if self.centred else ("weight",), self.in_shape[-1:])

    @property
    def buffers(self) -> Mapping[str, float]:
        """Empty."""
        return NO_BUFFERS

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """weight 1, bias 0."""
        weight = {"weight": np.ones(self.in_shape[-1:], np.float32)}
        return {**weight, "bias": np.zeros(self.in_shape[-1:], np.float32)} if self.centred else weight

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        rows = self._rows(x)
        mean, scale = np.zeros(len(rows)), np.empty(len(rows))
        if self.centred:
            kernels.normalisation.row_moments(rows, self.eps, mean, scale)
        else:
            kernels.normalisation.row_lengths(rows, self.eps, scale)
        y = np.empty(x.shape, np.float32)
        bias = params["bias"] if self.centred else np.zeros(self.in_shape[-1], np.float32)
        kernels.normalisation.row_forward(rows, mean, scale, params["weight"], bias, self._rows(y))
        return y, RowNormTape(x, mean, scale)

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        x, grad, n = self._rows(tape.x), self._rows(dy), self.in_shape[-1]
        plain, along = np.empty(n), np.empty(n)
        kernels.normalisation.column_sums(x, grad, tape.mean, tape.scale, plain, along)
        grads: dict[str, F32] = {"weight": along.astype(np.float32)}
        if self.centred:
            grads["bias"] = plain.astype(np.float32)
        if not need_dx:
            return None, grads
        dx = np.empty(dy.shape, np.float32)
        kernels.normalisation.row_backward(
            x, grad, tape.mean, tape.scale, params["weight"], float(self.centred), self._rows(dx)
        )
        return dx, grads

    def _rows(self, x: Array) -> Array:
        return x.reshape(-1, self.in_shape[-1])
