"""DC-ASGD: SGD that corrects each gradient for the updates made since its forward.

Source: Zheng et al., Asynchronous Stochastic Gradient Descent with Delay Compensation, ICML 2017,
arXiv:1609.08326, and the authors' updater for Multiverso (2017), where eps stands inside the root and ms is
updated before it is used. `then` is the weights of this batch's forward, not those before the last step (as
in scorch and MXNet, whose rule is not SGD even for fresh gradients).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from akkafka import optim
from akkafka.nn.layer import F32, Params
from akkafka.optim.norm import norm
from akkafka.optim.optimizer import OptimizerSpec, Step, fresh, matching, trained


class DcAsgdCSpec(OptimizerSpec):
    """Settings of DC-ASGD with a constant lambda."""

    type: Literal["dc-asgd-c"] = "dc-asgd-c"
    """DC-ASGD-c: constant lambda; with batches of any size its correction is tiny (log the compensation
    ratio)."""
    lam: float = Field(default=0.04, ge=0, lt=3e38)
    """Strength of the correction; 0 is plain SGD."""

    def build(self, *, buffers: Collection[str] = ()) -> DcAsgdC:
        """The optimizer; `buffers` are passed through."""
        return DcAsgdC(self, frozenset(buffers))


class DcAsgdASpec(OptimizerSpec):
    """Settings of DC-ASGD with an adaptive lambda."""

    type: Literal["dc-asgd-a"] = "dc-asgd-a"
    """DC-ASGD-a: lambda divided by the root of a running mean of g²."""
    lam: float = Field(default=2.0, ge=0, lt=3e38)
    """Strength of the correction; 0 is plain SGD."""
    m: float = Field(default=0.95, ge=0, lt=1)
    """Share of the old mean of g² that is kept."""
    eps: float = Field(default=1e-7, ge=1e-30, lt=3e38)
    """Added under the root, against division by 0."""

    def build(self, *, buffers: Collection[str] = ()) -> DcAsgdA:
        """The optimizer; `buffers` are passed through."""
        return DcAsgdA(self, frozenset(buffers))


def _gathered(name: str, params: Params, step: Step) -> tuple[F32, F32, F32]:
    """w, g, then of one param, checked and flat."""
    w = params[name]
    g, then = (
        matching(name, "gradient", step.grads, w),
        matching(name, "weights at the forward", step.then, w),
    )
    return w.ravel(), g.ravel(), then.ravel()


@dataclass(frozen=True, slots=True)
class DcAsgdC:
    """w <- w - lr·(g + lam·g·g·(w - then)). No state."""

    spec: DcAsgdCSpec
    buffers: frozenset[str] = frozenset()

    def init(self, params: Params) -> dict[str, F32]:
        """Empty."""
        return {}

    def update(self, params: Params, state: Mapping[str, F32], step: Step) -> tuple[dict[str, F32], dict[str, F32]]:
        """See Optimizer."""
        rate, lam = self.spec.rate(step.version), np.float32(self.spec.lam)
        new = dict(params)
        for name in trained(params, self.buffers):
            w, g, then = _gathered(name, params, step)
            new[name] = np.empty(params[name].shape, np.float32)
            optim.kernels.dc_asgd_c(w, g, then, rate, lam, new[name].reshape(-1))
        return new, {}

    def compensation_ratio(self, params: Params, state: Mapping[str, F32], step: Step) -> float:
        """See Optimizer."""
        lam, total = np.float32(self.spec.lam), 0.0
        for name in trained(params, self.buffers):
            total += optim.kernels.compensation_squares_c(*_gathered(name, params, step), lam)
        return _ratio(total, [step.grads[name] for name in trained(params, self.buffers)])


@dataclass(frozen=True, slots=True)
class DcAsgdA:
    """ms <- m·ms + (1 - m)·g·g; w <- w - lr·(g + lam/sqrt(ms + eps)·g·g·(w - then)). State "ms.<name>", at
    first 0.

    There is no correction of ms for its beginning at 0, as in the authors' code: the first updates
    compensate up to 1/sqrt(1 - m) times too much, if they are stale at all.
    """

    spec: DcAsgdASpec
    buffers: frozenset[str] = frozenset()

    def init(self, params: Params) -> dict[str, F32]:
        """ms = 0."""
        return fresh(params, self.buffers, "ms")

    def update(self, params: Params, state: Mapping[str, F32], step: Step) -> tuple[dict[str, F32], dict[str, F32]]:
        """See Optimizer."""
        rate = self.spec.rate(step.version)
        new, squares = dict(params), dict[str, F32]()
        for name in trained(params, self.buffers):
            w, g, then = _gathered(name, params, step)
            ms = matching(f"ms.{name}", "state", state, params[name]).ravel()
            out, out_ms = np.empty(params[name].shape, np.float32), np.empty(params[name].shape, np.float32)
            optim.kernels.dc_asgd_a(w, g, then, ms, rate, *self._scalars(), out.reshape(-1), out_ms.reshape(-1))
            new[name], squares[f"ms.{name}"] = out, out_ms
        return new, squares

    def compensation_ratio(self, params: Params, state: Mapping[str, F32], step: Step) -> float:
        """See Optimizer."""
        total = 0.0
        for name in trained(params, self.buffers):
            w, g, then = _gathered(name, params, step)
            ms = matching(f"ms.{name}", "state", state, params[name]).ravel()
            total += optim.kernels.compensation_squares_a(w, g, then, ms, *self._scalars())
        return _ratio(total, [step.grads[name] for name in trained(params, self.buffers)])

    def _scalars(self) -> tuple[np.float32, np.float32, np.float32]:
        return np.float32(self.spec.lam), np.float32(self.spec.m), np.float32(self.spec.eps)


def _ratio(compensation_squares: float, grads: list[F32]) -> float:
    size = norm(grads)
    return float(np.sqrt(compensation_squares)) / size if size else 0.0
