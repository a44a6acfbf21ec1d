"""SGD with momentum, in the form whose learning rate means the same as plain SGD's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from akkafka import optim
from akkafka.nn.layer import F32, Params
from akkafka.optim.optimizer import OptimizerSpec, Step, fresh, matching, trained


class MomentumSpec(OptimizerSpec):
    """Settings of SGD with momentum."""

    type: Literal["momentum"] = "momentum"
    """Momentum: a running mean of the gradients. Stale gradients hurt it more than plain SGD."""
    beta: float = Field(default=0.9, ge=0, lt=1)
    """Share of the old mean that is kept; 0 is plain SGD."""
    weight_decay: float = Field(default=0.0, ge=0, lt=3e38)
    """Pull towards 0, added to the gradient; biases too."""

    def build(self, *, buffers: Collection[str] = ()) -> Momentum:
        """The optimizer; `buffers` are passed through."""
        return Momentum(self, frozenset(buffers))


@dataclass(frozen=True, slots=True)
class Momentum:
    """v <- beta·v + (1 - beta)·(g + weight_decay·w); w <- w - lr·v. State "v.<name>", at first 0, without
    correction.

    The mean (EMA) form: lr is the effective rate, and equals lr·(1 - beta) of the form that sums gradients
    up.
    """

    spec: MomentumSpec
    buffers: frozenset[str] = frozenset()

    def init(self, params: Params) -> dict[str, F32]:
        """v = 0."""
        return fresh(params, self.buffers, "v")

    def update(self, params: Params, state: Mapping[str, F32], step: Step) -> tuple[dict[str, F32], dict[str, F32]]:
        """See Optimizer."""
        rate, decay = self.spec.rate(step.version), np.float32(self.spec.weight_decay)
        beta = np.float32(self.spec.beta)
        new, means = dict(params), dict[str, F32]()
        for name in trained(params, self.buffers):
            w = params[name]
            g, v = matching(name, "gradient", step.grads, w), matching(f"v.{name}", "state", state, w)
            out, out_v = np.empty(w.shape, np.float32), np.empty(w.shape, np.float32)
            optim.kernels.momentum(
                w.ravel(), g.ravel(), v.ravel(), rate, beta, decay, out.reshape(-1), out_v.reshape(-1)
            )
            new[name], means[f"v.{name}"] = out, out_v
        return new, means

    def compensation_ratio(self, params: Params, state: Mapping[str, F32], step: Step) -> float:
        """0: nothing is compensated."""
        return 0.0
