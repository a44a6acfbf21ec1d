"""First weights, as a function of nothing but random bits, so that every machine begins at the same
network."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from akkafka.nn import kernels
from akkafka.nn.layer import F32

Init: TypeAlias = Literal["he", "xavier", "glorot", "lecun", "orthogonal", "zeros"]


def initial_weight(init: Init, fan_in: int, fan_out: int, rng: np.random.Generator) -> F32:
    """(fan_in, fan_out) float32; see `initial`."""
    return initial(init, (fan_in, fan_out), fan_in, fan_out, rng)


def initial(init: Init, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: np.random.Generator) -> F32:
    """Weights of `shape`, float32, uniform in ±limit around 0.

    limit² is 6/fan_in (he: He et al. 2015, arXiv:1502.01852), 6/(fan_in + fan_out) (xavier or glorot: Glorot,
    Bengio 2010), 3/fan_in (lecun: LeCun et al. 1998, Efficient BackProp), 0 (zeros). orthogonal (Saxe et al. 2014,
    arXiv:1312.6120) is not uniform: the matrix (shape[0], the rest) has orthonormal rows or, if they are more than
    its columns, orthonormal columns. From raw words: numpy promises the bits of a bit generator for ever, but not
    those of a distribution, and a normal one needs the C library's logarithm.
    """
    if init == "zeros":
        return np.zeros(shape, np.float32)
    if init == "orthogonal":
        return _orthogonal(shape, rng)
    glorot = 6 / (fan_in + fan_out)
    square = {"he": 6 / fan_in, "xavier": glorot, "glorot": glorot, "lecun": 3 / fan_in}[init]
    return (_unit(math.prod(shape), rng) * math.sqrt(square)).astype(np.float32).reshape(shape)


def _unit(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Uniform in [-1, 1), multiples of 2**-52."""
    words = np.asarray(rng.bit_generator.random_raw(count), np.uint64)
    unit: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
    return unit


def _orthogonal(shape: tuple[int, ...], rng: np.random.Generator) -> F32:
    """Directions nearly uniform: each number is the sum of four uniform ones before the rows are orthonormalised."""
    rows, columns = shape[0], math.prod(shape[1:])
    short, long = min(rows, columns), max(rows, columns)
    words = _unit(4 * short * long, rng).reshape(4, short, long)
    matrix = np.ascontiguousarray(words[0] + words[1] + words[2] + words[3])
    kernels.orthogonal.orthonormalise(matrix)
    turned = matrix if rows <= columns else matrix.T
    return np.ascontiguousarray(turned, np.float32).reshape(shape)
