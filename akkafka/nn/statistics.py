"""How those params that are not trained (running means of batch-norm and the like) follow the batches'
statistics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from akkafka.errors import ShapeError
from akkafka.nn.layer import F32, Params


def follow_statistics(params: Params, grads: Params, buffers: Mapping[str, float]) -> dict[str, F32]:
    """New value of each buffer, (1 - m)·old + m·statistic, as new arrays; merge it over what the optimizer
    returned.

    `buffers` gives name -> m (0 ≤ m ≤ 1), `grads` holds the batch's statistic under the same name.
    Elementwise float32, so the same bits everywhere. Empty for layers without buffers. Raises ShapeError if
    a statistic is missing or of another shape.
    """
    return {name: _followed(name, params, grads, momentum) for name, momentum in buffers.items()}


def _followed(name: str, params: Params, grads: Params, momentum: float) -> F32:
    if name not in grads or grads[name].shape != params[name].shape:
        got = grads[name].shape if name in grads else "nothing"
        raise ShapeError(f"statistic {name}: got {got}, takes {params[name].shape}")
    m = np.float32(momentum)
    followed: F32 = (np.float32(1) - m) * params[name] + m * grads[name]
    return followed
