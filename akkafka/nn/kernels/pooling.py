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
    in_f32_1d,
    in_f32_2d,
    in_f32_3d,
    in_i32_3d,
    nothing,
    ten_i64,
)
from akkafka.nn.layer import F32
from akkafka.nn.window import Geometry


@compiled(nothing, in_f32_3d, ten_i64, f32_3d, i32_3d)
def greatest(x: F32, geometry: Geometry, out: F32, where: NDArray[np.int32]) -> None:
    """out = greatest of each window (the rim is not seen, not-a-number passes), where = its y·W + x, the first's."""
    kh, kw, sh, sw, ph, pw, dh, dw, oh, ow = geometry
    height, width = x.shape[1], x.shape[2]
    for r in range(x.shape[0]):
        for p in range(oh):
            for q in range(ow):
                best, place = np.float32(-np.inf), np.int32(-1)
                for i in range(kh):
                    y = p * sh - ph + i * dh
                    if y < 0 or y >= height:
                        continue
                    for j in range(kw):
                        z = q * sw - pw + j * dw
                        if z < 0 or z >= width:
                            continue
                        value = x[r, y, z]
                        if value > best or place < 0 or value != value:
                            best, place = value, np.int32(y * width + z)
                out[r, p, q] = best
                where[r, p, q] = place


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
