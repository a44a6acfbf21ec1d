"""First weights, as a function of nothing but random bits, so that every machine begins at the same
network."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np

from akkafka.nn.layer import F32

Init: TypeAlias = Literal["he", "xavier", "lecun", "zeros"]


def initial_weight(init: Init, fan_in: int, fan_out: int, rng: np.random.Generator) -> F32:
    """(fan_in, fan_out) float32, uniform in ±limit around 0.

    limit² is 6/fan_in (he: He et al. 2015, arXiv:1502.01852), 6/(fan_in + fan_out) (xavier: Glorot, Bengio
    2010), 3/fan_in (lecun: LeCun et al. 1998, Efficient BackProp), 0 (zeros). Uniform, and from raw words:
    numpy promises the bits of a bit generator for ever, but not those of a distribution, and a normal one
    needs the C library's logarithm.
    """
    shape = (fan_in, fan_out)
    if init == "zeros":
        return np.zeros(shape, np.float32)
    square = {"he": 6 / fan_in, "xavier": 6 / (fan_in + fan_out), "lecun": 3 / fan_in}[init]
    words = np.asarray(rng.bit_generator.random_raw(fan_in * fan_out), np.uint64)
    unit = (words >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
    return (unit * math.sqrt(square)).astype(np.float32).reshape(shape)
