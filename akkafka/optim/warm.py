"""What a process does once before its first update, so that no batch waits for a compiler."""

from __future__ import annotations

import numpy as np

from akkafka import optim
from akkafka.nn import kernels
from akkafka.nn.layer import Params
from akkafka.optim.chain import ChainSpec
from akkafka.optim.optimizer import OPTIMIZERS, Optimizer, Step, optimizer_spec


def warm_up(optimizer: Optimizer, params: Params) -> None:
    """Make one update with a gradient of zeros and forget it; compiles the kernels that the rule uses."""
    state = optimizer.init(params)
    grads = {name: np.zeros_like(w) for name, w in params.items()}
    step = Step(grads, then=params, staleness=0, version=0)
    optimizer.update(params, state, step)
    optimizer.compensation_ratio(params, state, step)


def compile_all() -> None:
    """Every rule's kernel, and the one that writes past the cache: into numba's cache, or found there."""
    specs = [optimizer_spec({"type": kind, "lr": 0.1}) for kind in OPTIMIZERS]
    rules = [spec.rule() for spec in specs if isinstance(spec, ChainSpec)]
    for name in sorted({rule.kernel for rule in rules if rule.streams}):
        kernels.streaming.past_cache(getattr(optim.kernels, name))
