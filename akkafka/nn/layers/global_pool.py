"""Pools over the whole of each channel: images, or anything (channels, ...), become feature vectors."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np

from akkafka.errors import ShapeError
from akkafka.nn import kernels
from akkafka.nn.layer import F32, FLOAT32, Array, Params, Pass, Shape, Tape, Unweighted
from akkafka.nn.layers.samewise import float32_only
from akkafka.nn.spec import LayerSpec


class GlobalAvgPoolSpec(LayerSpec):
    """Settings of a pool of means: none."""

    type: Literal["global-avg-pool"] = "global-avg-pool"
    """Global average pool: (channels, ...) to (channels,), the mean of each."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> GlobalAvgPool:
        """The pool for float32 of two axes or more; raises ShapeError for others."""
        return GlobalAvgPool(_channels(self.type, in_shape, in_dtype))


class GlobalMaxPoolSpec(LayerSpec):
    """Settings of a pool of the greatest: none."""

    type: Literal["global-max-pool"] = "global-max-pool"
    """Global max pool: (channels, ...) to (channels,), the greatest of each."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> GlobalMaxPool:
        """The pool for float32 of two axes or more; raises ShapeError for others."""
        return GlobalMaxPool(_channels(self.type, in_shape, in_dtype))


def _channels(kind: str, in_shape: Shape, in_dtype: np.dtype[Any]) -> Shape:
    if len(in_shape) < 2:
        raise ShapeError(f"{kind} takes (channels, ...), got {in_shape}", hint="it belongs behind a convolution")
    return float32_only(kind, in_shape, in_dtype)


@dataclass(frozen=True, slots=True)
class GlobalPool(Unweighted):
    """What both have in common."""

    in_shape: Shape

    @property
    def out_shape(self) -> Shape:
        """(channels,)."""
        return self.in_shape[:1]

    @property
    def in_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    @property
    def places(self) -> int:
        """Numbers in a channel."""
        return prod(self.in_shape[1:])


@dataclass(frozen=True, slots=True)
class GlobalAvgPool(GlobalPool):
    """The mean, summed up in float64. There is nothing on the tape."""

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        sums = np.empty(len(x) * self.in_shape[0])
        kernels.pooling.sums(x.reshape(-1, self.places), sums)
        return (sums / self.places).astype(np.float32).reshape(len(x), -1), None

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        if not need_dx:
            return None, {}
        share = dy * np.float32(1 / self.places)
        return np.repeat(share.reshape(-1), self.places).reshape(len(dy), *self.in_shape), {}


@dataclass(frozen=True, slots=True)
class GlobalMaxPool(GlobalPool):
    """The greatest, the first of equals. The tape is where it was, (B, channels)."""

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        flat = x.reshape(len(x), -1, self.places)
        where = flat.argmax(axis=2)
        return np.take_along_axis(flat, where[..., None], axis=2)[..., 0], where

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        if not need_dx:
            return None, {}
        dx = np.zeros((len(dy), self.in_shape[0], self.places), np.float32)
        np.put_along_axis(dx, tape[..., None], dy[..., None], axis=2)
        return dx.reshape(len(dy), *self.in_shape), {}
