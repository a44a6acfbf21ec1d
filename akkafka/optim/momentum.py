"""SGD with momentum, plain and Nesterov's, in the form whose learning rate means the same as plain SGD's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from akkafka.optim.chain import ChainSpec, Coefficients, Rule, Scalars
from akkafka.optim.exact import power
from akkafka.optim.optimizer import Step


class MomentumSpec(ChainSpec):
    """Settings of SGD with momentum."""

    type: Literal["momentum"] = "momentum"
    """Momentum: a running mean of the gradients. Stale gradients hurt it more than plain SGD."""
    beta: float = Field(default=0.9, ge=0, lt=1)
    """Share of the old mean that is kept; 0 is plain SGD."""
    weight_decay: float = Field(default=0.0, ge=0, lt=3e38)
    """Pull towards 0, added to the gradient; biases too."""

    def rule(self) -> Momentum:
        """The rule."""
        return Momentum(self.beta)


class NesterovSpec(ChainSpec):
    """Settings of SGD with Nesterov's momentum."""

    type: Literal["nesterov"] = "nesterov"
    """Nesterov's momentum, as PyTorch's with lr·(1 - beta): the mean is looked at one step ahead."""
    beta: float = Field(default=0.9, ge=0, lt=1)
    """Share of the old mean that is kept; 0 is plain SGD."""

    def rule(self) -> Nesterov:
        """The rule."""
        return Nesterov(self.beta)


class SpikeSpec(ChainSpec):
    """Settings of spike compensation."""

    type: Literal["spike"] = "spike"
    """Spike compensation: a late gradient has at once the part that momentum would have given it meanwhile."""
    beta: float = Field(default=0.9, ge=0, lt=1)
    """Share of the old mean that is kept; 0 is plain SGD."""

    def rule(self) -> Spike:
        """The rule."""
        return Spike(self.beta)


@dataclass(frozen=True, slots=True)
class Momentum(Rule):
    """v <- beta·v + (1 - beta)·g; w <- w - lr·v. State "v.<name>", at first 0, without correction.

    The mean (EMA) form: lr is the effective rate, and equals lr·(1 - beta) of the form that sums gradients
    up.
    """

    beta: float
    kernel = "momentum"
    slots = ("v",)

    def coefficients(self, rate: np.float32, scalars: Scalars, step: Step) -> tuple[Coefficients, dict[str, float]]:
        """beta."""
        return (self.beta,), {}


@dataclass(frozen=True, slots=True)
class Nesterov(Rule):
    """v <- beta·v + (1 - beta)·g; w <- w - lr·(beta·v + (1 - beta)·g). State "v.<name>".

    Source: Sutskever et al. 2013 (ICML), in PyTorch's form times 1 - beta.
    """

    beta: float
    kernel = "spike"
    slots = ("v",)

    def coefficients(self, rate: np.float32, scalars: Scalars, step: Step) -> tuple[Coefficients, dict[str, float]]:
        """beta, a = beta."""
        return (self.beta, self.beta), {}


@dataclass(frozen=True, slots=True)
class Spike(Rule):
    """v <- beta·v + (1 - beta)·g; w <- w - lr·(a·v + (1 - a)·g), a = beta**tau. State "v.<name>".

    Source: Kosson et al. 2021, Pipelined Backpropagation at Scale, arXiv:2003.11666: a = m**D and
    b = (1 - m**D)/(1 - m) for gradients summed up; here by the batch's own staleness. tau = 0: momentum.
    """

    beta: float
    kernel = "spike"
    slots = ("v",)

    def coefficients(self, rate: np.float32, scalars: Scalars, step: Step) -> tuple[Coefficients, dict[str, float]]:
        """beta, a."""
        return (self.beta, power(self.beta, step.staleness)), {}
