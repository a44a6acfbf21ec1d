"""Sums and sweeps of layers that normalise.

Sums are made in float64 and always have the same order. Ways forth by row and group go on in float32; ways back, where
numbers cancel, in float64.

x, dy and out are C-contiguous float32: (B, C, P) by channel, or (R, n) by row; weights and biases float32; means
("mean"), 1/standard deviations ("scale") and sums are float64. Nothing is checked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akkafka.nn.kernels.machine import (
    compiled,
    f32_2d,
    f32_3d,
    f64,
    f64_1d,
    f64_pair,
    in_f32_1d,
    in_f32_2d,
    in_f32_3d,
    in_f64_1d,
    nothing,
)
from akkafka.nn.kernels.vectors import LANES, sums_of
from akkafka.nn.layer import F32

F64 = NDArray[np.float64]


def _sum(b: Any, arrays: Sequence[Any], _: Sequence[Any]) -> Sequence[Any]:
    return [arrays[0]]


def _squares(b: Any, arrays: Sequence[Any], scalars: Sequence[Any]) -> Sequence[Any]:
    far = b.fsub(arrays[0], scalars[0])
    return [b.fmul(far, far)]


def _moments(b: Any, arrays: Sequence[Any], scalars: Sequence[Any]) -> Sequence[Any]:
    far = b.fsub(arrays[0], scalars[0])
    return [far, b.fmul(far, far)]


def _dots(b: Any, arrays: Sequence[Any], scalars: Sequence[Any]) -> Sequence[Any]:
    return [arrays[1], b.fmul(arrays[1], b.fsub(arrays[0], scalars[0]))]


def _weighted(b: Any, arrays: Sequence[Any], scalars: Sequence[Any]) -> Sequence[Any]:
    g = b.fmul(arrays[1], arrays[2])
    return [g, b.fmul(g, b.fsub(arrays[0], scalars[0]))]


SUM, SQUARES, MOMENTS = sums_of(1, _sum), sums_of(1, _squares), sums_of(2, _moments)
DOTS, WEIGHTED = sums_of(2, _dots), sums_of(2, _weighted)


@compiled(f64, in_f32_1d)
def added(x: F32) -> float:
    """Sum of x: of whole eights as in vectors.py, then number by number."""
    (total,) = SUM((x,), ())
    for i in range(x.size // LANES * LANES, x.size):
        total += x[i]
    return total


@compiled(f64, in_f32_1d, f64)
def squares(x: F32, mean: float) -> float:
    """Sum of (x - mean)², in the order of `added`."""
    (total,) = SQUARES((x,), (mean,))
    for i in range(x.size // LANES * LANES, x.size):
        total += (x[i] - mean) * (x[i] - mean)
    return total


@compiled(f64_pair, in_f32_1d, in_f32_1d, f64)
def dots(x: F32, dy: F32, mean: float) -> tuple[float, float]:
    """Sums of dy and of dy·(x - mean), in the order of `added`."""
    plain, along = DOTS((x, dy), (mean,))
    for i in range(x.size // LANES * LANES, x.size):
        plain += dy[i]
        along += dy[i] * (x[i] - mean)
    return plain, along


@compiled(f64_pair, in_f32_1d, in_f32_1d, in_f32_1d, f64)
def weighted_dots(x: F32, dy: F32, weight: F32, mean: float) -> tuple[float, float]:
    """Sums of dy·weight and of dy·weight·(x - mean), in the order of `added`."""
    plain, along = WEIGHTED((x, dy, weight), (mean,))
    for i in range(x.size // LANES * LANES, x.size):
        g = np.float64(dy[i]) * weight[i]
        plain += g
        along += g * (x[i] - mean)
    return plain, along


@compiled(f64_pair, in_f32_1d, f64)
def moments(x: F32, near: float) -> tuple[float, float]:
    """Mean and variance of x in one sweep, from the sums of x - near and of its square, in the order of `added`.

    With `near` one of the numbers, what cancels is of the size of their spread: of float64's digits enough are left.
    """
    plain, square = MOMENTS((x,), (near,))
    for i in range(x.size // LANES * LANES, x.size):
        plain += x[i] - near
        square += (x[i] - near) * (x[i] - near)
    share = 1.0 / x.size
    off = plain * share
    return near + off, max(square * share - off * off, 0.0)


@compiled(nothing, in_f32_3d, f64_1d, f64_1d)
def channel_moments(x: F32, mean: F64, var: F64) -> None:
    """Mean and variance (over B·P, not B·P - 1) of each channel."""
    count = 1.0 / (x.shape[0] * x.shape[2])
    mean[:] = 0.0
    var[:] = 0.0
    if x.shape[2] == 1:  # vectors: the channels side by side, many at a time
        rows = x.reshape(x.shape[0], x.shape[1])
        for b in range(rows.shape[0]):
            for c in range(rows.shape[1]):
                mean[c] += rows[b, c]
        mean *= count
        for b in range(rows.shape[0]):
            for c in range(rows.shape[1]):
                var[c] += (rows[b, c] - mean[c]) * (rows[b, c] - mean[c])
        var *= count
        return
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            mean[c] += added(x[b, c])
    mean *= count
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            var[c] += squares(x[b, c], mean[c])
    var *= count


@compiled(nothing, in_f32_3d, in_f64_1d, in_f64_1d, in_f32_1d, in_f32_1d, f32_3d)
def channel_forward(x: F32, mean: F64, scale: F64, weight: F32, bias: F32, out: F32) -> None:
    """out = (x - mean)·scale·weight + bias, all of the channel."""
    if x.shape[2] == 1:
        rows, targets = x.reshape(x.shape[0], x.shape[1]), out.reshape(x.shape[0], x.shape[1])
        for b in range(rows.shape[0]):
            for c in range(rows.shape[1]):
                targets[b, c] = np.float32((rows[b, c] - mean[c]) * (scale[c] * weight[c]) + np.float64(bias[c]))
        return
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            source, target = x[b, c], out[b, c]
            middle, factor, shift = mean[c], scale[c] * weight[c], np.float64(bias[c])
            for p in range(source.size):
                target[p] = np.float32((source[p] - middle) * factor + shift)


@compiled(nothing, in_f32_3d, in_f32_3d, in_f64_1d, in_f64_1d, f64_1d, f64_1d)
def channel_sums(x: F32, dy: F32, mean: F64, scale: F64, plain: F64, along: F64) -> None:
    """plain = sum of dy, along = sum of dy·(x - mean)·scale, of each channel: gradients of bias and weight."""
    plain[:] = 0.0
    along[:] = 0.0
    if x.shape[2] == 1:
        rows, grads = x.reshape(x.shape[0], x.shape[1]), dy.reshape(x.shape[0], x.shape[1])
        for b in range(rows.shape[0]):
            for c in range(rows.shape[1]):
                plain[c] += grads[b, c]
                along[c] += grads[b, c] * (rows[b, c] - mean[c])
        along *= scale
        return
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            sums, parts = dots(x[b, c], dy[b, c], mean[c])
            plain[c] += sums
            along[c] += parts
    along *= scale


@compiled(nothing, in_f32_3d, in_f32_3d, in_f64_1d, in_f64_1d, in_f32_1d, in_f64_1d, in_f64_1d, f32_3d)
def channel_backward(x: F32, dy: F32, mean: F64, scale: F64, weight: F32, plain: F64, along: F64, out: F32) -> None:
    """out = weight·scale·(dy - plain - (x - mean)·scale·along); plain and along are means over B·P, or 0 if x had no
    part in mean and scale."""
    if x.shape[2] == 1:
        rows, grads = x.reshape(x.shape[0], x.shape[1]), dy.reshape(x.shape[0], x.shape[1])
        targets = out.reshape(x.shape[0], x.shape[1])
        for b in range(rows.shape[0]):
            for c in range(rows.shape[1]):
                far = (rows[b, c] - mean[c]) * (along[c] * scale[c])
                targets[b, c] = np.float32(scale[c] * weight[c] * (grads[b, c] - plain[c] - far))
        return
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            source, grad, target = x[b, c], dy[b, c], out[b, c]
            middle, factor, less, slope = mean[c], scale[c] * weight[c], plain[c], along[c] * scale[c]
            for p in range(source.size):
                target[p] = np.float32(factor * (grad[p] - less - (source[p] - middle) * slope))


@compiled(nothing, in_f32_2d, f64, f64_1d, f64_1d)
def row_moments(x: F32, eps: float, mean: F64, scale: F64) -> None:
    """Mean and 1/sqrt(variance + eps) of each row."""
    for r in range(x.shape[0]):
        middle, var = moments(x[r], np.float64(x[r, 0]))
        mean[r], scale[r] = middle, 1.0 / np.sqrt(var + eps)


@compiled(nothing, in_f32_2d, f64, f64_1d)
def row_lengths(x: F32, eps: float, scale: F64) -> None:
    """1/sqrt(mean of the squares + eps) of each row."""
    for r in range(x.shape[0]):
        scale[r] = 1.0 / np.sqrt(squares(x[r], 0.0) / x.shape[1] + eps)


@compiled(nothing, in_f32_2d, in_f64_1d, in_f64_1d, in_f32_1d, in_f32_1d, f32_2d)
def row_forward(x: F32, mean: F64, scale: F64, weight: F32, bias: F32, out: F32) -> None:
    """out = (x - mean)·scale·weight + bias; mean and scale of the row, weight and bias of the column."""
    for r in range(x.shape[0]):
        source, target, middle, factor = x[r], out[r], np.float32(mean[r]), np.float32(scale[r])
        for j in range(source.size):
            target[j] = (source[j] - middle) * factor * weight[j] + bias[j]


@compiled(nothing, in_f32_2d, in_f32_2d, in_f64_1d, in_f64_1d, f64_1d, f64_1d)
def column_sums(x: F32, dy: F32, mean: F64, scale: F64, plain: F64, along: F64) -> None:
    """plain = sum of dy, along = sum of dy·(x - mean)·scale, of each column: gradients of bias and weight."""
    plain[:] = 0.0
    along[:] = 0.0
    for r in range(x.shape[0]):
        source, grad, middle, factor = x[r], dy[r], mean[r], scale[r]
        for j in range(source.size):
            plain[j] += grad[j]
            along[j] += grad[j] * ((source[j] - middle) * factor)


@compiled(nothing, in_f32_2d, in_f32_2d, in_f64_1d, in_f64_1d, in_f32_1d, f64, f32_2d)
def row_backward(x: F32, dy: F32, mean: F64, scale: F64, weight: F32, centred: float, out: F32) -> None:
    """out = scale·(g - centred·mean of g - n·mean of g·n), g = dy·weight, n = (x - mean)·scale, means over the row.

    centred: 1 where the row's mean was taken off, else 0.
    """
    n = x.shape[1]
    for r in range(x.shape[0]):
        source, grad, target, middle, factor = x[r], dy[r], out[r], mean[r], scale[r]
        less, slope = weighted_dots(source, grad, weight, middle)
        less, slope = centred * less / n, slope * factor * factor / n
        for j in range(n):
            target[j] = np.float32(factor * (np.float64(grad[j]) * weight[j] - less - (source[j] - middle) * slope))


@compiled(nothing, in_f32_3d, in_f64_1d, in_f64_1d, in_f32_1d, in_f32_1d, f32_3d)
def group_forward(x: F32, mean: F64, scale: F64, weight: F32, bias: F32, out: F32) -> None:
    """out = (x - mean)·scale·weight + bias; mean and scale (B·groups,) of the group, weight and bias of the channel."""
    channels = x.shape[1]
    size = x.shape[0] * channels // mean.size
    for b in range(x.shape[0]):
        for c in range(channels):
            source, target, group = x[b, c], out[b, c], (b * channels + c) // size
            middle, factor, shift = np.float32(mean[group]), np.float32(scale[group] * weight[c]), bias[c]
            for p in range(source.size):
                target[p] = (source[p] - middle) * factor + shift


@compiled(nothing, in_f32_3d, in_f32_3d, in_f64_1d, in_f64_1d, in_f32_1d, f64_1d, f64_1d, f32_3d)
def group_backward(x: F32, dy: F32, mean: F64, scale: F64, weight: F32, plain: F64, along: F64, out: F32) -> None:
    """As `row_backward` for each group (centred), with weights by channel; and plain and along as `channel_sums`."""
    batch, channels, places = x.shape
    size = batch * channels // mean.size  # channels in a group
    less, slope = np.zeros(mean.size), np.zeros(mean.size)
    plain[:] = 0.0
    along[:] = 0.0
    for b in range(batch):
        for c in range(channels):
            group = (b * channels + c) // size
            sums, parts = dots(x[b, c], dy[b, c], mean[group])
            parts *= scale[group]
            plain[c] += sums
            along[c] += parts
            less[group] += weight[c] * sums
            slope[group] += weight[c] * parts
    count = 1.0 / (size * places)
    for b in range(batch):
        for c in range(channels):
            group = (b * channels + c) // size
            source, grad, target = x[b, c], dy[b, c], out[b, c]
            middle, factor, share = mean[group], scale[group], np.float64(weight[c])
            off, steep = less[group] * count, slope[group] * count * scale[group]
            for p in range(source.size):
                target[p] = np.float32(factor * (grad[p] * share - off - (source[p] - middle) * steep))
