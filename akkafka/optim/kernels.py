"""One sweep over memory for each rule. w weights now, g gradient, then = weights at the batch's forward.

All arrays flat, C-contiguous float32, of one length; outputs are new arrays. Scalars float32. Every rule takes lr,
decay and share first: what it works on is share·g + decay·w, share being 1, or less where a gradient was clipped.
Where a rule has b and rest, rest is 1 - b, rounded from float64: 1 - 0.999 in float32 is wrong in the fifth digit.
Every operation is rounded on its own (no fused multiply-add): same bits everywhere. The compensation is ordered as
(lam·g·(w - then))·g: where w = then it is exactly 0 for any finite lam·g, while g·g would overflow at 2e19.
Nothing is checked here.
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


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, f32, f32, f32, f32, f32_1d, f32_1d)
def momentum(
    w: F32,
    g: F32,
    v: F32,
    lr: np.float32,
    decay: np.float32,
    share: np.float32,
    beta: np.float32,
    out: F32,
    out_v: F32,
) -> None:
    """out_v = beta·v + (1 - beta)·g; out = w - lr·out_v."""
    rest = np.float32(1) - beta
    for i in range(w.size):
        out_v[i] = beta * v[i] + rest * (share * g[i] + decay * w[i])
        out[i] = w[i] - lr * out_v[i]


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, f32, f32, f32, f32, f32, f32_1d, f32_1d)
def spike(
    w: F32,
    g: F32,
    v: F32,
    lr: np.float32,
    decay: np.float32,
    share: np.float32,
    beta: np.float32,
    a: np.float32,
    out: F32,
    out_v: F32,
) -> None:
    """out_v = beta·v + (1 - beta)·g; out = w - lr·(a·out_v + (1 - a)·g). a = 1: momentum; a = beta: Nesterov."""
    rest, other = np.float32(1) - beta, np.float32(1) - a
    for i in range(w.size):
        full = share * g[i] + decay * w[i]
        out_v[i] = beta * v[i] + rest * full
        out[i] = w[i] - lr * (a * out_v[i] + other * full)


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, f32, f32, f32, f32, f32_1d, f32_1d)
def nesterov_async(
    w: F32,
    g: F32,
    x: F32,
    lr: np.float32,
    decay: np.float32,
    share: np.float32,
    gamma: np.float32,
    out: F32,
    out_x: F32,
) -> None:
    """out_x = w - lr·(1 - gamma)·g; out = out_x + gamma·(out_x - x)."""
    step = lr * (np.float32(1) - gamma)
    for i in range(w.size):
        out_x[i] = w[i] - step * (share * g[i] + decay * w[i])
        out[i] = out_x[i] + gamma * (out_x[i] - x[i])


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, in_f32_1d, f32, f32, f32, f32, f32, f32_1d, f32_1d, f32_1d)
def spectrain(
    w: F32,
    g: F32,
    x: F32,
    v: F32,
    lr: np.float32,
    decay: np.float32,
    share: np.float32,
    beta: np.float32,
    ahead: np.float32,
    out: F32,
    out_x: F32,
    out_v: F32,
) -> None:
    """out_v = beta·v + (1 - beta)·g, decay by x; out_x = x - lr·out_v; out = out_x - ahead·lr·out_v."""
    rest = np.float32(1) - beta
    for i in range(w.size):
        out_v[i] = beta * v[i] + rest * (share * g[i] + decay * x[i])
        out_x[i] = x[i] - lr * out_v[i]
        out[i] = out_x[i] - ahead * lr * out_v[i]


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, in_f32_1d, *(f32,) * 11, f32_1d, f32_1d, f32_1d)
def adam(
    w: F32,
    g: F32,
    m: F32,
    u: F32,
    lr: np.float32,
    decay: np.float32,
    share: np.float32,
    b1: np.float32,
    rest1: np.float32,
    b2: np.float32,
    rest2: np.float32,
    eps: np.float32,
    c1: np.float32,
    c2: np.float32,
    keep: np.float32,
    out: F32,
    out_m: F32,
    out_u: F32,
) -> None:
    """out_m = b1·m + rest1·g; out_u = b2·u + rest2·g²; out = keep·w - lr·(out_m·c1) / (sqrt(out_u)·c2 + eps)."""
    for i in range(w.size):
        full = share * g[i] + decay * w[i]
        out_m[i] = b1 * m[i] + rest1 * full
        out_u[i] = b2 * u[i] + rest2 * full * full
        out[i] = keep * w[i] - lr * (out_m[i] * c1) / (np.sqrt(out_u[i]) * c2 + eps)


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, in_f32_1d, *(f32,) * 11, f32_1d, f32_1d, f32_1d)
def nadam(
    w: F32,
    g: F32,
    m: F32,
    u: F32,
    lr: np.float32,
    decay: np.float32,
    share: np.float32,
    b1: np.float32,
    rest1: np.float32,
    b2: np.float32,
    rest2: np.float32,
    eps: np.float32,
    c2: np.float32,
    now: np.float32,
    ahead: np.float32,
    out: F32,
    out_m: F32,
    out_u: F32,
) -> None:
    """out_m, out_u as in adam; out = w - lr·(now·g + ahead·out_m) / (sqrt(out_u)·c2 + eps)."""
    for i in range(w.size):
        full = share * g[i] + decay * w[i]
        out_m[i] = b1 * m[i] + rest1 * full
        out_u[i] = b2 * u[i] + rest2 * full * full
        out[i] = w[i] - lr * (now * full + ahead * out_m[i]) / (np.sqrt(out_u[i]) * c2 + eps)


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, *(f32,) * 6, f32_1d, f32_1d)
def root_mean_square(
    w: F32,
    g: F32,
    u: F32,
    lr: np.float32,
    decay: np.float32,
    share: np.float32,
    b: np.float32,
    rest: np.float32,
    eps: np.float32,
    out: F32,
    out_u: F32,
) -> None:
    """out_u = b·u + rest·g²; out = w - lr·g / (sqrt(out_u) + eps). b = rest = 1: Adagrad."""
    for i in range(w.size):
        full = share * g[i] + decay * w[i]
        out_u[i] = b * u[i] + rest * full * full
        out[i] = w[i] - lr * full / (np.sqrt(out_u[i]) + eps)


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, *(f32,) * 8, f32_1d, f32_1d)
def lion(
    w: F32,
    g: F32,
    m: F32,
    lr: np.float32,
    decay: np.float32,
    share: np.float32,
    b1: np.float32,
    rest1: np.float32,
    b2: np.float32,
    rest2: np.float32,
    keep: np.float32,
    out: F32,
    out_m: F32,
) -> None:
    """out = keep·w - lr·sign(b1·m + rest1·g); out_m = b2·m + rest2·g. Not-a-number has itself for a sign."""
    one = np.float32(1)
    for i in range(w.size):
        full = share * g[i] + decay * w[i]
        c = b1 * m[i] + rest1 * full
        sign = one if c > 0 else c
        sign = -one if c < 0 else sign
        out[i] = keep * w[i] - lr * sign
        out_m[i] = b2 * m[i] + rest2 * full


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, f32, f32_1d)
def compensate(g: F32, now: F32, then: F32, lam: np.float32, out: F32) -> None:
    """out = g + lam·g·(now - then)·g."""
    for i in range(g.size):
        out[i] = g[i] + lam * g[i] * (now[i] - then[i]) * g[i]


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, f32, f32, f32, f32, f32_1d)
def dc_asgd_c(
    w: F32, g: F32, then: F32, lr: np.float32, decay: np.float32, share: np.float32, lam: np.float32, out: F32
) -> None:
    """out = w - lr·(g + lam·g·(w - then)·g + decay·w), g already times share."""
    for i in range(w.size):
        part = share * g[i]
        out[i] = w[i] - lr * (part + lam * part * (w[i] - then[i]) * part + decay * w[i])


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, in_f32_1d, *(f32,) * 6, f32_1d, f32_1d)
def dc_asgd_a(
    w: F32,
    g: F32,
    then: F32,
    ms: F32,
    lr: np.float32,
    decay: np.float32,
    share: np.float32,
    lam: np.float32,
    m: np.float32,
    eps: np.float32,
    out: F32,
    out_ms: F32,
) -> None:
    """out_ms = m·ms + (1 - m)·g·g; out = w - lr·(g + lam/sqrt(out_ms + eps)·g·(w - then)·g + decay·w)."""
    rest = np.float32(1) - m
    for i in range(w.size):
        part = share * g[i]
        out_ms[i] = m * ms[i] + rest * part * part
        scaled = lam / np.sqrt(out_ms[i] + eps)
        out[i] = w[i] - lr * (part + scaled * part * (w[i] - then[i]) * part + decay * w[i])


@compiled(nothing, in_f32_1d, in_f32_1d, in_f32_1d, in_f32_1d, *(f32,) * 5, f32_1d, f32_1d)
def shrink_by_gap(
    w: F32,
    g: F32,
    then: F32,
    u: F32,
    lr: np.float32,
    b: np.float32,
    rest: np.float32,
    c: np.float32,
    eps: np.float32,
    out: F32,
    out_u: F32,
) -> None:
    """out_u = b·u + rest·g²; out = g / (1 + |w - then| / (lr·sqrt(out_u·c) + eps))."""
    one = np.float32(1)
    for i in range(w.size):
        out_u[i] = b * u[i] + rest * g[i] * g[i]
        usual = lr * np.sqrt(out_u[i] * c) + eps
        out[i] = g[i] / (one + abs(w[i] - then[i]) / usual)


@compiled(nothing, in_f32_1d, f32, f32_1d)
def limit(g: F32, greatest: np.float32, out: F32) -> None:
    """out = g within ±greatest; what is not finite stays, so that it is noticed."""
    infinite = np.float32(np.inf)
    for i in range(g.size):
        high = greatest if g[i] > greatest and g[i] < infinite else g[i]
        out[i] = -greatest if high < -greatest and high > -infinite else high


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
