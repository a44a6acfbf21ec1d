"""Softmax, cross-entropy, its gradient and the count of hits in one sweep over the logits.

exp and log are written out here, in + − × ÷ and moves of bits: the C library's differ from machine to
machine in the last bit, and a loss's gradient should depend on nothing but the logits. They stand in this
file because numba's cache looks only at the file of the kernel itself: a change in another file would go
unnoticed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from akkafka.nn.kernels.machine import compiled, f32_2d, f64, in_f32_2d, in_i64_1d, loss_hits_bad, nothing
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


@compiled(nothing, in_f32_2d, f32_2d)
def rows(x: F32, out: F32) -> None:
    """out = exp(x - max) / sum for each row; both (R, n), n at least 1. Summed in float64, in order."""
    n = x.shape[1]
    exps = np.empty(n, np.float64)
    for i in range(x.shape[0]):
        greatest = np.float64(x[i, 0])
        for j in range(1, n):
            greatest = max(greatest, np.float64(x[i, j]))
        for j in range(n):
            exps[j] = exp(np.float64(x[i, j]) - greatest)
        total = 0.0
        for j in range(n):
            total += exps[j]
        inverse = 1.0 / total
        for j in range(n):
            out[i, j] = np.float32(exps[j] * inverse)


@compiled(nothing, in_f32_2d, in_f32_2d, f32_2d)
def rows_backward(y: F32, dy: F32, out: F32) -> None:
    """out = y·(dy - sum of y·dy) for each row of the softmax y; all (R, n)."""
    for i in range(y.shape[0]):
        total = 0.0
        for j in range(y.shape[1]):
            total += np.float64(y[i, j]) * np.float64(dy[i, j])
        for j in range(y.shape[1]):
            out[i, j] = np.float32(np.float64(y[i, j]) * (np.float64(dy[i, j]) - total))


@compiled(nothing, in_f32_2d, f32_2d)
def rows_so_far(x: F32, out: F32) -> None:
    """As `rows`, with row i of each block of n rows seeing its numbers 0…i alone; the others are 0. x (R, n)."""
    n = x.shape[1]
    exps = np.empty(n, np.float64)
    for i in range(x.shape[0]):
        seen = i % n + 1
        greatest = np.float64(x[i, 0])
        for j in range(1, seen):
            greatest = max(greatest, np.float64(x[i, j]))
        for j in range(seen):
            exps[j] = exp(np.float64(x[i, j]) - greatest)
        total = 0.0
        for j in range(seen):
            total += exps[j]
        inverse = 1.0 / total
        for j in range(seen):
            out[i, j] = np.float32(exps[j] * inverse)
        for j in range(seen, n):
            out[i, j] = np.float32(0)
