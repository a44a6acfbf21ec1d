"""Delay compensation by itself: a stale gradient as it would be at today's weights."""

from __future__ import annotations

import numpy as np

from akkafka import optim
from akkafka.errors import ShapeError
from akkafka.nn.layer import F32


def compensate(grad: F32, now: F32, then: F32, lam: float) -> F32:
    """Gradient as it would be at `now`, from one computed at `then` (first-order, diagonal): g +
    lam·g·g·(now - then).

    All arrays float32 of one shape, such as (n_in, n_out); the result is a new one. lam ≥ 0, no unit; lam =
    0, or now = then, gives the values of `grad`. Raises ShapeError if shapes or dtypes differ. Source:
    Zheng et al. 2017, arXiv:1609.08326, constant-lambda form.
    """
    for name, array in (("gradient", grad), ("weights now", now), ("weights then", then)):
        if array.shape != now.shape or array.dtype != np.float32:
            raise ShapeError(f"{name}: got {array.shape} {array.dtype}, takes {now.shape} float32")
    out = np.empty(grad.shape, np.float32)
    optim.kernels.compensate(grad.ravel(), now.ravel(), then.ravel(), np.float32(lam), out.reshape(-1))
    return out
