"""Powers in + − × ÷ alone: C libraries differ in the last bit, and a replay must find the same numbers everywhere."""

from __future__ import annotations

import numpy as np

from akkafka.nn import kernels

LOG_096 = -0.040821994520255166  # the natural logarithm of 0.96


def power(base: float, exponent: int) -> float:
    """base**exponent for exponent ≥ 0, by squaring."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def root(number: int, p: float) -> float:
    """number**-p for number ≥ 1 and p ≥ 0."""
    return float(kernels.softmax.exp(np.float64(-p * kernels.softmax.log(np.float64(number)))))


def decayed(t: float) -> float:
    """0.96**t for t ≥ 0: how NAdam's momentum comes up."""
    return float(kernels.softmax.exp(np.float64(t * LOG_096)))
