"""One sweep over memory for each rule. w weights now, g gradient, then = weights at the batch's forward.

All arrays flat, C-contiguous float32, of one length; outputs are new arrays. Scalars float32. `share` (1,
or less where a gradient was clipped) multiplies g first. Every operation is rounded on its own (no fused
multiply-add): same bits everywhere. The compensation is ordered as (lam·g·(w - then))·g: where w = then it
is exactly 0 for any finite lam·g, while g·g would overflow at 2e19. Nothing is checked here.
"""

from __future__ import annotations

import numpy as np

from akkafka.nn.kernels.machine import compiled, f32, f32_1d, f64, in_f32_1d, nothing
from akkafka.nn.layer import F32


@compiled(nothing, in_f32_1d, in_f32_1d, f32, f32, f32, f32_1d)
def sgd(w: F32, g: F32, lr: np.float32, decay: np.float32, share: np.float32, out: F32) -> None:
    """out = w - lr·(share·g + decay·w)."""
    for i in range(w.size):
        out[i] = w[i] - lr * (share * g[i] + decay * w[i])


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, f32, f32, f32, f32_1d, f32_1d)
def momentum(w: F32, g: F32, v: F32, lr: np.float32, beta: np.float32, decay: np.float32, out: F32, out_v: F32) -> None:
    """out_v = beta·v + (1 - beta)·(g + decay·w); out = w - lr·out_v."""
    rest = np.float32(1) - beta
    for i in range(w.size):
        out_v[i] = beta * v[i] + rest * (g[i] + decay * w[i])
        out[i] = w[i] - lr * out_v[i]


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, f32, f32_1d)
def compensate(g: F32, now: F32, then: F32, lam: np.float32, out: F32) -> None:
    """out = g + lam·g·(now - then)·g."""
    for i in range(g.size):
        out[i] = g[i] + lam * g[i] * (now[i] - then[i]) * g[i]


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, f32, f32, f32_1d)
def dc_asgd_c(w: F32, g: F32, then: F32, lr: np.float32, lam: np.float32, out: F32) -> None:
    """out = w - lr·(g + lam·g·(w - then)·g)."""
    for i in range(w.size):
        out[i] = w[i] - lr * (g[i] + lam * g[i] * (w[i] - then[i]) * g[i])


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, in_f32_1d, f32, f32, f32, f32, f32_1d, f32_1d)
def dc_asgd_a(
    w: F32,
    g: F32,
    then: F32,
    ms: F32,
    lr: np.float32,
    lam: np.float32,
    m: np.float32,
    eps: np.float32,
    out: F32,
    out_ms: F32,
) -> None:
    """out_ms = m·ms + (1 - m)·g·g; out = w - lr·(g + lam/sqrt(out_ms + eps)·g·(w - then)·g)."""
    rest = np.float32(1) - m
    for i in range(w.size):
        out_ms[i] = m * ms[i] + rest * g[i] * g[i]
        scaled = lam / np.sqrt(out_ms[i] + eps)
        out[i] = w[i] - lr * (g[i] + scaled * g[i] * (w[i] - then[i]) * g[i])


@compiled(f64, in_f32_1d)
def sum_of_squares(x: F32) -> float:
    """Sum of x², in float64, in order."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * np.float64(x[i])
    return total


@compiled(f64, in_f32_1d, in_f32_1d, in_f32_1d, f32)
def compensation_squares_c(w: F32, g: F32, then: F32, lam: np.float32) -> float:
    """Sum of the squares of lam·g·(w - then)·g, in float64, in order."""
    total = 0.0
    for i in range(w.size):
        c = np.float64(lam * g[i] * (w[i] - then[i]) * g[i])
        total += c * c
    return total


@compiled(f64, in_f32_1d, in_f32_1d, in_f32_1d, in_f32_1d, f32, f32, f32)
def compensation_squares_a(
    w: F32, g: F32, then: F32, ms: F32, lam: np.float32, m: np.float32, eps: np.float32
) -> float:
    """As `compensation_squares_c`, with the lam of each weight that `dc_asgd_a` would use."""
    rest = np.float32(1) - m
    total = 0.0
    for i in range(w.size):
        scaled = lam / np.sqrt(m * ms[i] + rest * g[i] * g[i] + eps)
        c = np.float64(scaled * g[i] * (w[i] - then[i]) * g[i])
        total += c * c
    return total
