"""Plain SGD: the hard baseline, and what stale gradients hurt least."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from akkafka import optim
from akkafka.nn.layer import F32, Params
from akkafka.optim.norm import norm
from akkafka.optim.optimizer import OptimizerSpec, Step, matching, trained


class SgdSpec(OptimizerSpec):
    """Settings of SGD."""

    type: Literal["sgd"] = "sgd"
    """SGD: w - lr·(g + weight_decay·w)."""
    weight_decay: float = Field(default=0.0, ge=0, lt=3e38)
    """Pull towards 0, added to the gradient; biases too."""
    clip_norm: float | None = Field(default=None, gt=0)
    """A gradient whose 2-norm over the gate's params is greater is scaled down to this; no limit by
    default."""

    def build(self, *, buffers: Collection[str] = ()) -> Sgd:
        """The optimizer; `buffers` are passed through."""
        return Sgd(self, frozenset(buffers))


@dataclass(frozen=True, slots=True)
class Sgd:
    """w <- w - lr·(share·g + weight_decay·w), share = min(1, clip_norm / |g|)."""

    spec: SgdSpec
    buffers: frozenset[str] = frozenset()

    def init(self, params: Params) -> dict[str, F32]:
        """Empty."""
        return {}

    def update(self, params: Params, state: Mapping[str, F32], step: Step) -> tuple[dict[str, F32], dict[str, F32]]:
        """See Optimizer."""
        names = trained(params, self.buffers)
        grads = {name: matching(name, "gradient", step.grads, params[name]) for name in names}
        rate, decay = self.spec.rate(step.version), np.float32(self.spec.weight_decay)
        share = clip_share(grads, self.spec.clip_norm)
        new = dict(params)
        for name, g in grads.items():
            new[name] = np.empty(g.shape, np.float32)
            optim.kernels.sgd(params[name].ravel(), g.ravel(), rate, decay, share, new[name].reshape(-1))
        return new, {}

    def compensation_ratio(self, params: Params, state: Mapping[str, F32], step: Step) -> float:
        """0: nothing is compensated."""
        return 0.0


def clip_share(grads: Params, clip_norm: float | None) -> np.float32:
    """What the gradients are multiplied by so that their common 2-norm is at most `clip_norm`.

    Clipping hides nothing: an infinite norm gives 0, which makes not-a-number of the infinite entries, and a norm that
    is not a number gives not-a-number.
    """
    if clip_norm is None:
        return np.float32(1)
    size = norm(grads.values())
    return np.float32(1) if size <= clip_norm else np.float32(clip_norm / size)
