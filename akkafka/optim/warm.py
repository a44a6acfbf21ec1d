"""What a process does once before its first update, so that no batch waits for a compiler."""

from __future__ import annotations

import numpy as np

from akkafka.nn.layer import Params
from akkafka.optim.optimizer import Optimizer, Step


def warm_up(optimizer: Optimizer, params: Params) -> None:
    """Make one update with a gradient of zeros and forget it; compiles the kernels that the rule uses."""
    state = optimizer.init(params)
    grads = {name: np.zeros_like(w) for name, w in params.items()}
    step = Step(grads, then=params, staleness=0, version=0)
    optimizer.update(params, state, step)
    optimizer.compensation_ratio(params, state, step)
