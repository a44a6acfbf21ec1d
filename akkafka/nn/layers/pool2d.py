"""Pools over windows of images: greatest and mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from akkafka.errors import ShapeError
from akkafka.nn import kernels
from akkafka.nn.layer import F32, FLOAT32, Array, Params, Pass, Shape, Tape, Unweighted
from akkafka.nn.layers.samewise import float32_only
from akkafka.nn.sizes import Pair, RimPair, pair
from akkafka.nn.spec import LayerSpec
from akkafka.nn.window import Geometry, Window, image


class MaxPool2dSpec(LayerSpec):
    """Settings of a pool of the greatest."""

    type: Literal["max-pool2d"] = "max-pool2d"
    """MaxPool2d: the greatest number of each window, channel by channel."""
    kernel: Pair
    """Size of the window: one number, or [height, width]."""
    stride: Pair | None = None
    """Steps of the window; by default its size, so that windows don't overlap."""
    padding: RimPair = 0
    """Rim around the image that is never the greatest; at most half the window."""
    dilation: Pair = 1
    """Distance of the window's cells; 1 is without gaps."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> MaxPool2d:
        """The pool for float32 images; raises ShapeError for other samples and for sizes that don't fit."""
        window = _window(self.type, self.kernel, self.stride, self.padding, self.dilation)
        return MaxPool2d(*_shapes(self.type, in_shape, in_dtype, window), window)


class AvgPool2dSpec(LayerSpec):
    """Settings of a pool of means."""

    type: Literal["avg-pool2d"] = "avg-pool2d"
    """AvgPool2d: the mean of each window, channel by channel; a rim counts with zeros, as PyTorch's by default."""
    kernel: Pair
    """Size of the window: one number, or [height, width]."""
    stride: Pair | None = None
    """Steps of the window; by default its size, so that windows don't overlap."""
    padding: RimPair = 0
    """Rim of zeros around the image; at most half the window."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> AvgPool2d:
        """The pool for float32 images; raises ShapeError for other samples and for sizes that don't fit."""
        window = _window(self.type, self.kernel, self.stride, self.padding, 1)
        return AvgPool2d(*_shapes(self.type, in_shape, in_dtype, window), window)


def _window(kind: str, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Window:
    window = Window(pair(kernel), pair(kernel if stride is None else stride), pair(padding), pair(dilation))
    if any(2 * p > k for p, k in zip(window.padding, window.kernel, strict=True)):
        raise ShapeError(
            f"{kind}: padding {window.padding} must be at most half the window {window.kernel}",
            hint="else a window could see nothing but the rim",
        )
    return window


def _shapes(kind: str, in_shape: Shape, in_dtype: np.dtype[Any], window: Window) -> tuple[Shape, Shape]:
    """Shapes of a sample in and out."""
    channels, height, width = image(kind, float32_only(kind, in_shape, in_dtype))
    return in_shape, (channels, *window.checked(kind, (height, width)))


@dataclass(frozen=True, slots=True)
class Pool2d(Unweighted):
    """What both have in common."""

    in_shape: Shape
    out_shape: Shape
    window: Window

    @property
    def in_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    @property
    def _geometry(self) -> Geometry:
        return self.window.geometry((self.out_shape[1], self.out_shape[2]))


@dataclass(frozen=True, slots=True)
class MaxPool2d(Pool2d):
    """The greatest of each window, the first of equals. The tape is where it was."""

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        y = np.empty((len(x), *self.out_shape), np.float32)
        where = np.empty(y.shape, np.int32)
        kernels.pooling.greatest(flat(x), self._geometry, flat(y), flat(where))
        return y, where

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        if not need_dx:
            return None, {}
        dx = np.empty((len(dy), *self.in_shape), np.float32)
        kernels.pooling.greatest_backward(flat(dy), flat(tape), flat(dx))
        return dx, {}


@dataclass(frozen=True, slots=True)
class AvgPool2d(Pool2d):
    """The mean of each window. There is nothing on the tape."""

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        y = np.empty((len(x), *self.out_shape), np.float32)
        kernels.pooling.mean(flat(x), self._geometry, flat(y))
        return y, None

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        if not need_dx:
            return None, {}
        dx = np.empty((len(dy), *self.in_shape), np.float32)
        kernels.pooling.mean_backward(flat(dy), self._geometry, flat(dx))
        return dx, {}


def flat(images: Array) -> Array:
    """(B, C, H, W) as (B·C, H, W)."""
    return images.reshape(-1, *images.shape[2:])
