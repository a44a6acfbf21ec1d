"""Rules that look at one number at a time. All arrays flat, C-contiguous, of one length; nothing is checked
here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from akkafka.nn.kernels.machine import compiled, f32, f32_1d, in_f32_1d, in_u8_1d, nothing
from akkafka.nn.layer import F32


@compiled(nothing, in_f32_1d, f32_1d)
def relu(x: F32, out: F32) -> None:
    """out = max(x, 0); not-a-number stays what it is, so that it is noticed."""
    zero = np.float32(0)
    for i in range(x.size):
        out[i] = zero if x[i] <= zero else x[i]


@compiled(nothing, in_f32_1d, in_f32_1d, f32_1d)
def relu_backward(y: F32, dy: F32, out: F32) -> None:
    """out = dy where y (the relu's output) is not 0, else 0."""
    zero = np.float32(0)
    for i in range(y.size):
        out[i] = zero if y[i] == zero else dy[i]


@compiled(nothing, in_u8_1d, f32, f32, f32_1d)
def scale_uint8(x: NDArray[np.uint8], scale: np.float32, shift: np.float32, out: F32) -> None:
    """out = x * scale + shift, in float32, rounded twice."""
    for i in range(x.size):
        out[i] = np.float32(x[i]) * scale + shift


@compiled(nothing, in_f32_1d, f32, f32, f32_1d)
def scale_float32(x: F32, scale: np.float32, shift: np.float32, out: F32) -> None:
    """out = x * scale + shift, rounded twice."""
    for i in range(x.size):
        out[i] = x[i] * scale + shift
