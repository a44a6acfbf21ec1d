"""Smooth and leaky rectifiers and their kin, one number at a time, with an exp of our own that is vectorised.

All arrays flat, C-contiguous float32, of one length. `a` is the activation's own setting where it has one. Backward
kernels take what the forward kept: `y` its output or `x` its input, as their argument says. Computed in float64 in
+ − × ÷ and moves of bits, and rounded once: the same bits on every machine. Nothing is checked here.
"""

from __future__ import annotations

import numpy as np

from akkafka.nn.kernels.machine import compiled, f32, f32_1d, f64, in_f32_1d, nothing
from akkafka.nn.layer import F32

LOG2_E = 1.4426950408889634
LN2_HIGH = 6.93147180369123816490e-01  # its last 21 bits are 0, so that k · LN2_HIGH is exact
LN2_LOW = 1.90821492927058770002e-10
ROUNDER = 6755399441055744.0  # 1.5 · 2**52: adding it leaves a float's nearest whole number in its lowest bits
BOUND = 700.0  # beyond it a float32 is 0 or infinity anyway
ONE = np.int64(0x3FF0000000000000)  # the bits of 1.0
S52 = np.int64(52)
SQRT_HALF = 0.7071067811865476
ROOT_2_PI = 0.3989422804014327  # 1/sqrt(2 pi)
SMALL = 0.01  # below it tanh is its series


@compiled(f64, f64)
def exp(x: np.float64) -> np.float64:
    """e**x, relative error below 1e-11 for |x| ≤ 700; beyond that as at ±700; not-a-number for itself."""
    x = np.float64(-BOUND) if x < -BOUND else x
    x = np.float64(BOUND) if x > BOUND else x
    shifted = x * LOG2_E + ROUNDER
    k = shifted - ROUNDER
    r = (x - k * LN2_HIGH) - k * LN2_LOW  # |r| ≤ ln(2) / 2
    p = 1 / 40320 + r * (1 / 362880)
    p = 1 / 5040 + r * p
    p = 1 / 720 + r * p
    p = 1 / 120 + r * p
    p = 1 / 24 + r * p
    p = 1 / 6 + r * p
    p = 0.5 + r * p
    p = 1.0 + r * p
    p = 1.0 + r * p
    power = np.int64((np.float64(shifted).view(np.int64) << S52) + ONE).view(np.float64)  # 2**k
    return p * power


@compiled(f64, f64)
def upper_tail(z: np.float64) -> np.float64:
    """erfc(z) / exp(-z²) for z ≥ 0, relative error below 1.2e-7.

    Source: Press et al., Numerical Recipes (2nd edition), section 6.2, erfcc.
    """
    t = 1.0 / (1.0 + 0.5 * z)
    p = -0.82215223 + t * 0.17087277
    p = 1.48851587 + t * p
    p = -1.13520398 + t * p
    p = 0.27886807 + t * p
    p = -0.18628806 + t * p
    p = 0.09678418 + t * p
    p = 0.37409196 + t * p
    p = 1.00002368 + t * p
    return t * exp(np.float64(-1.26551223 + t * p))


@compiled(nothing, in_f32_1d, f32, f32_1d)
def leaky_relu(x: F32, a: np.float32, out: F32) -> None:
    """out = x where x > 0, else a·x."""
    for i in range(x.size):
        out[i] = x[i] if x[i] > 0 else a * x[i]


@compiled(nothing, in_f32_1d, in_f32_1d, f32, f32_1d)
def leaky_relu_backward(x: F32, dy: F32, a: np.float32, out: F32) -> None:
    """out = dy where x > 0, else a·dy."""
    for i in range(x.size):
        out[i] = dy[i] if x[i] > 0 else a * dy[i]


@compiled(nothing, in_f32_1d, f32, f32_1d)
def elu(x: F32, a: np.float32, out: F32) -> None:
    """out = x where x > 0, else a·(exp(x) - 1)."""
    for i in range(x.size):
        low = np.float32(np.float64(a) * (exp(np.float64(x[i])) - 1.0))
        out[i] = x[i] if x[i] > 0 else low


@compiled(nothing, in_f32_1d, in_f32_1d, f32, f32_1d)
def elu_backward(x: F32, dy: F32, a: np.float32, out: F32) -> None:
    """out = dy where x > 0, else dy·a·exp(x)."""
    for i in range(x.size):
        low = np.float32(np.float64(dy[i]) * np.float64(a) * exp(np.float64(x[i])))
        out[i] = dy[i] if x[i] > 0 else low


@compiled(nothing, in_f32_1d, f32, f32_1d)
def sigmoid(x: F32, a: np.float32, out: F32) -> None:
    """out = 1 / (1 + exp(-x))."""
    for i in range(x.size):
        out[i] = np.float32(1.0 / (1.0 + exp(-np.float64(x[i]))))


@compiled(nothing, in_f32_1d, in_f32_1d, f32, f32_1d)
def sigmoid_backward(y: F32, dy: F32, a: np.float32, out: F32) -> None:
    """out = dy·y·(1 - y)."""
    one = np.float32(1)
    for i in range(y.size):
        out[i] = dy[i] * (y[i] * (one - y[i]))


@compiled(nothing, in_f32_1d, f32, f32_1d)
def tanh(x: F32, a: np.float32, out: F32) -> None:
    """out = (1 - e) / (1 + e) with the sign of x, e = exp(-2|x|); near 0 the first terms of its series."""
    for i in range(x.size):
        z = np.float64(x[i])
        size = abs(z)
        e = exp(-2.0 * size)
        far = (1.0 - e) / (1.0 + e)
        far = far if z > 0 else -far
        square = z * z
        near = z * (1.0 - square * (1 / 3 - square * (2 / 15)))
        out[i] = np.float32(near if size < SMALL else far)


@compiled(nothing, in_f32_1d, in_f32_1d, f32, f32_1d)
def tanh_backward(y: F32, dy: F32, a: np.float32, out: F32) -> None:
    """out = dy·(1 - y²)."""
    one = np.float32(1)
    for i in range(y.size):
        out[i] = dy[i] * (one - y[i] * y[i])


@compiled(nothing, in_f32_1d, f32, f32_1d)
def silu(x: F32, a: np.float32, out: F32) -> None:
    """out = x / (1 + exp(-x))."""
    for i in range(x.size):
        out[i] = np.float32(np.float64(x[i]) / (1.0 + exp(-np.float64(x[i]))))


@compiled(nothing, in_f32_1d, in_f32_1d, f32, f32_1d)
def silu_backward(x: F32, dy: F32, a: np.float32, out: F32) -> None:
    """out = dy·s·(1 + x·(1 - s)), s = 1 / (1 + exp(-x))."""
    for i in range(x.size):
        s = 1.0 / (1.0 + exp(-np.float64(x[i])))
        out[i] = np.float32(np.float64(dy[i]) * (s * (1.0 + np.float64(x[i]) * (1.0 - s))))


@compiled(nothing, in_f32_1d, f32, f32_1d)
def gelu(x: F32, a: np.float32, out: F32) -> None:
    """out = x·Phi(x), Phi the normal distribution's function."""
    for i in range(x.size):
        z = np.float64(x[i])
        tail = 0.5 * upper_tail(abs(z) * SQRT_HALF) * exp(-0.5 * z * z)
        out[i] = np.float32(z * (1.0 - tail if z > 0 else tail))


@compiled(nothing, in_f32_1d, in_f32_1d, f32, f32_1d)
def gelu_backward(x: F32, dy: F32, a: np.float32, out: F32) -> None:
    """out = dy·(Phi(x) + x·phi(x)), phi the normal distribution's density."""
    for i in range(x.size):
        z = np.float64(x[i])
        bell = exp(-0.5 * z * z)
        tail = 0.5 * upper_tail(abs(z) * SQRT_HALF) * bell
        out[i] = np.float32(np.float64(dy[i]) * ((1.0 - tail if z > 0 else tail) + z * (ROOT_2_PI * bell)))
