"""Group-norm: groups of channels of each sample by their own mean and variance; no batch is needed for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
from pydantic import Field

from akkafka.errors import ShapeError
from akkafka.nn import kernels
from akkafka.nn.layer import F32, FLOAT32, NO_BUFFERS, Array, Params, Pass, Shape, Tape
from akkafka.nn.layers.row_norm import RowNormTape
from akkafka.nn.layers.samewise import float32_only
from akkafka.nn.sizes import Size
from akkafka.nn.spec import LayerSpec


class GroupNormSpec(LayerSpec):
    """Settings of group-norm."""

    type: Literal["group-norm"] = "group-norm"
    """Group-norm (Wu, He 2018, arXiv:1803.08494): the first axis of a sample are the channels."""
    groups: Size
    """Channels are parted into so many groups; 1 takes all together, as many as channels each alone (instance norm)."""
    eps: float = Field(default=1e-5, ge=1e-12, le=1)
    """Added to the variance, against division by 0."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> GroupNorm:
        """The layer for float32 (channels, ...); raises ShapeError for others and if groups don't divide channels."""
        if not in_shape or in_shape[0] % self.groups:
            raise ShapeError(f"group-norm takes (channels, ...) that part into {self.groups} groups, got {in_shape}")
        return GroupNorm(float32_only("group-norm", in_shape, in_dtype), self.groups, self.eps)


@dataclass(frozen=True, slots=True)
class GroupNorm:
    """y = (x - mean) / sqrt(var + eps)·weight + bias; mean and var of the group, weight and bias (channels,)."""

    in_shape: Shape
    groups: int
    eps: float

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
        """weight and bias."""
        return dict.fromkeys(("weight", "bias"), self.in_shape[:1])

    @property
    def buffers(self) -> Mapping[str, float]:
        """Empty."""
        return NO_BUFFERS

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """weight 1, bias 0."""
        return {"weight": np.ones(self.in_shape[0], np.float32), "bias": np.zeros(self.in_shape[0], np.float32)}

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        mean, scale = np.empty(len(x) * self.groups), np.empty(len(x) * self.groups)
        kernels.normalisation.row_moments(x.reshape(len(mean), -1), self.eps, mean, scale)
        y = np.empty(x.shape, np.float32)
        weight, bias = params["weight"], params["bias"]
        kernels.normalisation.group_forward(self._flat(x), mean, scale, weight, bias, self._flat(y))
        return y, RowNormTape(x, mean, scale)

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        dx = np.empty(dy.shape, np.float32)
        plain, along = np.empty(self.in_shape[0]), np.empty(self.in_shape[0])
        kernels.normalisation.group_backward(
            self._flat(tape.x), self._flat(dy), tape.mean, tape.scale, params["weight"], plain, along, self._flat(dx)
        )
        return dx if need_dx else None, {"weight": along.astype(np.float32), "bias": plain.astype(np.float32)}

    def _flat(self, x: Array) -> Array:
        """(B, channels, the rest)."""
        return x.reshape(len(x), self.in_shape[0], prod(self.in_shape[1:]))
