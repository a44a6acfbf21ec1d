"""Around the matrix products of a convolution: images to columns and back, channels first to batch first and back.

All arrays C-contiguous float32. Images are (n, C, H, W). Columns are (C·kh·kw, n·P), P the number of the window's
places: row (c, i, j) holds what the window's cell (i, j) sees of channel c. `geometry` is kernel, stride, padding,
dilation, places, each height then width. Products stand as (O, n·P), batches as (n, O, P). Nothing is checked here.

Cells of one column of the window see the same rows of pixels, only from another row on. So these rows are cut out once,
side by side as a *strip*, and each cell's places are one run of it: a copy of some hundred numbers in a row takes a
quarter of the time that ten copies of ten take. A strip has H·ow numbers, rows in the order in which the window's
places come by: 0, sh, 2·sh, …, then 1, sh + 1, …. Its memory has SLACK more, which are written at will.

Indices are unsigned: numba looks at each signed one for whether it counts from the end, which takes twice the time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from akkafka.nn.kernels.machine import (
    compiled,
    f32_1d,
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
    u64,
)
from akkafka.nn.layer import F32
from akkafka.nn.window import Geometry

UNSIGNED = np.uint64
SLACK = 8


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


@compiled(nothing, in_f32_1d, u64, f32_1d, u64)
def copy_eight(x: F32, start: np.uint64, out: F32, at: np.uint64) -> None:
    """Eight numbers; all are read before one is written, so that it takes two instructions."""
    one, two, three, four = UNSIGNED(1), UNSIGNED(2), UNSIGNED(3), UNSIGNED(4)
    five, six, seven = UNSIGNED(5), UNSIGNED(6), UNSIGNED(7)
    a, b, c, d = x[start], x[start + one], x[start + two], x[start + three]
    e, f, g, h = x[start + four], x[start + five], x[start + six], x[start + seven]
    out[at], out[at + one], out[at + two], out[at + three] = a, b, c, d
    out[at + four], out[at + five], out[at + six], out[at + seven] = e, f, g, h


@compiled(u64, i64, i64, i64, i64)
def run_start(row: int, step: int, height: int, places: int) -> np.uint64:
    """Where the pixels' row begins in a strip."""
    phase = row % step
    return UNSIGNED((phase * (height // step) + min(phase, height % step) + row // step) * places)


@compiled(nothing, in_f32_1d, i64, i64_pair, i64, ten_i64, f32_1d)
def cut(x: F32, plane: int, size: tuple[int, int], left: int, geometry: Geometry, strip: F32) -> None:
    """The image of `size` that begins at x[plane] to the strip of the window's column at `left`; the rim is 0."""
    sh, sw, ow = geometry[2], geometry[3], geometry[9]
    height, width = size
    first, last = inside(left, sw, width, ow)
    count, step, end, zero = UNSIGNED(last - first), UNSIGNED(sw), UNSIGNED(x.size), np.float32(0)
    to = UNSIGNED(first)
    for phase in range(sh):
        for y in range(phase, height, sh):
            pixel = UNSIGNED(plane + y * width + left + first * sw) if count > 0 else UNSIGNED(0)
            if sw == 1 and pixel + count + UNSIGNED(SLACK) <= end:
                for q in range(UNSIGNED(0), count, UNSIGNED(SLACK)):  # what is too much is written over later
                    copy_eight(x, pixel + q, strip, to + q)
            else:
                for q in range(count):
                    strip[to + q] = x[pixel]
                    pixel += step
            to += UNSIGNED(ow)
    for q in range(UNSIGNED(ow)):
        if q < UNSIGNED(first) or q >= UNSIGNED(last):
            for y in range(UNSIGNED(height)):
                strip[y * UNSIGNED(ow) + q] = zero


@compiled(nothing, in_f32_1d, i64, i64_pair, i64, ten_i64, f32_1d)
def paste(strip: F32, plane: int, size: tuple[int, int], left: int, geometry: Geometry, out: F32) -> None:
    """The way back of `cut`: adds what is in the strip to the pixels it came from."""
    sh, sw, ow = geometry[2], geometry[3], geometry[9]
    height, width = size
    first, last = inside(left, sw, width, ow)
    count, step, start = UNSIGNED(last - first), UNSIGNED(sw), UNSIGNED(first)
    for phase in range(sh):
        for y in range(phase, height, sh):
            pixel = UNSIGNED(plane + y * width + left + first * sw) if count > 0 else UNSIGNED(0)
            if sw == 1:
                for q in range(count):
                    out[pixel + q] += strip[start + q]
            else:
                for q in range(count):
                    out[pixel] += strip[start + q]
                    pixel += step
            start += UNSIGNED(ow)


@compiled(nothing, in_f32_4d, ten_i64, f32_1d, f32_2d)
def columns(x: F32, geometry: Geometry, strip: F32, out: F32) -> None:
    """Images x to columns `out`; the rim is 0. `strip` is memory for a strip, with anything in it."""
    kh, kw, sh, _, ph, pw, dh, dw, oh, ow = geometry
    n, channels, height, width = x.shape
    pixels, target, zero = x.reshape(-1), out.reshape(-1), np.float32(0)
    places = oh * ow
    for c in range(channels):
        for kj in range(kw):
            for b in range(n):
                cut(pixels, (b * channels + c) * height * width, (height, width), kj * dw - pw, geometry, strip)
                for ki in range(kh):
                    first, last = inside(ki * dh - ph, sh, height, oh)
                    start = run_start(ki * dh - ph + first * sh, sh, height, ow) if last > first else UNSIGNED(0)
                    at = UNSIGNED(((c * kh + ki) * kw + kj) * n * places + b * places)
                    begin, end = UNSIGNED(first * ow), UNSIGNED(last * ow)
                    for q in range(begin):
                        target[at + q] = zero
                    for q in range(end - begin):
                        target[at + begin + q] = strip[start + q]
                    for q in range(end, UNSIGNED(places)):
                        target[at + q] = zero


@compiled(nothing, in_f32_2d, ten_i64, f32_1d, f32_4d)
def images(x: F32, geometry: Geometry, strip: F32, out: F32) -> None:
    """Columns x back to images `out`: each pixel is the sum of what the windows saw of it, their columns of cells one
    by one, each summed up first. `strip` as for `columns`."""
    kh, kw, sh, _, ph, pw, dh, dw, oh, ow = geometry
    n, channels, height, width = out.shape
    source, pixels, zero = x.reshape(-1), out.reshape(-1), np.float32(0)
    places = oh * ow
    pixels[:] = zero
    for c in range(channels):
        for kj in range(kw):
            for b in range(n):
                for q in range(UNSIGNED(height * ow)):
                    strip[q] = zero
                for ki in range(kh):
                    first, last = inside(ki * dh - ph, sh, height, oh)
                    start = run_start(ki * dh - ph + first * sh, sh, height, ow) if last > first else UNSIGNED(0)
                    at = UNSIGNED(((c * kh + ki) * kw + kj) * n * places + b * places + first * ow)
                    for q in range(UNSIGNED((last - first) * ow)):
                        strip[start + q] += source[at + q]
                paste(strip, (b * channels + c) * height * width, (height, width), kj * dw - pw, geometry, pixels)


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
