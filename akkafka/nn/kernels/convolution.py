"""Around the matrix products of a convolution: images to columns and back, channels first to batch first and back.

All arrays C-contiguous float32. Images are (n, C, H, W). Columns are (C·kh·kw, n·P), P the number of the window's
places: row (c, i, j) holds what the window's cell (i, j) sees of channel c. `geometry` is kernel, stride, padding,
dilation, places, each height then width. Products stand as (O, n·P), batches as (n, O, P). Nothing is checked here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from akkafka.nn.kernels.machine import (
    compiled,
    f32_2d,
    f32_3d,
    f32_4d,
    f64,
    f64_1d,
    i64,
    i64_pair,
    in_f32_1d,
    in_f32_2d,
    in_f32_3d,
    in_f32_4d,
    nothing,
    ten_i64,
)
from akkafka.nn.layer import F32
from akkafka.nn.window import Geometry

UNSIGNED = np.uint64


@compiled(i64_pair, i64, i64, i64, i64)
def inside(start: int, step: int, size: int, places: int) -> tuple[int, int]:
    """First and last + 1 of the places whose position start + place·step is in 0…size - 1."""
    first = 0 if start >= 0 else (-start + step - 1) // step
    last = 0 if start >= size else (size - 1 - start) // step + 1
    return min(first, places), max(min(last, places), min(first, places))


@compiled(f64, in_f32_1d)
def added(x: F32) -> float:
    """Sum in float64: eight sums of every eighth number, then those together; always in this order."""
    a, b, c, d, e, f, g, h = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    whole = x.size // 8 * 8
    for i in range(0, whole, 8):
        a += x[i]
        b += x[i + 1]
        c += x[i + 2]
        d += x[i + 3]
        e += x[i + 4]
        f += x[i + 5]
        g += x[i + 6]
        h += x[i + 7]
    for i in range(whole, x.size):
        a += x[i]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@compiled(nothing, in_f32_4d, ten_i64, f32_2d)
def columns(x: F32, geometry: Geometry, out: F32) -> None:
    """Images x to columns `out`; the rim is 0.

    Indices are unsigned: numba looks at each signed one for whether it counts from the end, which takes twice the time.
    """
    kh, kw, sh, sw, ph, pw, dh, dw, oh, ow = geometry
    n, channels, height, width = x.shape
    source, target, zero = x.reshape(-1), out.reshape(-1), np.float32(0)
    step = UNSIGNED(sw)
    at = 0
    for c in range(channels):
        for ki in range(kh):
            for kj in range(kw):
                top, left = ki * dh - ph, kj * dw - pw
                first, last = inside(left, sw, width, ow)
                count = UNSIGNED(last - first)
                for b in range(n):
                    for p in range(oh):
                        y = top + p * sh
                        if y < 0 or y >= height:
                            for q in range(UNSIGNED(at), UNSIGNED(at + ow)):
                                target[q] = zero
                            at += ow
                            continue
                        for q in range(UNSIGNED(at), UNSIGNED(at + first)):
                            target[q] = zero
                        start, pixel = UNSIGNED(at + first), UNSIGNED(0)
                        if count > 0:
                            pixel = UNSIGNED(((b * channels + c) * height + y) * width + left + first * sw)
                        if sw == 1:
                            for q in range(count):
                                target[start + q] = source[pixel + q]
                        else:
                            for q in range(count):
                                target[start + q] = source[pixel]
                                pixel += step
                        for q in range(UNSIGNED(at + last), UNSIGNED(at + ow)):
                            target[q] = zero
                        at += ow


@compiled(nothing, in_f32_2d, ten_i64, f32_4d)
def images(x: F32, geometry: Geometry, out: F32) -> None:
    """Columns x back to images `out`: each pixel is the sum of what the windows saw of it, in order of their cells."""
    kh, kw, sh, sw, ph, pw, dh, dw, oh, ow = geometry
    n, channels, height, width = out.shape
    source, target = x.reshape(-1), out.reshape(-1)
    step = UNSIGNED(sw)
    target[:] = np.float32(0)
    at = 0
    for c in range(channels):
        for ki in range(kh):
            for kj in range(kw):
                top, left = ki * dh - ph, kj * dw - pw
                first, last = inside(left, sw, width, ow)
                count = UNSIGNED(last - first)
                for b in range(n):
                    for p in range(oh):
                        y = top + p * sh
                        if y >= 0 and y < height and count > 0:
                            start = UNSIGNED(at + first)
                            pixel = UNSIGNED(((b * channels + c) * height + y) * width + left + first * sw)
                            if sw == 1:
                                for q in range(count):
                                    target[pixel + q] += source[start + q]
                            else:
                                for q in range(count):
                                    target[pixel] += source[start + q]
                                    pixel += step
                        at += ow


@compiled(nothing, in_f32_2d, in_f32_1d, f32_3d)
def batch_first(x: F32, bias: F32, out: F32) -> None:
    """out[b, o, p] = x[o, b·P + p] + bias[o]."""
    n, channels, places = out.shape
    for b in range(n):
        for o in range(channels):
            target, source, add = out[b, o], x[o, b * places : (b + 1) * places], bias[o]
            for p in range(places):
                target[p] = source[p] + add


@compiled(nothing, in_f32_2d, in_f32_1d, f32_3d)
def batch_first_relu(x: F32, bias: F32, out: F32) -> None:
    """out[b, o, p] = max(x[o, b·P + p] + bias[o], 0); not-a-number stays what it is."""
    n, channels, places = out.shape
    zero = np.float32(0)
    for b in range(n):
        for o in range(channels):
            target, source, add = out[b, o], x[o, b * places : (b + 1) * places], bias[o]
            for p in range(places):
                z = source[p] + add
                target[p] = zero if z <= zero else z


@compiled(nothing, in_f32_3d, f32_2d, f64_1d)
def channels_first(x: F32, out: F32, sums: NDArray[np.float64]) -> None:
    """out[o, b·P + p] = x[b, o, p]; sums[o] grows by their sum."""
    n, channels, places = x.shape
    for o in range(channels):
        total = 0.0
        for b in range(n):
            source, target = x[b, o], out[o, b * places : (b + 1) * places]
            for p in range(places):
                target[p] = source[p]
            total += added(source)
        sums[o] += total


@compiled(nothing, in_f32_3d, in_f32_3d, f32_2d, f64_1d)
def channels_first_relu(y: F32, x: F32, out: F32, sums: NDArray[np.float64]) -> None:
    """As `channels_first`, of x where y (the relu's output) is not 0, else of 0."""
    n, channels, places = x.shape
    zero = np.float32(0)
    for o in range(channels):
        total = 0.0
        for b in range(n):
            source, gate, target = x[b, o], y[b, o], out[o, b * places : (b + 1) * places]
            for p in range(places):
                target[p] = zero if gate[p] == zero else source[p]
            total += added(target)
        sums[o] += total
