"""Smooth and leaky rectifiers and their kin, one number at a time, with an exp of our own that is vectorised.

All arrays flat, C-contiguous float32, of one length. `a` is the activation's own setting where it has one. Backward
kernels take what the forward kept: `y` its output or `x` its input, as their argument says. Computed in + − × ÷ and
moves of bits alone, each rounded: the same bits on every machine. In float32, of which a processor does twice as many
at once, but where numbers would cancel (elu and tanh near 0): there in float64. Nothing is checked here.
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

# the same in float32
F_LOG2_E = np.float32(1.4426950408889634)
F_LN2_HIGH = np.float32(0.693359375)  # 10 bits, so that k · F_LN2_HIGH is exact
F_LN2_LOW = np.float32(-2.1219444005469057e-4)
F_ROUNDER = np.float32(12582912.0)  # 1.5 · 2**23
F_BOUND = np.float32(87.0)  # e**±87 are numbers with all their bits
F_ONE = np.int32(0x3F800000)
S23 = np.int32(23)
F_SQRT_HALF, F_ROOT_2_PI = np.float32(SQRT_HALF), np.float32(ROOT_2_PI)
F1, F_HALF = np.float32(1), np.float32(0.5)


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


@compiled(f32, f32)
def exp_single(x: np.float32) -> np.float32:
    """e**x, relative error below 3e-7 for |x| ≤ 87; beyond that as at ±87; not-a-number for itself."""
    x = -F_BOUND if x < -F_BOUND else x
    x = F_BOUND if x > F_BOUND else x
    shifted = x * F_LOG2_E + F_ROUNDER
    k = shifted - F_ROUNDER
    r = (x - k * F_LN2_HIGH) - k * F_LN2_LOW  # |r| ≤ ln(2) / 2
    p = np.float32(1 / 720) + r * np.float32(1 / 5040)
    p = np.float32(1 / 120) + r * p
    p = np.float32(1 / 24) + r * p
    p = np.float32(1 / 6) + r * p
    p = F_HALF + r * p
    p = F1 + r * p
    p = F1 + r * p
    power = np.int32((np.float32(shifted).view(np.int32) << S23) + F_ONE).view(np.float32)  # 2**k
    return p * power


@compiled(f32, f32)
def upper_tail(z: np.float32) -> np.float32:
    """erfc(z)·exp(z²) for z ≥ 0; times exp(-z²) it is erfc with an error below 5e-7.

    Source: Abramowitz, Stegun 1964, Handbook of Mathematical Functions, 7.1.26, good to 1.5e-7 in exact arithmetic.
    """
    t = F1 / (F1 + np.float32(0.3275911) * z)
    p = np.float32(-1.453152027) + t * np.float32(1.061405429)
    p = np.float32(1.421413741) + t * p
    p = np.float32(-0.284496736) + t * p
    p = np.float32(0.254829592) + t * p
    return t * p


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
        out[i] = F1 / (F1 + exp_single(-x[i]))


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
        out[i] = x[i] / (F1 + exp_single(-x[i]))


@compiled(nothing, in_f32_1d, in_f32_1d, f32, f32_1d)
def silu_backward(x: F32, dy: F32, a: np.float32, out: F32) -> None:
    """out = dy·s·(1 + x·(1 - s)), s = 1 / (1 + exp(-x))."""
    for i in range(x.size):
        s = F1 / (F1 + exp_single(-x[i]))
        out[i] = dy[i] * (s * (F1 + x[i] * (F1 - s)))


@compiled(nothing, in_f32_1d, f32, f32_1d)
def gelu(x: F32, a: np.float32, out: F32) -> None:
    """out = x·Phi(x), Phi the normal distribution's function."""
    for i in range(x.size):
        z = x[i]
        tail = F_HALF * upper_tail(abs(z) * F_SQRT_HALF) * exp_single(-F_HALF * z * z)
        out[i] = z * (F1 - tail if z > 0 else tail)


@compiled(nothing, in_f32_1d, in_f32_1d, f32, f32_1d)
def gelu_backward(x: F32, dy: F32, a: np.float32, out: F32) -> None:
    """out = dy·(Phi(x) + x·phi(x)), phi the normal distribution's density."""
    for i in range(x.size):
        z = x[i]
        bell = exp_single(-F_HALF * z * z)
        tail = F_HALF * upper_tail(abs(z) * F_SQRT_HALF) * bell
        out[i] = dy[i] * ((F1 - tail if z > 0 else tail) + z * (F_ROOT_2_PI * bell))
