"""The convolution: forth from strips of an image, whose windows lie side by side; back by products of matrices over
columns, a chunk of images at a time, so that columns stay in the cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from akkafka.errors import ShapeError
from akkafka.nn import kernels
from akkafka.nn.initial import Init, initial
from akkafka.nn.layer import F32, FLOAT32, NO_BUFFERS, Array, Layer, Params, Pass, Shape, Tape
from akkafka.nn.layers.relu import Relu
from akkafka.nn.layers.samewise import float32_only
from akkafka.nn.scratch import scratch
from akkafka.nn.sizes import Pair, RimPair, Size, pair
from akkafka.nn.spec import LayerSpec
from akkafka.nn.window import Geometry, Window, image

CORRELATED = 32  # channels going out of a group: with more, products of matrices are faster
BLOCK = 1 << 15  # floats of strips and gradients that are gone through together
_NOTHING = np.empty((0, 0, 0), np.float32)
CHUNK = 1 << 18  # floats in the columns of one chunk: 1 MB; less costs more in calls than the nearer cache saves


class Conv2dSpec(LayerSpec):
    """Settings of a convolution."""

    type: Literal["conv2d"] = "conv2d"
    """Conv2d: cross-correlation of images (channels, height, width) with windows, as PyTorch's."""
    out: Size
    """Channels going out."""
    kernel: Pair
    """Size of the window: one number, or [height, width]."""
    stride: Pair = 1
    """Steps of the window."""
    padding: RimPair = 0
    """Rim of zeros around the image, on each side."""
    dilation: Pair = 1
    """Distance of the window's cells; 1 is without gaps."""
    groups: Size = 1
    """Channels are parted into so many groups, each with windows of its own."""
    bias: bool = True
    """Whether there is a number for each channel that is added."""
    init: Init = "he"
    """Distribution of the first weights, as for linear."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Conv2d:
        """A convolution for float32 images; raises ShapeError for other samples and for sizes that don't fit."""
        channels, height, width = image(self.type, float32_only(self.type, in_shape, in_dtype))
        window = Window(pair(self.kernel), pair(self.stride), pair(self.padding), pair(self.dilation))
        places = window.checked(self.type, (height, width))
        check_groups(self.type, channels, self.out, self.groups)
        return Conv2d(in_shape, (self.out, *places), window, self.groups, self.bias, self.init)


def check_groups(kind: str, channels: int, out: int, groups: int) -> None:
    """Raise ShapeError unless both numbers of channels can be parted."""
    if channels % groups or out % groups:
        raise ShapeError(
            f"{kind}: {channels} channels coming in and {out} going out cannot both be parted into {groups} groups",
            hint="groups must divide both",
        )


def chunks(batch: int, one: int) -> Iterator[slice]:
    """Slices of a batch, each with columns of at most CHUNK floats, or one image; `one`: floats for one image."""
    size = max(1, CHUNK // one)
    return (slice(start, min(batch, start + size)) for start in range(0, batch, size))


def slides(out_shape: Shape) -> bool:
    """Whether `slide` can be used: there are places enough in one image."""
    return prod(out_shape[1:]) >= kernels.convolution.TILE


def slide(x: F32, window: Window, weight: F32, bias: F32, floor: float, out: F32) -> None:
    """out (n, O, oh, ow) = what the window sees of x (n, C, H, W), times weight, plus bias; `floor` where not more.

    weight (O, C / groups · kh · kw), bias (O,).
    """
    geometry = window.geometry((out.shape[2], out.shape[3]))
    starts = _starts(weight.shape[1] // prod(window.kernel), x.shape[2], geometry)
    memory = strips(x.shape[1] * window.kernel[1], x.shape[2], window, out.shape[3])
    flat = out.reshape(len(out), out.shape[1], out.shape[2] * out.shape[3])
    kernels.convolution.convolve(x, geometry, starts, weight, bias, np.float32(floor), memory, flat)


def correlates(out_shape: Shape, groups: int) -> bool:
    """Whether `correlate` is the faster way to the weights' gradient."""
    return slides(out_shape) and out_shape[0] // groups <= CORRELATED


def correlate(x: F32, window: Window, y: F32 | None, dy: F32, shape: Shape, sums: NDArray[np.float64]) -> F32:
    """Gradient (O, C / groups · kh · kw) = `shape` for the weight of `slide`, whose result has the gradient dy.

    y is that result if there was a relu. `sums` (O,) grows by the gradient for the bias.
    """
    geometry = window.geometry((dy.shape[2], dy.shape[3]))
    begins = _starts(shape[1] // prod(window.kernel), x.shape[2], geometry)
    flat = (len(dy), shape[0], dy.shape[2] * dy.shape[3])
    image = x.shape[1] * window.kernel[1] * (x.shape[2] + 2 * window.padding[0]) * dy.shape[3]
    row = -(-flat[2] // kernels.vectors.LANES) * kernels.vectors.LANES
    block = min(len(x), max(1, BLOCK // (image + shape[0] * row)))
    kernels.convolution.correlate(
        x,
        geometry,
        begins,
        _NOTHING if y is None else y.reshape(flat),
        dy.reshape(flat),
        block,
        scratch.take("strips", block * image + kernels.convolution.SLACK),
        scratch.take("product", block * shape[0] * row),
        scratch.take("columns", *shape),
        grad := np.zeros(shape),
        sums,
    )
    return grad.astype(np.float32)


@lru_cache(maxsize=256)  # the same for every batch
def _starts(channels: int, height: int, geometry: Geometry) -> NDArray[np.int64]:
    found = np.empty(channels * geometry[0] * geometry[1], np.int64)
    kernels.convolution.starts(channels, height, geometry, found)
    found.flags.writeable = False
    return found


def strips(count: int, height: int, window: Window, across: int) -> F32:
    """Memory for so many strips of images of that height, with so many places across."""
    size = (height + 2 * window.padding[0]) * across
    return scratch.take("strips", count * size + kernels.convolution.SLACK)


class ConvTape(NamedTuple):
    """What the forward saw, and what it gave if there is a relu on top."""

    x: F32
    y: F32 | None


@dataclass(frozen=True, slots=True)
class Conv2d:
    """y = window over x + bias, with max(·, 0) on top if `relu`; weight (out, in / groups, kh, kw), bias (out,)."""

    in_shape: Shape
    out_shape: Shape
    window: Window
    groups: int = 1
    bias: bool = True
    initial: Init = "he"
    relu: bool = False

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
        weight = {"weight": (self.out_shape[0], self.in_shape[0] // self.groups, *self.window.kernel)}
        return {**weight, "bias": (self.out_shape[0],)} if self.bias else weight

    @property
    def buffers(self) -> Mapping[str, float]:
        """Empty."""
        return NO_BUFFERS

    def followed_by(self, following: Layer) -> Layer | None:
        """This layer with the relu in its own sweep over memory, if a relu follows."""
        fits = isinstance(following, Relu) and not self.relu
        return dataclasses.replace(self, relu=True) if fits else None

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """Weights by `initial`, bias 0; a window's cells and its channels are the fan."""
        shape = self.param_shapes["weight"]
        fan_in, fan_out = prod(shape[1:]), shape[0] // self.groups * prod(self.window.kernel)
        weight = {"weight": initial(self.initial, shape, fan_in, fan_out, rng)}
        return {**weight, "bias": np.zeros(shape[0], np.float32)} if self.bias else weight

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        y = np.empty((len(x), *self.out_shape), np.float32)
        weight = params["weight"].reshape(self.out_shape[0], -1)
        bias = params["bias"] if self.bias else np.zeros(self.out_shape[0], np.float32)
        if slides(self.out_shape):
            slide(x, self.window, weight, bias, 0 if self.relu else -np.inf, y)
        else:
            self._multiply(x, weight, bias, y.reshape(-1, self.out_shape[0], prod(self.out_shape[1:])))
        return y, ConvTape(x, y if self.relu else None)

    def _multiply(self, x: F32, weight: F32, bias: F32, out: F32) -> None:
        """The forward by products of matrices, where places are so few that images must be taken together."""
        finish = kernels.convolution.batch_first_relu if self.relu else kernels.convolution.batch_first
        for part in chunks(len(x), self._rows * out.shape[2]):
            columns = self._columns(x[part])
            product = scratch.take("product", out.shape[1], columns.shape[1])
            for outs, rows in self._parts():
                np.dot(weight[outs], columns[rows], out=product[outs])
            finish(product, bias, out[part])

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer; columns are made again from x, which takes less time than to keep them takes memory."""
        shape = (self.out_shape[0], self._rows // self.groups)
        dx = np.empty(tape.x.shape, np.float32) if need_dx else None
        weight, sums = params["weight"].reshape(shape), np.zeros(shape[0])
        if correlates(self.out_shape, self.groups):
            grad = correlate(tape.x, self.window, tape.y, dy, shape, sums)
            if dx is not None:
                self._back(weight, tape, dy, np.zeros_like(sums), None, dx)  # the bias's gradient is there already
        else:
            grad = np.zeros(shape, np.float32)
            self._back(weight, tape, dy, sums, grad, dx)
        grads: dict[str, F32] = {"weight": grad.reshape(params["weight"].shape)}
        return dx, {**grads, "bias": sums.astype(np.float32)} if self.bias else grads

    def _back(
        self, weight: F32, tape: ConvTape, dy: F32, sums: NDArray[np.float64], grad: F32 | None, dx: F32 | None
    ) -> None:
        """By products of matrices: `grad` and `sums` grow by the gradients for weight and bias, `dx` is filled."""
        for part in chunks(len(dy), self._rows * prod(self.out_shape[1:])):
            dz = self._channels_first(None if tape.y is None else tape.y[part], dy[part], sums)
            columns = scratch.take("columns", self._rows, dz.shape[1])
            if grad is not None:
                kernels.convolution.columns(tape.x[part], self._geometry, self._strip(), columns)
                for outs, rows in self._parts():
                    grad[outs] += np.dot(dz[outs], columns[rows].T)
            if dx is not None:
                for outs, rows in self._parts():
                    np.dot(weight[outs].T, dz[outs], out=columns[rows])
                kernels.convolution.images(columns, self._geometry, self._strip(), dx[part])

    @property
    def _rows(self) -> int:
        return self.in_shape[0] * prod(self.window.kernel)

    @property
    def _geometry(self) -> Geometry:
        return self.window.geometry((self.out_shape[1], self.out_shape[2]))

    def _parts(self) -> list[tuple[slice, slice]]:
        """For each group its channels going out, and its rows of the columns."""
        out, rows = self.out_shape[0] // self.groups, self._rows // self.groups
        return [(slice(g * out, (g + 1) * out), slice(g * rows, (g + 1) * rows)) for g in range(self.groups)]

    def _strip(self) -> F32:
        return strips(1, self.in_shape[1], self.window, self.out_shape[2])

    def _columns(self, x: F32) -> F32:
        columns = scratch.take("columns", self._rows, len(x) * prod(self.out_shape[1:]))
        kernels.convolution.columns(x, self._geometry, self._strip(), columns)
        return columns

    def _channels_first(self, y: F32 | None, dy: F32, sums: NDArray[np.float64]) -> F32:
        """Gradient before bias and relu as (out, n·P); `sums` grows by the bias's gradient."""
        flat = (len(dy), self.out_shape[0], prod(self.out_shape[1:]))
        dz = scratch.take("product", flat[1], flat[0] * flat[2])
        if y is None:
            kernels.convolution.channels_first(dy.reshape(flat), dz, sums)
        else:
            kernels.convolution.channels_first_relu(y.reshape(flat), dy.reshape(flat), dz, sums)
        return dz
