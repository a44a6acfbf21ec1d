"""What a process does once before its first batch, so that no batch waits for a compiler."""

from __future__ import annotations

import numpy as np

from akkafka.nn import kernels
from akkafka.nn.layer import FLOAT32, Layer, Pass


def warm_up(layer: Layer, batch: int = 1) -> None:
    """Run `layer` forth and back on `batch` samples of zeros, in training and outside of it, and forget the results.

    Compiles the kernels it uses, or reads them from numba's cache, and lets BLAS set up its buffers.
    """
    params = layer.init(np.random.default_rng(0))
    x = np.zeros((batch, *layer.in_shape), layer.in_dtype)
    dy = np.zeros((batch, *layer.out_shape), FLOAT32)
    for training in (True, False):
        _, tape = layer.forward(params, x, Pass(training, key=0))
        layer.backward(params, tape, dy)


def compile_all() -> None:
    """Compile every kernel of the room, or read it from numba's cache; seconds at first, then tens of milliseconds."""
    for name in kernels.NAMES:
        getattr(kernels, name)
