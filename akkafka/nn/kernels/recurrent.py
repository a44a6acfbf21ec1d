"""One step of a recurrent cell for a whole batch, and the same step back.

All arrays C-contiguous float32. zx (B, k·H) is what comes of the input, zh (B, k·H) what comes of the state, h and c
are the state before, (B, H); `kept` is what the way back needs, `out_h` and `out_c` the state after. Going back, dh
and dc are the gradients of the state after; `dzx` and `dzh` those of zx and zh; `out_h` that part of the gradient of h
that does not go through zh, `out_c` the gradient of c. exp as in activation.py. Nothing is checked here.
"""

from __future__ import annotations

import numpy as np

from akkafka.nn.kernels.machine import compiled, f32_2d, f64, in_f32_1d, in_f32_2d, nothing
from akkafka.nn.layer import F32

LOG2_E = 1.4426950408889634
LN2_HIGH = 6.93147180369123816490e-01
LN2_LOW = 1.90821492927058770002e-10
ROUNDER = 6755399441055744.0
BOUND = 700.0
ONE = np.int64(0x3FF0000000000000)
S52 = np.int64(52)
SMALL = 0.01


@compiled(f64, f64)
def exp(x: np.float64) -> np.float64:
    """e**x, relative error below 1e-11 for |x| ≤ 700, as activation.exp."""
    x = np.float64(-BOUND) if x < -BOUND else x
    x = np.float64(BOUND) if x > BOUND else x
    shifted = x * LOG2_E + ROUNDER
    k = shifted - ROUNDER
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    p = 1 / 40320 + r * (1 / 362880)
    p = 1 / 5040 + r * p
    p = 1 / 720 + r * p
    p = 1 / 120 + r * p
    p = 1 / 24 + r * p
    p = 1 / 6 + r * p
    p = 0.5 + r * p
    p = 1.0 + r * p
    p = 1.0 + r * p
    return p * np.int64((np.float64(shifted).view(np.int64) << S52) + ONE).view(np.float64)


@compiled(f64, f64)
def sigmoid(x: np.float64) -> np.float64:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + exp(-x))


@compiled(f64, f64)
def tanh(x: np.float64) -> np.float64:
    """As activation.tanh."""
    size = abs(x)
    e = exp(-2.0 * size)
    far = (1.0 - e) / (1.0 + e)
    square = x * x
    near = x * (1.0 - square * (1 / 3 - square * (2 / 15)))
    return near if size < SMALL else (far if x > 0 else -far)


@compiled(nothing, in_f32_2d, in_f32_2d, in_f32_1d, in_f32_2d, in_f32_2d, f32_2d, f32_2d, f32_2d)
def rnn(zx: F32, zh: F32, bias: F32, h: F32, c: F32, kept: F32, out_h: F32, out_c: F32) -> None:
    """out_h = tanh(zx + zh). kept (B, H) is out_h; bias and c are not used."""
    for b in range(h.shape[0]):
        for j in range(h.shape[1]):
            y = np.float32(tanh(np.float64(zx[b, j]) + np.float64(zh[b, j])))
            out_h[b, j] = y
            kept[b, j] = y


@compiled(nothing, in_f32_2d, in_f32_2d, in_f32_2d, in_f32_2d, in_f32_2d, f32_2d, f32_2d, f32_2d, f32_2d)
def rnn_backward(kept: F32, h: F32, c: F32, dh: F32, dc: F32, dzx: F32, dzh: F32, out_h: F32, out_c: F32) -> None:
    """Back through `rnn`; out_c is not used."""
    one = np.float32(1)
    for b in range(h.shape[0]):
        for j in range(h.shape[1]):
            d = dh[b, j] * (one - kept[b, j] * kept[b, j])
            dzx[b, j] = d
            dzh[b, j] = d
            out_h[b, j] = np.float32(0)


@compiled(nothing, in_f32_2d, in_f32_2d, in_f32_1d, in_f32_2d, in_f32_2d, f32_2d, f32_2d, f32_2d)
def lstm(zx: F32, zh: F32, bias: F32, h: F32, c: F32, kept: F32, out_h: F32, out_c: F32) -> None:
    """i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of zx + zh; out_c = f·c + i·g; out_h = o·tanh(out_c).

    kept (B, 5·H): i, f, g, o, tanh(out_c). bias is not used.
    """
    n = h.shape[1]
    for b in range(h.shape[0]):
        x, state, row, old, cell, y = zx[b], zh[b], kept[b], c[b], out_c[b], out_h[b]
        for j in range(2 * n):
            row[j] = np.float32(sigmoid(np.float64(x[j]) + np.float64(state[j])))
        i, f, g, o, way = row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n : 4 * n], row[4 * n :]
        gx, gh, ox, oh = x[2 * n : 3 * n], state[2 * n : 3 * n], x[3 * n :], state[3 * n :]
        for j in range(n):  # from 0, or numba would look whether each index counts from the end
            g[j] = np.float32(tanh(np.float64(gx[j]) + np.float64(gh[j])))
        for j in range(n):
            o[j] = np.float32(sigmoid(np.float64(ox[j]) + np.float64(oh[j])))
        for j in range(n):
            cell[j] = f[j] * old[j] + i[j] * g[j]
        for j in range(n):
            way[j] = np.float32(tanh(np.float64(cell[j])))
        for j in range(n):
            y[j] = o[j] * way[j]


@compiled(nothing, in_f32_2d, in_f32_2d, in_f32_2d, in_f32_2d, in_f32_2d, f32_2d, f32_2d, f32_2d, f32_2d)
def lstm_backward(kept: F32, h: F32, c: F32, dh: F32, dc: F32, dzx: F32, dzh: F32, out_h: F32, out_c: F32) -> None:
    """Back through `lstm`."""
    one, n = np.float32(1), h.shape[1]
    for b in range(h.shape[0]):
        for j in range(n):
            i, f, g = kept[b, j], kept[b, n + j], kept[b, 2 * n + j]
            o, way = kept[b, 3 * n + j], kept[b, 4 * n + j]
            cell = dc[b, j] + dh[b, j] * o * (one - way * way)
            dzx[b, j] = cell * g * (i * (one - i))
            dzx[b, n + j] = cell * c[b, j] * (f * (one - f))
            dzx[b, 2 * n + j] = cell * i * (one - g * g)
            dzx[b, 3 * n + j] = dh[b, j] * way * (o * (one - o))
            out_h[b, j] = np.float32(0)
            out_c[b, j] = cell * f
        for j in range(4 * n):
            dzh[b, j] = dzx[b, j]


@compiled(nothing, in_f32_2d, in_f32_2d, in_f32_1d, in_f32_2d, in_f32_2d, f32_2d, f32_2d, f32_2d)
def gru(zx: F32, zh: F32, bias: F32, h: F32, c: F32, kept: F32, out_h: F32, out_c: F32) -> None:
    """r, z = sigmoid of zx + zh; n = tanh(zx + r·(zh + bias)); out_h = (1 - z)·n + z·h.

    kept (B, 4·H): r, z, n, zh + bias of n. bias (H,); c is not used.
    """
    n, one = h.shape[1], np.float32(1)
    for b in range(h.shape[0]):
        x, state, row, old, y = zx[b], zh[b], kept[b], h[b], out_h[b]
        for j in range(2 * n):
            row[j] = np.float32(sigmoid(np.float64(x[j]) + np.float64(state[j])))
        r, z, new, of_state = row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n :]
        of_x, of_h = x[2 * n :], state[2 * n :]
        for j in range(n):
            of_state[j] = of_h[j] + bias[j]
        for j in range(n):
            new[j] = np.float32(tanh(np.float64(of_x[j]) + np.float64(r[j]) * np.float64(of_state[j])))
        for j in range(n):
            y[j] = (one - z[j]) * new[j] + z[j] * old[j]


@compiled(nothing, in_f32_2d, in_f32_2d, in_f32_2d, in_f32_2d, in_f32_2d, f32_2d, f32_2d, f32_2d, f32_2d)
def gru_backward(kept: F32, h: F32, c: F32, dh: F32, dc: F32, dzx: F32, dzh: F32, out_h: F32, out_c: F32) -> None:
    """Back through `gru`; out_c is not used. The bias's gradient is that of dzh's last third."""
    one, n = np.float32(1), h.shape[1]
    for b in range(h.shape[0]):
        for j in range(n):
            r, z, new, of_state = kept[b, j], kept[b, n + j], kept[b, 2 * n + j], kept[b, 3 * n + j]
            d = dh[b, j]
            inner = d * (one - z) * (one - new * new)
            dr = inner * of_state * (r * (one - r))
            dz = d * (h[b, j] - new) * (z * (one - z))
            dzx[b, j] = dr
            dzx[b, n + j] = dz
            dzx[b, 2 * n + j] = inner
            dzh[b, j] = dr
            dzh[b, n + j] = dz
            dzh[b, 2 * n + j] = inner * r
            out_h[b, j] = d * z
