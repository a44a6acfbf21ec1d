"""The length of a gradient over all of a gate's params, and what it is cut to."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from akkafka import optim
from akkafka.nn.layer import F32, Params


def norm(arrays: Iterable[F32]) -> float:
    """2-norm over all `arrays` together, summed in float64, in their order and each in C order."""
    return math.sqrt(sum(optim.kernels.sum_of_squares(array.ravel()) for array in arrays))


def clip_share(grads: Params, clip_norm: float | None) -> np.float32:
    """What the gradients are multiplied by so that their common 2-norm is at most `clip_norm`.

    Clipping hides nothing: an infinite norm gives 0, which makes not-a-number of the infinite entries, and a norm that
    is not a number gives not-a-number.
    """
    if clip_norm is None:
        return np.float32(1)
    size = norm(grads.values())
    return np.float32(1) if size <= clip_norm else np.float32(clip_norm / size)
