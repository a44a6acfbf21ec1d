"""DC-ASGD: SGD that corrects each gradient for the updates made since its forward.

Source: Zheng et al., Asynchronous Stochastic Gradient Descent with Delay Compensation, ICML 2017,
arXiv:1609.08326, and the authors' updater for Multiverso (2017), where eps stands inside the root and ms is
updated before it is used. `then` is the weights of this batch's forward, not those before the last step (as
in scorch and MXNet, whose rule is not SGD even for fresh gradients).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from akkafka import optim
from akkafka.optim.chain import ChainSpec, Coefficients, Rule, Scalars
from akkafka.optim.optimizer import Step


class DcAsgdCSpec(ChainSpec):
    """Settings of DC-ASGD with a constant lambda."""

    type: Literal["dc-asgd-c"] = "dc-asgd-c"
    """DC-ASGD-c: constant lambda; with batches of any size its correction is tiny (log the compensation
    ratio)."""
    lam: float = Field(default=0.04, ge=0, lt=3e38)
    """Strength of the correction; 0 is plain SGD."""

    def rule(self) -> DcAsgdC:
        """The rule."""
        return DcAsgdC(self.lam)


class DcAsgdASpec(ChainSpec):
    """Settings of DC-ASGD with an adaptive lambda."""

    type: Literal["dc-asgd-a"] = "dc-asgd-a"
    """DC-ASGD-a: lambda divided by the root of a running mean of g²."""
    lam: float = Field(default=2.0, ge=0, lt=3e38)
    """Strength of the correction; 0 is plain SGD."""
    m: float = Field(default=0.95, ge=0, lt=1)
    """Share of the old mean of g² that is kept."""
    eps: float = Field(default=1e-7, ge=1e-30, lt=3e38)
    """Added under the root, against division by 0."""

    def rule(self) -> DcAsgdA:
        """The rule."""
        return DcAsgdA(self.lam, self.m, self.eps)


@dataclass(frozen=True, slots=True)
class DcAsgdC(Rule):
    """w <- w - lr·(g + lam·g·g·(w - then) + weight_decay·w). No state."""

    lam: float
    kernel = "dc_asgd_c"
    stale = True

    def coefficients(self, rate: np.float32, scalars: Scalars, step: Step) -> tuple[Coefficients, dict[str, float]]:
        """lam."""
        return (self.lam,), {}

    def compensation_squares(self, arrays: Sequence[Sequence[Any]]) -> float:
        """See Rule."""
        lam = np.float32(self.lam)
        return float(sum(optim.kernels.compensation_squares_c(w, g, then, lam) for w, g, then in arrays))


@dataclass(frozen=True, slots=True)
class DcAsgdA(Rule):
    """ms <- m·ms + (1 - m)·g·g; w <- w - lr·(g + lam/sqrt(ms + eps)·g·g·(w - then) + weight_decay·w). State
    "ms.<name>", at first 0.

    There is no correction of ms for its beginning at 0, as in the authors' code: the first updates
    compensate up to 1/sqrt(1 - m) times too much, if they are stale at all.
    """

    lam: float
    m: float
    eps: float
    kernel = "dc_asgd_a"
    slots = ("ms",)
    stale = True

    def coefficients(self, rate: np.float32, scalars: Scalars, step: Step) -> tuple[Coefficients, dict[str, float]]:
        """lam, m, eps."""
        return (self.lam, self.m, self.eps), {}

    def compensation_squares(self, arrays: Sequence[Sequence[Any]]) -> float:
        """See Rule."""
        lam, m, eps = np.float32(self.lam), np.float32(self.m), np.float32(self.eps)
        return float(
            sum(optim.kernels.compensation_squares_a(w, g, then, ms, lam, m, eps) for w, g, then, ms in arrays)
        )
