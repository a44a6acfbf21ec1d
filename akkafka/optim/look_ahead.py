"""Momentum that says where the weights will be: forwards run at the place that a late gradient will meet.

The params of both rules are the look-ahead weights, which forwards, stash and snapshots use like any others; the
weights proper are in the state. So the gate needs to know nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from akkafka.optim.chain import ChainSpec, Coefficients, Rule, Scalars
from akkafka.optim.optimizer import Step

TAU_MEMORY = 0.95


class NesterovAsyncSpec(ChainSpec):
    """Settings of asynchronous Nesterov."""

    type: Literal["nesterov-async"] = "nesterov-async"
    """Nesterov for delayed gradients: the weights in use are a step ahead, the gradient's share is 1 - gamma."""
    gamma: float = Field(default=0.9, ge=0, lt=1)
    """How far ahead, and how slow; 0 is plain SGD. 0.99 needs far more than a hundred updates."""

    def rule(self) -> NesterovAsync:
        """The rule."""
        return NesterovAsync(self.gamma)


class SpecTrainSpec(ChainSpec):
    """Settings of SpecTrain."""

    type: Literal["spectrain"] = "spectrain"
    """SpecTrain: momentum whose forwards run at the weights predicted for when the gradient will be back."""
    beta: float = Field(default=0.9, ge=0, lt=1)
    """Share of the old mean that is kept."""
    ahead: float | None = Field(default=None, ge=0, le=1e6)
    """Updates that the prediction goes ahead; by default a running mean of the staleness seen."""

    def rule(self) -> SpecTrain:
        """The rule."""
        return SpecTrain(self.beta, self.ahead)


@dataclass(frozen=True, slots=True)
class NesterovAsync(Rule):
    """x' <- w - lr·(1 - gamma)·g; w <- x' + gamma·(x' - x); x <- x'. State "x.<name>", at first the params.

    Source: Ajanthan et al. 2025, Nesterov Method for Asynchronous Pipeline Parallel Optimization, arXiv:2505.01099;
    w are the weights at the look-ahead. Equal to PyTorch's nesterov with lr·(1 - gamma), whatever the delay.
    """

    gamma: float
    kernel = "nesterov_async"
    slots = ("x",)
    copied = frozenset({"x"})

    def coefficients(self, rate: np.float32, scalars: Scalars, step: Step) -> tuple[Coefficients, dict[str, float]]:
        """gamma."""
        return (self.gamma,), {}


@dataclass(frozen=True, slots=True)
class SpecTrain(Rule):
    """v <- beta·v + (1 - beta)·g; x <- x - lr·v; w <- x - s·lr·v. State "x.<name>" (at first the params), "v.<name>".

    s: `ahead`, or the running mean of the staleness, state "tau", at first 0. Validation sees w, too. Weight decay
    goes by x. Source: Chen et al. 2018, Efficient and Robust Parallel DNN Training through Model Parallelism,
    arXiv:1809.02839.
    """

    beta: float
    ahead: float | None
    kernel = "spectrain"
    slots = ("x", "v")
    copied = frozenset({"x"})
    scalars = {"tau": 0.0}  # noqa: RUF012 (a ClassVar in Rule)

    def coefficients(self, rate: np.float32, scalars: Scalars, step: Step) -> tuple[Coefficients, dict[str, float]]:
        """beta, s."""
        tau = TAU_MEMORY * scalars["tau"] + (1 - TAU_MEMORY) * step.staleness
        return (self.beta, tau if self.ahead is None else self.ahead), {"tau": tau}
