"""Losses on real numbers: the sum of the loss, and its gradient, in one sweep; exp and log as in softmax.py.

x outputs, t targets, flat, C-contiguous float32, of one length; the gradient of the mean goes to `out`, share is
1 / length. Sums in float64, in order. Nothing is checked here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from akkafka.nn.kernels.machine import compiled, f32, f32_1d, f64, f64_pair, i64, in_f32_1d, in_f32_2d, in_i64_1d
from akkafka.nn.layer import F32

LOG2_E = 1.4426950408889634
LN2_HIGH = 6.93147180369123816490e-01
LN2_LOW = 1.90821492927058770002e-10
ROUNDER = 6755399441055744.0
UNDERFLOW = -708.0
ONE = np.int64(0x3FF0000000000000)
S52 = np.int64(52)


@compiled(f64, f64)
def exp(x: np.float64) -> np.float64:
    """e**x for x ≤ 0, as softmax.exp."""
    shifted = x * LOG2_E + ROUNDER
    k = shifted - ROUNDER
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    p = 1.0 + r * (1 / 11)
    for n in (10, 9, 8, 7, 6, 5, 4, 3, 2, 1):
        p = 1.0 + r * p * (1.0 / n)
    power = np.int64((np.float64(shifted).view(np.int64) << S52) + ONE).view(np.float64)
    return p * power if not x < UNDERFLOW else np.float64(0)


@compiled(f64, f64)
def log_of_one_plus(e: np.float64) -> np.float64:
    """log(1 + e) for 0 ≤ e ≤ 1, relative error below 1e-15: 2·(f + f³/3 + f⁵/5 + …), f = e / (2 + e) ≤ 1/3."""
    f = e / (2.0 + e)
    square = f * f
    series = 0.0
    for n in (33, 31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3):
        series = (series + 1.0 / n) * square
    return 2.0 * f * (1.0 + series)


@compiled(f64_pair, in_f32_1d, in_f32_1d, f64, f32_1d)
def binary_cross_entropy(x: F32, t: F32, share: float, out: F32) -> tuple[float, float]:
    """Sum of max(x, 0) - x·t + log(1 + exp(-|x|)); hits: x > 0 where t > 1/2. out = (sigmoid(x) - t)·share."""
    loss, hits = 0.0, 0.0
    for i in range(x.size):
        z, target = np.float64(x[i]), np.float64(t[i])
        e = exp(-abs(z))
        loss += (z if z > 0 else 0.0 * z) - z * target + log_of_one_plus(e)
        sigmoid = (1.0 if z > 0 else e) / (1.0 + e)
        out[i] = np.float32((sigmoid - target) * share) if z == z else x[i]
        hits += 1.0 if (z > 0) == (target > 0.5) and z == z else 0.0
    return loss, hits


@compiled(f64_pair, in_f32_1d, in_f32_1d, f64, f32_1d)
def squared(x: F32, t: F32, share: float, out: F32) -> tuple[float, float]:
    """Sum of (x - t)², sum of |x - t|; out = 2·(x - t)·share."""
    loss, way = 0.0, 0.0
    for i in range(x.size):
        d = np.float64(x[i]) - np.float64(t[i])
        loss += d * d
        way += abs(d)
        out[i] = np.float32(2.0 * d * share)
    return loss, way


@compiled(f64_pair, in_f32_1d, in_f32_1d, f64, f32_1d)
def absolute(x: F32, t: F32, share: float, out: F32) -> tuple[float, float]:
    """Sum of |x - t|, twice; out = sign(x - t)·share, 0 where they are equal."""
    way = 0.0
    for i in range(x.size):
        d = np.float64(x[i]) - np.float64(t[i])
        way += abs(d)
        sign = 1.0 if d > 0 else d
        out[i] = np.float32((-1.0 if d < 0 else sign) * share)
    return way, way


@compiled(f64_pair, in_f32_1d, in_f32_1d, f64, f64, f32_1d)
def huber(x: F32, t: F32, delta: float, share: float, out: F32) -> tuple[float, float]:
    """Sum of d²/2 where |d| ≤ delta, else delta·(|d| - delta/2), d = x - t; sum of |d|; out: the gradient."""
    loss, way = 0.0, 0.0
    for i in range(x.size):
        d = np.float64(x[i]) - np.float64(t[i])
        size = abs(d)
        way += size
        loss += 0.5 * d * d if size <= delta else delta * (size - 0.5 * delta)
        high = delta if d > delta else d
        out[i] = np.float32((-delta if d < -delta else high) * share)
    return loss, way


@compiled(f64, in_f32_2d, in_i64_1d, f32, f32_1d)
def smooth(logits: F32, targets: NDArray[np.int64], smoothing: np.float32, out: F32) -> float:
    """What label smoothing adds to the sum of losses; `out`, the flat gradient of the mean, is corrected in place.

    smoothing·(logit of the target - mean of the logits), so with targets (1 - smoothing)·one-hot + smoothing / C.
    """
    batch, classes = logits.shape
    share = np.float64(smoothing) / batch
    added = 0.0
    for i in range(batch):
        total = 0.0
        for j in range(classes):
            total += np.float64(logits[i, j])
            out[i * classes + j] = np.float32(out[i * classes + j] - share / classes)
        hot = i * classes + targets[i]
        out[hot] = np.float32(out[hot] + share)
        added += np.float64(logits[i, targets[i]]) - total / classes
    return added * np.float64(smoothing)


@compiled(i64, in_f32_2d, in_i64_1d, i64)
def among_the_greatest(logits: F32, targets: NDArray[np.int64], k: int) -> int:
    """Rows with fewer than k logits that are greater than the target's, or equal and before it."""
    found = 0
    for i in range(logits.shape[0]):
        target = targets[i]
        own, ahead = logits[i, target], 0
        for j in range(logits.shape[1]):
            ahead += 1 if logits[i, j] > own or (logits[i, j] == own and j < target) else 0
        found += 1 if ahead < k and own == own else 0
    return found
