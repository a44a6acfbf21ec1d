"""Batch-norm: each channel by the batch's own mean and variance in training, by running ones outside of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from akkafka.errors import ShapeError
from akkafka.nn import kernels
from akkafka.nn.layer import F32, FLOAT32, Array, Params, Pass, Shape, Tape
from akkafka.nn.layers.samewise import float32_only
from akkafka.nn.spec import LayerSpec


class BatchNormSpec(LayerSpec):
    """Settings of batch-norm."""

    type: Literal["batch-norm"] = "batch-norm"
    """Batch-norm (Ioffe, Szegedy 2015, arXiv:1502.03167), 1d and 2d: the first axis of a sample are the channels."""
    eps: float = Field(default=1e-5, ge=1e-12, le=1)
    """Added to the variance, against division by 0."""
    momentum: float = Field(default=0.1, gt=0, le=1)
    """Share of a batch's statistics in the running ones."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> BatchNorm:
        """The layer for float32 (channels, ...); raises ShapeError for others."""
        if not in_shape:
            raise ShapeError("batch-norm takes (channels, ...), got single numbers")
        return BatchNorm(float32_only("batch-norm", in_shape, in_dtype), self.eps, self.momentum)


class BatchNormTape(NamedTuple):
    """The input, what it was normalised by (float64, by channel), and what the batch tells of mean and variance."""

    x: F32
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    statistics: dict[str, F32]
    training: bool


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """y = (x - mean) / sqrt(var + eps)·weight + bias; weight, bias and the buffers mean and var are (channels,).

    The statistics that go back with the gradients are the batch's mean and its variance over n - 1, as PyTorch's
    running ones. One number alone (n = 1) has no variance: it reports the running one of its forward, so that nothing
    is learned from it. Outside of training the running ones are reported: nothing follows.
    """

    in_shape: Shape
    eps: float
    momentum: float

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
        """weight, bias, mean, var; each (channels,)."""
        return dict.fromkeys(("weight", "bias", "mean", "var"), self.in_shape[:1])

    @property
    def buffers(self) -> Mapping[str, float]:
        """mean and var."""
        return {"mean": self.momentum, "var": self.momentum}

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """weight and var 1, bias and mean 0."""
        first = {"weight": 1, "bias": 0, "mean": 0, "var": 1}
        return {name: np.full(self.in_shape[:1], value, np.float32) for name, value in first.items()}

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        flat = self._flat(x)
        if run.training:
            mean, var = np.empty(flat.shape[1]), np.empty(flat.shape[1])
            kernels.normalisation.channel_moments(flat, mean, var)
            told = self._told(params, mean, var, flat.shape[0] * flat.shape[2])
        else:
            mean, var = params["mean"].astype(np.float64), params["var"].astype(np.float64)
            told = {"mean": params["mean"], "var": params["var"]}
        scale = 1.0 / np.sqrt(var + self.eps)
        y = np.empty(x.shape, np.float32)
        kernels.normalisation.channel_forward(flat, mean, scale, params["weight"], params["bias"], self._flat(y))
        return y, BatchNormTape(x, mean, scale, told, run.training)

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer; the entries mean and var are the batch's statistics."""
        x, grad = self._flat(tape.x), self._flat(dy)
        plain, along = np.empty(x.shape[1]), np.empty(x.shape[1])
        kernels.normalisation.channel_sums(x, grad, tape.mean, tape.scale, plain, along)
        grads = {"weight": along.astype(np.float32), "bias": plain.astype(np.float32), **tape.statistics}
        if not need_dx:
            return None, grads
        share = 1.0 / (x.shape[0] * x.shape[2]) if tape.training else 0.0
        dx = np.empty(dy.shape, np.float32)
        kernels.normalisation.channel_backward(
            x, grad, tape.mean, tape.scale, params["weight"], plain * share, along * share, self._flat(dx)
        )
        return dx, grads

    def _told(self, params: Params, mean: NDArray[np.float64], var: NDArray[np.float64], count: int) -> dict[str, F32]:
        seen = (var * (count / (count - 1))).astype(np.float32) if count > 1 else params["var"]
        return {"mean": mean.astype(np.float32), "var": seen}

    def _flat(self, x: Array) -> Array:
        """(B, channels, the rest)."""
        return x.reshape(len(x), self.in_shape[0], prod(self.in_shape[1:]))
