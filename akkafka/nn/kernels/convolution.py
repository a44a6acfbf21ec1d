"""Around the matrix products of a convolution: images to columns and back, channels first to batch first and back.

All arrays C-contiguous float32. Images are (n, C, H, W). Columns are (C·kh·kw, n·P), P the number of the window's
places: row (c, i, j) holds what the window's cell (i, j) sees of channel c. `geometry` is kernel, stride, padding,
dilation, places, each height then width. Products stand as (O, n·P), batches as (n, O, P). Nothing is checked here.

Cells of one column of the window see the same rows of pixels, only from another row on. So these rows are cut out once,
side by side as a *strip*, and each cell's places are one run of it: a copy of some hundred numbers in a row takes a
quarter of the time that ten copies of ten take, and often none is needed. A strip has (H + 2·ph)·ow numbers, the rim's
rows among them, in the order in which the window's places come by: rows 0, sh, 2·sh, …, then 1, sh + 1, …. Memory for
strips has SLACK more, which are written at will.

Indices are unsigned: numba looks at each signed one for whether it counts from the end, which takes twice the time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from akkafka.nn.kernels.machine import (
    compiled,
    f32,
    f32_1d,
    f32_2d,
    f32_3d,
    f32_4d,
    f64,
    f64_1d,
    f64_2d,
    i64,
    i64_1d,
    i64_pair,
    in_f32_1d,
    in_f32_2d,
    in_f32_3d,
    in_f32_4d,
    in_i64_1d,
    nothing,
    ten_i64,
)
from akkafka.nn.kernels.vectors import LANES, copying, dots_of, products_of
from akkafka.nn.layer import F32
from akkafka.nn.window import Geometry

UNSIGNED = np.uint64
TILE = 3 * LANES  # places whose sums, for four channels, fit into the registers of a processor with 16 vectors
SLACK = LANES


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


copy_eight = copying()


@compiled(i64, i64, i64, i64, i64)
def run(row: int, step: int, height: int, places: int) -> int:
    """Where a row begins in a strip of so many rows."""
    phase = row % step
    return (phase * (height // step) + min(phase, height % step) + row // step) * places


@compiled(nothing, in_f32_1d, i64, i64_pair, i64, ten_i64, f32_1d, i64)
def cut(x: F32, plane: int, size: tuple[int, int], kj: int, geometry: Geometry, strips: F32, at: int) -> None:
    """The image of `size` that begins at x[plane] to the strip strips[at:] of the window's column kj."""
    sh, sw, ph, pw, dw, ow = geometry[2], geometry[3], geometry[4], geometry[5], geometry[7], geometry[9]
    height, width = size
    left = kj * dw - pw
    first, last = inside(left, sw, width, ow)
    count, step, end, zero = UNSIGNED(last - first), UNSIGNED(sw), UNSIGNED(x.size), np.float32(0)
    to = UNSIGNED(at)
    for phase in range(sh):
        for y in range(phase - ph, height + ph, sh):
            start, pixel = to + UNSIGNED(first), UNSIGNED(max(plane + y * width + left + first * sw, 0))
            if y < 0 or y >= height:
                for q in range(UNSIGNED(ow)):
                    strips[to + q] = zero
            elif sw == 1 and pixel + count + UNSIGNED(SLACK) <= end:
                for q in range(UNSIGNED(0), count, UNSIGNED(LANES)):  # what is too much is written over later
                    copy_eight(x, pixel + q, strips, start + q)
            else:
                for q in range(count):
                    strips[start + q] = x[pixel]
                    pixel += step
            to += UNSIGNED(ow)
    for q in range(UNSIGNED(ow)):
        if q < UNSIGNED(first) or q >= UNSIGNED(last):
            for place in range(UNSIGNED(at) + q, to, UNSIGNED(ow)):
                strips[place] = zero


@compiled(nothing, in_f32_1d, i64, i64_pair, i64, ten_i64, f32_1d)
def paste(strip: F32, plane: int, size: tuple[int, int], kj: int, geometry: Geometry, out: F32) -> None:
    """The way back of `cut`: adds what is in the strip to the pixels it came from."""
    sh, sw, ph, pw, dw, ow = geometry[2], geometry[3], geometry[4], geometry[5], geometry[7], geometry[9]
    height, width = size
    left = kj * dw - pw
    first, last = inside(left, sw, width, ow)
    count, step, start = UNSIGNED(last - first), UNSIGNED(sw), UNSIGNED(first)
    for phase in range(sh):
        for y in range(phase - ph, height + ph, sh):
            if y >= 0 and y < height and count > 0:
                pixel = UNSIGNED(plane + y * width + left + first * sw)
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
    """Images x to columns `out`; the rim is 0. `strip` is memory for one, with anything in it."""
    kh, kw, sh, _, ph, _, dh, _, oh, ow = geometry
    n, channels, height, width = x.shape
    pixels, target = x.reshape(-1), out.reshape(-1)
    places = oh * ow
    for c in range(channels):
        for kj in range(kw):
            for b in range(n):
                cut(pixels, (b * channels + c) * height * width, (height, width), kj, geometry, strip, 0)
                for ki in range(kh):
                    start = UNSIGNED(run(ki * dh, sh, height + 2 * ph, ow))
                    at = UNSIGNED(((c * kh + ki) * kw + kj) * n * places + b * places)
                    for q in range(UNSIGNED(places)):
                        target[at + q] = strip[start + q]


@compiled(nothing, in_f32_2d, ten_i64, f32_1d, f32_4d)
def images(x: F32, geometry: Geometry, strip: F32, out: F32) -> None:
    """Columns x back to images `out`: each pixel is the sum of what the windows saw of it, their columns of cells one
    by one, each summed up first. `strip` as for `columns`."""
    kh, kw, sh, _, ph, _, dh, _, oh, ow = geometry
    n, channels, height, width = out.shape
    source, pixels, zero = x.reshape(-1), out.reshape(-1), np.float32(0)
    places, rows = oh * ow, height + 2 * ph
    pixels[:] = zero
    for c in range(channels):
        for kj in range(kw):
            for b in range(n):
                for q in range(UNSIGNED(rows * ow)):
                    strip[q] = zero
                for ki in range(kh):
                    start = UNSIGNED(run(ki * dh, sh, rows, ow))
                    at = UNSIGNED(((c * kh + ki) * kw + kj) * n * places + b * places)
                    for q in range(UNSIGNED(places)):
                        strip[start + q] += source[at + q]
                paste(strip, (b * channels + c) * height * width, (height, width), kj, geometry, pixels)


FOUR, ONE = products_of(4, TILE // LANES), products_of(1, TILE // LANES)


@compiled(nothing, i64, i64, ten_i64, i64_1d)
def starts(channels: int, height: int, geometry: Geometry, out: NDArray[np.int64]) -> None:
    """Where the runs of the window's cells begin in the strips of so many channels, those of one channel together."""
    kh, kw, sh, _, ph, _, dh, _, _, ow = geometry
    rows = height + 2 * ph
    for c in range(channels):
        for ki in range(kh):
            for kj in range(kw):
                out[(c * kh + ki) * kw + kj] = (c * kw + kj) * rows * ow + run(ki * dh, sh, rows, ow)


@compiled(nothing, in_f32_4d, ten_i64, in_i64_1d, in_f32_2d, in_f32_1d, f32, f32_1d, f32_3d)
def convolve(
    x: F32,
    geometry: Geometry,
    begins: NDArray[np.int64],
    weight: F32,
    bias: F32,
    floor: np.float32,
    strips: F32,
    out: F32,
) -> None:
    """out[b, o, p] = bias[o] + sum of weight[o] times what its window sees at p of image b; `floor` where that is not
    more (0: relu, -infinity: nothing). At least TILE places.

    weight is (O, cells), cells = len(begins), as `starts` finds them for the channels of one group; groups are C over
    those channels. `strips` is memory for the strips of one image. Image by image, in an order that hangs on nothing
    else: a batch's parts give the same bits as the batch.
    """
    _, kw, _, _, ph, _, _, _, oh, ow = geometry
    n, channels, height, width = x.shape
    (outs, cells), places, strip = weight.shape, oh * ow, (height + 2 * ph) * ow
    pixels, weights, target = x.reshape(-1), weight.reshape(-1), out.reshape(-1)
    groups = channels * geometry[0] * kw // cells
    each, wide = outs // groups, channels // groups * kw * strip
    for b in range(n):
        for c in range(channels):
            for kj in range(kw):
                cut(
                    pixels,
                    (b * channels + c) * height * width,
                    (height, width),
                    kj,
                    geometry,
                    strips,
                    (c * kw + kj) * strip,
                )
        for g in range(groups):
            for q in range(0, places, TILE):
                place = min(q, places - TILE)  # the last tile goes over some places once more, to the same end
                for o in range(0, each, 4 if each >= 4 else 1):
                    channel = g * each + (min(o, each - 4) if each >= 4 else o)
                    base, row = UNSIGNED(g * wide + place), UNSIGNED(channel * cells)
                    at = UNSIGNED((b * outs + channel) * places + place)
                    if each >= 4:
                        FOUR(strips, begins, base, weights, row, bias[channel:], floor, target, at, UNSIGNED(places))
                    else:
                        ONE(strips, begins, base, weights, row, bias[channel:], floor, target, at, UNSIGNED(places))


DOTS_4_2, DOTS_4_1, DOTS_1_2, DOTS_1_1 = dots_of(4, 2), dots_of(4, 1), dots_of(1, 2), dots_of(1, 1)


@compiled(nothing, in_f32_3d, in_f32_3d, i64, f64_1d, f32_1d, i64)
def masked(y: F32, dy: F32, b: int, sums: NDArray[np.float64], out: F32, at: int) -> None:
    """dy[b] where y is not 0 (all of it, if there is no y) to out[at:], a row for each channel; each is filled up with
    zeros to whole vectors. sums[o] grows by the channel's sum."""
    channels, places = dy.shape[1], dy.shape[2]
    whole, zero = (places + LANES - 1) // LANES * LANES, np.float32(0)
    for o in range(channels):
        source, target = dy[b, o], out[at + o * whole : at + (o + 1) * whole]
        if y.size:
            gate = y[b, o]
            for p in range(places):
                target[p] = zero if gate[p] == zero else source[p]
        else:
            for p in range(places):
                target[p] = source[p]
        for p in range(places, whole):
            target[p] = zero
        sums[o] += added(target)


@compiled(nothing, in_f32_4d, ten_i64, in_i64_1d, in_f32_3d, in_f32_3d, i64, f32_1d, f32_1d, f32_2d, f64_2d, f64_1d)
def correlate(
    x: F32,
    geometry: Geometry,
    begins: NDArray[np.int64],
    y: F32,
    dy: F32,
    block: int,
    strips: F32,
    rows: F32,
    part: F32,
    grad: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """grad[o] grows by the gradient for weight[o] of `convolve`, sums[o] by that for the bias.

    dy (n, O, P) is the gradient of what it gave, y that itself if there was a relu, else empty. grad (O, cells), cells
    = len(begins). The windows are read from strips, as in `convolve`, those of `block` images at a time, for which
    `strips` and `rows` (O rows of whole vectors an image) have memory. `part` as grad. Sums are of float32 within a
    block, of float64 over blocks.
    """
    _, kw, _, _, ph, _, _, _, _, ow = geometry
    n, channels, height, width = x.shape
    (outs, cells), places, strip = grad.shape, dy.shape[2], (height + 2 * ph) * ow
    pixels, found = x.reshape(-1), part.reshape(-1)
    groups = channels * geometry[0] * kw // cells
    each, wide = outs // groups, channels // groups * kw * strip
    steps = (places + LANES - 1) // LANES
    image, row = channels * kw * strip, steps * LANES
    for start in range(0, n, block):
        count = min(block, n - start)
        for b in range(start, start + count):
            masked(y, dy, b, sums, rows, (b - start) * outs * row)
            for c in range(channels):
                for kj in range(kw):
                    at = (b - start) * image + (c * kw + kj) * strip
                    cut(pixels, (b * channels + c) * height * width, (height, width), kj, geometry, strips, at)
        strips[count * image : count * image + SLACK] = np.float32(0)  # read by the last vectors, times 0
        images = (UNSIGNED(count), UNSIGNED(outs * row), UNSIGNED(image))
        for g in range(groups):
            base = UNSIGNED(g * wide)
            for o in range(0, each, 4 if each >= 4 else 1):
                channel = g * each + (min(o, each - 4) if each >= 4 else o)
                line = UNSIGNED(channel * row)
                for k in range(0, cells, 2 if cells >= 2 else 1):
                    cell = UNSIGNED(min(k, cells - 2) if cells >= 2 else k)
                    at, stride, whole = UNSIGNED(channel * cells) + cell, UNSIGNED(row), UNSIGNED(steps)
                    if each >= 4 and cells >= 2:
                        DOTS_4_2(rows, line, stride, strips, begins, cell, base, images, whole, found, at)
                    elif each >= 4:
                        DOTS_4_1(rows, line, stride, strips, begins, cell, base, images, whole, found, at)
                    elif cells >= 2:
                        DOTS_1_2(rows, line, stride, strips, begins, cell, base, images, whole, found, at)
                    else:
                        DOTS_1_1(rows, line, stride, strips, begins, cell, base, images, whole, found, at)
        for o in range(outs):
            for k in range(cells):
                grad[o, k] += part[o, k]


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
