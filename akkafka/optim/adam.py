"""Adam and its kin: each weight by the running mean and size of its own gradient."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from akkafka.optim.chain import ChainSpec, Coefficients, Rule, Scalars
from akkafka.optim.exact import decayed, power
from akkafka.optim.optimizer import Step


class MomentsSpec(ChainSpec):
    """Settings that Adam and its kin share."""

    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Share of the old mean of g that is kept; under stale gradients 0.5 or less is the robust choice."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Share of the old mean of g² that is kept."""
    eps: float = Field(default=1e-8, ge=1e-30, lt=3e38)
    """Added to the root, against division by 0."""

    @abstractmethod
    def rule(self) -> Adam | NAdam:
        """The rule with these settings."""


class AdamSpec(MomentsSpec):
    """Settings of Adam."""

    type: Literal["adam"] = "adam"
    """Adam (Kingma, Ba 2015, arXiv:1412.6980); weight decay is part of the gradient."""

    def rule(self) -> Adam:
        """The rule."""
        return Adam(self.beta1, self.beta2, self.eps, 0.0)


class AdamWSpec(MomentsSpec):
    """Settings of AdamW."""

    type: Literal["adamw"] = "adamw"
    """AdamW (Loshchilov, Hutter 2019, arXiv:1711.05101): weight decay is no part of the gradient."""
    weight_decay: float = Field(default=0.01, ge=0, lt=3e38)
    """Weights shrink by lr·weight_decay in each update; biases too."""

    def rule(self) -> DecoupledAdam:
        """The rule."""
        return DecoupledAdam(self.beta1, self.beta2, self.eps, self.weight_decay)


class NAdamSpec(MomentsSpec):
    """Settings of NAdam."""

    type: Literal["nadam"] = "nadam"
    """NAdam (Dozat 2016), as PyTorch's: Adam with Nesterov's momentum, which comes up slowly."""
    psi: float = Field(default=0.004, ge=0, le=1e3)
    """How fast the momentum comes up: 1 - 0.96**(t·psi) / 2 of beta1 at update t."""

    def rule(self) -> NAdam:
        """The rule."""
        return NAdam(self.beta1, self.beta2, self.eps, self.psi)


@dataclass(frozen=True, slots=True)
class Adam(Rule):
    """m <- b1·m + (1-b1)·g; u <- b2·u + (1-b2)·g²; w <- w - lr·m̂/(sqrt(û) + eps), m̂ = m/(1-b1**t), û = u/(1-b2**t).

    State "m.<name>", "u.<name>", at first 0, and "t", the updates made (once a step, whatever the params).
    """

    beta1: float
    beta2: float
    eps: float
    decoupled: float
    kernel = "adam"
    slots = ("m", "u")
    scalars = {"t": 0.0}  # noqa: RUF012 (a ClassVar in Rule)

    def coefficients(self, rate: np.float32, scalars: Scalars, step: Step) -> tuple[Coefficients, dict[str, float]]:
        """b1, 1-b1, b2, 1-b2, eps, 1/(1-b1**t), 1/sqrt(1-b2**t), and what is kept of w."""
        t = scalars["t"] + 1
        c1, c2 = 1 / (1 - power(self.beta1, int(t))), float(1 / np.sqrt(1 - power(self.beta2, int(t))))
        keep = 1 - float(rate) * self.decoupled
        numbers = (self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, self.eps, c1, c2, keep)
        return numbers, {"t": t}


@dataclass(frozen=True, slots=True)
class DecoupledAdam(Adam):
    """As Adam, and w is first multiplied by 1 - lr·weight_decay."""

    coupled = False


@dataclass(frozen=True, slots=True)
class NAdam(Rule):
    """m, u as Adam's; w <- w - lr·((1 - mu_t)/(1 - P_t)·g + mu_t+1/(1 - P_t·mu_t+1)·m) / (sqrt(û) + eps).

    mu_t = b1·(1 - 0.96**(t·psi)/2), P_t the product of mu_1 … mu_t. State also "t" and "product", at first 1.
    """

    beta1: float
    beta2: float
    eps: float
    psi: float
    kernel = "nadam"
    slots = ("m", "u")
    scalars = {"t": 0.0, "product": 1.0}  # noqa: RUF012 (a ClassVar in Rule)

    def coefficients(self, rate: np.float32, scalars: Scalars, step: Step) -> tuple[Coefficients, dict[str, float]]:
        """b1, 1-b1, b2, 1-b2, eps, 1/sqrt(1-b2**t), and the shares of g and m."""
        t = scalars["t"] + 1
        mu, following = (self.beta1 * (1 - 0.5 * decayed(n * self.psi)) for n in (t, t + 1))
        product = scalars["product"] * mu
        c2 = float(1 / np.sqrt(1 - power(self.beta2, int(t))))
        now, ahead = (1 - mu) / (1 - product), following / (1 - product * following)
        numbers = (self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, self.eps, c2, now, ahead)
        return numbers, {"t": t, "product": product}
