"""The sweeps around the matrix products of a linear layer: bias and relu on the way out, their gradients on
the way back.

All arrays C-contiguous float32; out, y, dy, dz are (B, n), bias and its gradient (n,). Nothing is checked
here.
"""

from __future__ import annotations

import numpy as np

from akkafka.nn.kernels.machine import compiled, f32_1d, f32_2d, in_f32_1d, in_f32_2d, nothing
from akkafka.nn.layer import F32


@compiled(nothing, f32_2d, in_f32_1d)
def add_bias(out: F32, bias: F32) -> None:
    """out[i, j] += bias[j]."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] += bias[j]


@compiled(nothing, f32_2d, in_f32_1d)
def add_bias_relu(out: F32, bias: F32) -> None:
    """out[i, j] = max(out[i, j] + bias[j], 0); not-a-number stays what it is, so that it is noticed."""
    zero = np.float32(0)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            z = out[i, j] + bias[j]
            out[i, j] = zero if z <= zero else z


@compiled(nothing, in_f32_2d, f32_1d)
def sum_rows(dy: F32, out: F32) -> None:
    """out[j] = sum over i of dy[i, j], added up in float64 in order of i."""
    total = np.zeros(dy.shape[1], np.float64)
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            total[j] += dy[i, j]
    for j in range(dy.shape[1]):
        out[j] = np.float32(total[j])


@compiled(nothing, in_f32_2d, in_f32_2d, f32_2d, f32_1d)
def relu_backward_sum_rows(y: F32, dy: F32, dz: F32, out: F32) -> None:
    """dz = dy where y (the relu's output) is not 0, else 0; out[j] = sum over i of dz[i, j] as in
    `sum_rows`."""
    zero = np.float32(0)
    total = np.zeros(dy.shape[1], np.float64)
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            d = zero if y[i, j] == zero else dy[i, j]
            dz[i, j] = d
            total[j] += d
    for j in range(dy.shape[1]):
        out[j] = np.float32(total[j])
