"""The transposed convolution: what a convolution does on the way back, on the way forth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np

from akkafka.errors import ShapeError
from akkafka.nn import kernels
from akkafka.nn.initial import Init, initial
from akkafka.nn.layer import F32, FLOAT32, NO_BUFFERS, Array, Params, Pass, Shape, Tape
from akkafka.nn.layers.conv2d import check_groups, chunks, strips
from akkafka.nn.layers.samewise import float32_only
from akkafka.nn.scratch import scratch
from akkafka.nn.sizes import Pair, RimPair, Size, pair
from akkafka.nn.spec import LayerSpec
from akkafka.nn.window import Geometry, Window, image


class ConvTranspose2dSpec(LayerSpec):
    """Settings of a transposed convolution."""

    type: Literal["conv-transpose2d"] = "conv-transpose2d"
    """ConvTranspose2d: each pixel paints a window, as PyTorch's; it undoes the sizes of a conv2d."""
    out: Size
    """Channels going out."""
    kernel: Pair
    """Size of the window: one number, or [height, width]."""
    stride: Pair = 1
    """Distance of the windows in the output."""
    padding: RimPair = 0
    """Rows and columns cut off the output, on each side."""
    output_padding: RimPair = 0
    """Rows and columns added below and on the right, less than stride or dilation: picks one of the sizes possible."""
    dilation: Pair = 1
    """Distance of the window's cells; 1 is without gaps."""
    groups: Size = 1
    """Channels are parted into so many groups, each with windows of its own."""
    bias: bool = True
    """Whether there is a number for each channel that is added."""
    init: Init = "he"
    """Distribution of the first weights, as for linear."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> ConvTranspose2d:
        """The layer for float32 images; raises ShapeError for other samples and for sizes that don't fit."""
        channels, height, width = image(self.type, float32_only(self.type, in_shape, in_dtype))
        window = Window(pair(self.kernel), pair(self.stride), pair(self.padding), pair(self.dilation))
        extra = pair(self.output_padding)
        if any(e >= max(s, d) for e, s, d in zip(extra, window.stride, window.dilation, strict=True)):
            raise ShapeError(
                f"{self.type}: output_padding {extra} must be less than stride {window.stride} or "
                f"dilation {window.dilation}"
            )
        size = window.spread((height, width), extra)
        if min(size) < 1:
            raise ShapeError(f"{self.type}: nothing is left of {in_shape}: the output would be {size}", hint="padding")
        check_groups(self.type, channels, self.out, self.groups)
        return ConvTranspose2d(in_shape, (self.out, *size), window, self.groups, self.bias, self.init)


@dataclass(frozen=True, slots=True)
class ConvTranspose2d:
    """weight (in, out / groups, kh, kw), bias (out,). The tape is x."""

    in_shape: Shape
    out_shape: Shape
    window: Window
    groups: int
    bias: bool
    initial: Init

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
        weight = {"weight": (self.in_shape[0], self.out_shape[0] // self.groups, *self.window.kernel)}
        return {**weight, "bias": (self.out_shape[0],)} if self.bias else weight

    @property
    def buffers(self) -> Mapping[str, float]:
        """Empty."""
        return NO_BUFFERS

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """Weights by `initial`, bias 0; a pixel going out sees a window's cells divided by the stride."""
        shape = self.param_shapes["weight"]
        cells = prod(self.window.kernel)
        fan_in = max(1, shape[0] // self.groups * cells // prod(self.window.stride))
        weight = {"weight": initial(self.initial, shape, fan_in, shape[1] * cells, rng)}
        return {**weight, "bias": np.zeros(self.out_shape[0], np.float32)} if self.bias else weight

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        y = np.empty((len(x), *self.out_shape), np.float32)
        weight = params["weight"].reshape(self.in_shape[0], -1)
        for part in chunks(len(x), self._rows * self._places):
            pixels = self._channels_first(x[part])
            columns = scratch.take("columns", self._rows, pixels.shape[1])
            for ins, rows in self._parts():
                np.dot(weight[ins].T, pixels[ins], out=columns[rows])
            kernels.convolution.images(columns, self._geometry, self._strip(), y[part])
        if self.bias:
            y += params["bias"][:, None, None]
        return y, x

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        x = tape
        dx = np.empty(x.shape, np.float32) if need_dx else None
        weight = params["weight"].reshape(self.in_shape[0], -1)
        grad, none = np.zeros(weight.shape, np.float32), np.zeros(self.in_shape[0], np.float32)
        for part in chunks(len(x), self._rows * self._places):
            pixels = self._channels_first(x[part])
            columns = scratch.take("columns", self._rows, pixels.shape[1])
            kernels.convolution.columns(dy[part], self._geometry, self._strip(), columns)
            for ins, rows in self._parts():
                grad[ins] += np.dot(pixels[ins], columns[rows].T)
            if dx is not None:
                for ins, rows in self._parts():
                    np.dot(weight[ins], columns[rows], out=pixels[ins])
                kernels.convolution.batch_first(pixels, none, dx[part].reshape(-1, self.in_shape[0], self._places))
        grads: dict[str, F32] = {"weight": grad.reshape(params["weight"].shape)}
        return dx, {**grads, "bias": self._bias_gradient(dy)} if self.bias else grads

    @property
    def _rows(self) -> int:
        return self.out_shape[0] * prod(self.window.kernel)

    @property
    def _places(self) -> int:
        return prod(self.in_shape[1:])

    @property
    def _geometry(self) -> Geometry:
        return self.window.geometry((self.in_shape[1], self.in_shape[2]))

    def _strip(self) -> F32:
        return strips(1, self.out_shape[1], self.window, self.in_shape[2])

    def _parts(self) -> list[tuple[slice, slice]]:
        """For each group its channels coming in, and its rows of the columns."""
        ins, rows = self.in_shape[0] // self.groups, self._rows // self.groups
        return [(slice(g * ins, (g + 1) * ins), slice(g * rows, (g + 1) * rows)) for g in range(self.groups)]

    def _channels_first(self, x: F32) -> F32:
        flat = (len(x), self.in_shape[0], self._places)
        pixels = scratch.take("product", flat[1], flat[0] * flat[2])
        kernels.convolution.channels_first(x.reshape(flat), pixels, np.zeros(flat[1]))
        return pixels

    def _bias_gradient(self, dy: F32) -> F32:
        sums = np.zeros((len(dy), self.out_shape[0]))
        kernels.pooling.sums(dy.reshape(sums.size, -1), sums.reshape(-1))
        total: F32 = sums.sum(axis=0).astype(np.float32)
        return total
