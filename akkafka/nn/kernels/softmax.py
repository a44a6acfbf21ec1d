"""Softmax, cross-entropy, its gradient and the count of hits in one sweep over the logits.

exp and log are written out here, in + − × ÷ and moves of bits: the C library's differ from machine to
machine in the last bit, and a loss's gradient should depend on nothing but the logits. They stand in this
file because numba's cache looks only at the file of the kernel itself: a change in another file would go
unnoticed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from akkafka.nn.kernels.machine import (
    compiled,
    f32,
    f32_1d,
    f32_2d,
    f64,
    in_f32_1d,
    in_f32_2d,
    in_i64_1d,
    loss_hits_bad,
    nothing,
)
from akkafka.nn.layer import F32

LOG2_E = 1.4426950408889634
LN2_HIGH = 6.93147180369123816490e-01  # its last 21 bits are 0, so that k · LN2_HIGH is exact
LN2_LOW = 1.90821492927058770002e-10
ROUNDER = 6755399441055744.0  # 1.5 · 2**52: adding it leaves a float's nearest whole number in its lowest bits
UNDERFLOW = -708.0
SQRT_2 = 1.4142135623730951
MANTISSA = np.int64(0x000FFFFFFFFFFFFF)
ONE = np.int64(0x3FF0000000000000)  # the bits of 1.0
S52 = np.int64(52)

# the same in float32
F_LOG2_E = np.float32(1.4426950408889634)
F_LN2_HIGH = np.float32(0.693359375)  # 10 bits, so that k · F_LN2_HIGH is exact
F_LN2_LOW = np.float32(-2.1219444005469057e-4)
F_ROUNDER = np.float32(12582912.0)  # 1.5 · 2**23
F_UNDERFLOW = np.float32(-87.0)
F_ONE = np.int32(0x3F800000)
S23 = np.int32(23)
F1 = np.float32(1)


@compiled(f64, f64)
def exp(x: np.float64) -> np.float64:
    """e**x for x ≤ 0, relative error below 2e-14; 0 below -708; not-a-number for itself."""
    shifted = x * LOG2_E + ROUNDER
    k = shifted - ROUNDER
    r = (x - k * LN2_HIGH) - k * LN2_LOW  # |r| ≤ ln(2) / 2
    p = 1.0 + r * (1 / 11)
    for n in (10, 9, 8, 7, 6, 5, 4, 3, 2, 1):
        p = 1.0 + r * p * (1.0 / n)
    power = np.int64((np.float64(shifted).view(np.int64) << S52) + ONE).view(np.float64)  # 2**k
    return p * power if not x < UNDERFLOW else np.float64(0)


@compiled(f64, f64)
def log(x: np.float64) -> np.float64:
    """Natural logarithm of x ≥ 1, error below 1e-15 · max(1, log x); infinity and not-a-number for
    themselves."""
    if not x < np.inf:
        return x
    bits = np.float64(x).view(np.int64)
    k = np.float64((bits >> S52) - np.int64(1023))
    m = np.int64((bits & MANTISSA) | ONE).view(np.float64)
    if m > SQRT_2:
        m, k = m * 0.5, k + 1.0
    f = (m - 1.0) / (m + 1.0)  # log(m) = 2 (f + f**3/3 + f**5/5 + …), |f| < 0.172
    square = f * f
    series = 0.0
    for n in (21, 19, 17, 15, 13, 11, 9, 7, 5, 3):
        series = (series + 1.0 / n) * square
    return k * LN2_HIGH + (2.0 * f * (1.0 + series) + k * LN2_LOW)


@compiled(loss_hits_bad, in_f32_2d, in_i64_1d, f32_2d)
def cross_entropy(logits: F32, targets: NDArray[np.int64], dlogits: F32) -> tuple[float, int, int]:
    """(mean loss, hits, -1), `dlogits` filled; or (0, 0, i) if the target of sample i is not one of the
    classes.

    logits and dlogits (B, C), targets (B,), B and C at least 1. Per row: p = exp(l - max) / sum,
    dlogits = (p - one-hot) / B, loss = log(sum) - (l[target] - max).
    """
    batch, classes = logits.shape
    for i in range(batch):
        if targets[i] < 0 or targets[i] >= classes:
            return 0.0, 0, i
    loss, correct = 0.0, 0
    share = 1.0 / batch
    exps = np.empty(classes, np.float64)
    for i in range(batch):
        best = 0
        for j in range(1, classes):
            if logits[i, j] > logits[i, best]:
                best = j
        greatest = np.float64(logits[i, best])
        total = 0.0
        for j in range(classes):
            exps[j] = exp(np.float64(logits[i, j]) - greatest)
        for j in range(classes):
            total += exps[j]
        inverse = 1.0 / total
        target = targets[i]
        for j in range(classes):
            hot = 1.0 if j == target else 0.0
            dlogits[i, j] = np.float32((exps[j] * inverse - hot) * share)
        loss += log(np.float64(total)) - (np.float64(logits[i, target]) - greatest)
        if best == target and total == total:
            correct += 1
    return loss * share, correct, -1


@compiled(f32, f32)
def exp_single(x: np.float32) -> np.float32:
    """e**x for x ≤ 0, relative error below 3e-7; 0 below -87; not-a-number for itself."""
    shifted = x * F_LOG2_E + F_ROUNDER
    k = shifted - F_ROUNDER
    r = (x - k * F_LN2_HIGH) - k * F_LN2_LOW  # |r| ≤ ln(2) / 2
    p = np.float32(1 / 720) + r * np.float32(1 / 5040)
    p = np.float32(1 / 120) + r * p
    p = np.float32(1 / 24) + r * p
    p = np.float32(1 / 6) + r * p
    p = np.float32(0.5) + r * p
    p = F1 + r * p
    p = F1 + r * p
    power = np.int32((np.float32(shifted).view(np.int32) << S23) + F_ONE).view(np.float32)  # 2**k
    return p * power if not x < F_UNDERFLOW else np.float32(0)


@compiled(f32, in_f32_1d)
def greatest_of(x: F32) -> np.float32:
    """The greatest number: those of every eighth, side by side, then of these. Not-a-number is passed over."""
    a = b = c = d = e = f = g = h = x[0]
    whole = x.size // 8 * 8
    for i in range(0, whole, 8):
        a = x[i] if x[i] > a else a
        b = x[i + 1] if x[i + 1] > b else b
        c = x[i + 2] if x[i + 2] > c else c
        d = x[i + 3] if x[i + 3] > d else d
        e = x[i + 4] if x[i + 4] > e else e
        f = x[i + 5] if x[i + 5] > f else f
        g = x[i + 6] if x[i + 6] > g else g
        h = x[i + 7] if x[i + 7] > h else h
    for i in range(whole, x.size):
        a = x[i] if x[i] > a else a
    return max(max(max(a, b), max(c, d)), max(max(e, f), max(g, h)))


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


@compiled(f64, in_f32_1d, in_f32_1d)
def products(x: F32, y: F32) -> float:
    """Sum of x·y in float64, in the order of `added`."""
    a, b, c, d, e, f, g, h = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    whole = x.size // 8 * 8
    for i in range(0, whole, 8):
        a += np.float64(x[i]) * np.float64(y[i])
        b += np.float64(x[i + 1]) * np.float64(y[i + 1])
        c += np.float64(x[i + 2]) * np.float64(y[i + 2])
        d += np.float64(x[i + 3]) * np.float64(y[i + 3])
        e += np.float64(x[i + 4]) * np.float64(y[i + 4])
        f += np.float64(x[i + 5]) * np.float64(y[i + 5])
        g += np.float64(x[i + 6]) * np.float64(y[i + 6])
        h += np.float64(x[i + 7]) * np.float64(y[i + 7])
    for i in range(whole, x.size):
        a += np.float64(x[i]) * np.float64(y[i])
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@compiled(nothing, in_f32_1d, f32_1d)
def one_row(x: F32, out: F32) -> None:
    """out = exp(x - max) / sum; both (n,), n at least 1. exp in float32, its sum in float64."""
    greatest = greatest_of(x)
    for j in range(x.size):
        out[j] = exp_single(x[j] - greatest)
    inverse = np.float32(1.0 / added(out))
    for j in range(x.size):
        out[j] *= inverse


@compiled(nothing, in_f32_2d, f32_2d)
def rows(x: F32, out: F32) -> None:
    """out = exp(x - max) / sum for each row; both (R, n), n at least 1."""
    for i in range(x.shape[0]):
        one_row(x[i], out[i])


@compiled(nothing, in_f32_2d, in_f32_2d, f32_2d)
def rows_backward(y: F32, dy: F32, out: F32) -> None:
    """out = y·(dy - sum of y·dy) for each row of the softmax y; all (R, n)."""
    for i in range(y.shape[0]):
        source, grad, target = y[i], dy[i], out[i]
        total = np.float32(products(source, grad))
        for j in range(source.size):
            target[j] = source[j] * (grad[j] - total)


@compiled(nothing, in_f32_2d, f32_2d)
def rows_so_far(x: F32, out: F32) -> None:
    """As `rows`, with row i of each block of n rows seeing its numbers 0…i alone; the others are 0. x (R, n)."""
    n = x.shape[1]
    for i in range(x.shape[0]):
        seen = i % n + 1
        one_row(x[i, :seen], out[i, :seen])
        for j in range(seen, n):
            out[i, j] = np.float32(0)
