"""Lion: the sign of a running mean, so that every weight moves by just the learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from akkafka.optim.chain import ChainSpec, Coefficients, Rule, Scalars
from akkafka.optim.optimizer import Step


class LionSpec(ChainSpec):
    """Settings of Lion."""

    type: Literal["lion"] = "lion"
    """Lion (Chen et al. 2023, arXiv:2302.06675); weight decay is no part of the gradient. Takes a small lr."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Share of the old mean in what the sign is taken of."""
    beta2: float = Field(default=0.99, ge=0, lt=1)
    """Share of the old mean that is kept."""

    def rule(self) -> Lion:
        """The rule."""
        return Lion(self.beta1, self.beta2, self.weight_decay)


@dataclass(frozen=True, slots=True)
class Lion(Rule):
    """w <- (1 - lr·weight_decay)·w - lr·sign(b1·m + (1-b1)·g); m <- b2·m + (1-b2)·g. State "m.<name>", at first 0."""

    beta1: float
    beta2: float
    weight_decay: float
    kernel = "lion"
    slots = ("m",)
    coupled = False
    streams = False

    def coefficients(self, rate: np.float32, scalars: Scalars, step: Step) -> tuple[Coefficients, dict[str, float]]:
        """b1, 1-b1, b2, 1-b2, and what is kept of w."""
        keep = 1 - float(rate) * self.weight_decay
        return (self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, keep), {}
