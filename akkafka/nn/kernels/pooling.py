"""Windows over images without weights: greatest, mean, and both over the whole image.

Images x are (R, H, W), R = batch · channels; outputs (R, oh, ow); all C-contiguous float32. `geometry` as in
convolution.py. Nothing is checked here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from akkafka.nn.kernels.machine import (
    compiled,
    f32_3d,
    f64,
    f64_1d,
    i32_3d,
    i64,
    i64_pair,
    in_f32_1d,
    in_f32_2d,
    in_f32_3d,
    in_i32_3d,
    nothing,
    ten_i64,
)
from akkafka.nn.layer import F32
from akkafka.nn.window import Geometry


@compiled(i64_pair, i64, i64, i64, i64)
def cells(start: int, gap: int, count: int, size: int) -> tuple[int, int]:
    """First and last + 1 of the window's cells start + cell·gap that are in 0…size - 1."""
    first = 0 if start >= 0 else (-start + gap - 1) // gap
    return first, min(count, (size - 1 - start) // gap + 1)


@compiled(nothing, in_f32_3d, f32_3d, i32_3d)
def greatest_of_four(x: F32, out: F32, where: NDArray[np.int32]) -> None:
    """As `greatest`, for windows of 2 x 2 that lie side by side: what is known beforehand needs no loop."""
    width = x.shape[2]
    for r in range(x.shape[0]):
        for p in range(out.shape[1]):
            upper, lower, best_of, place_of = x[r, 2 * p], x[r, 2 * p + 1], out[r, p], where[r, p]
            row = np.int32(2 * p * width)
            for q in range(np.uint64(out.shape[2])):
                left, right = q + q, q + q + np.uint64(1)
                best, place = upper[left], row + np.int32(2) * np.int32(q)
                value, at = upper[right], place + np.int32(1)
                taken = (value > best) | (value != value)
                best, place = (value if taken else best), (at if taken else place)
                value, at = lower[left], row + np.int32(width) + np.int32(2) * np.int32(q)
                taken = (value > best) | (value != value)
                best, place = (value if taken else best), (at if taken else place)
                value, at = lower[right], at + np.int32(1)
                taken = (value > best) | (value != value)
                best, place = (value if taken else best), (at if taken else place)
                best_of[q], place_of[q] = best, place


@compiled(nothing, in_f32_3d, ten_i64, f32_3d, i32_3d)
def greatest(x: F32, geometry: Geometry, out: F32, where: NDArray[np.int32]) -> None:
    """out = greatest of each window (the rim is not seen, not-a-number passes), where = its y·W + x, the first's.

    Which of two numbers is greater is chance: the choice is made without a jump, that a processor would guess wrong.
    """
    kh, kw, sh, sw, ph, pw, dh, dw, oh, ow = geometry
    if kh == kw == sh == sw == 2 and dh == dw == 1 and ph == pw == 0:
        greatest_of_four(x, out, where)
        return
    height, width = x.shape[1], x.shape[2]
    for r in range(x.shape[0]):
        pixels = x[r].reshape(-1)
        for p in range(oh):
            top = p * sh - ph
            i0, i1 = cells(top, dh, kh, height)
            for q in range(ow):
                left = q * sw - pw
                j0, j1 = 0, kw
                if left < 0 or left + (kw - 1) * dw >= width:  # at the rim; a division takes longer than a small window
                    j0, j1 = cells(left, dw, kw, width)
                place = np.uint64((top + i0 * dh) * width + left + j0 * dw)
                best = pixels[place]
                for i in range(i0, i1):
                    for j in range(j0, j1):
                        at = np.uint64((top + i * dh) * width + left + j * dw)
                        value = pixels[at]
                        taken = (value > best) | (value != value)
                        best = value if taken else best
                        place = at if taken else place
                out[r, p, q] = best
                where[r, p, q] = np.int32(place)


@compiled(nothing, in_f32_3d, in_i32_3d, f32_3d)
def greatest_backward(dy: F32, where: NDArray[np.int32], out: F32) -> None:
    """out = 0, plus dy at the place that was the greatest."""
    out[:] = np.float32(0)
    for r in range(dy.shape[0]):
        target = out[r].reshape(-1)
        for p in range(dy.shape[1]):
            for q in range(dy.shape[2]):
                target[where[r, p, q]] += dy[r, p, q]


@compiled(nothing, in_f32_3d, ten_i64, f32_3d)
def mean(x: F32, geometry: Geometry, out: F32) -> None:
    """out = sum of each window / (kh·kw): the rim counts as 0."""
    kh, kw, sh, sw, ph, pw, _, _, oh, ow = geometry
    height, width = x.shape[1], x.shape[2]
    share = np.float32(1.0 / (kh * kw))
    for r in range(x.shape[0]):
        for p in range(oh):
            top, bottom = max(p * sh - ph, 0), min(p * sh - ph + kh, height)
            for q in range(ow):
                left, right = max(q * sw - pw, 0), min(q * sw - pw + kw, width)
                total = np.float32(0)
                for y in range(top, bottom):
                    for z in range(left, right):
                        total += x[r, y, z]
                out[r, p, q] = total * share


@compiled(nothing, in_f32_3d, ten_i64, f32_3d)
def mean_backward(dy: F32, geometry: Geometry, out: F32) -> None:
    """out = 0, plus dy / (kh·kw) at every place of the window."""
    kh, kw, sh, sw, ph, pw, _, _, oh, ow = geometry
    height, width = out.shape[1], out.shape[2]
    share = np.float32(1.0 / (kh * kw))
    out[:] = np.float32(0)
    for r in range(dy.shape[0]):
        for p in range(oh):
            top, bottom = max(p * sh - ph, 0), min(p * sh - ph + kh, height)
            for q in range(ow):
                left, right = max(q * sw - pw, 0), min(q * sw - pw + kw, width)
                part = dy[r, p, q] * share
                for y in range(top, bottom):
                    for z in range(left, right):
                        out[r, y, z] += part


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


@compiled(nothing, in_f32_2d, f64_1d)
def sums(x: F32, out: NDArray[np.float64]) -> None:
    """out[r] = sum of x[r], in float64."""
    for r in range(x.shape[0]):
        out[r] = added(x[r])
