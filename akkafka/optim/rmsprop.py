"""RMSprop and Adagrad: each weight by the size of its own gradient, of late or from the beginning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from akkafka.optim.chain import ChainSpec, Coefficients, Rule, Scalars
from akkafka.optim.optimizer import Step


class RmsPropSpec(ChainSpec):
    """Settings of RMSprop."""

    type: Literal["rmsprop"] = "rmsprop"
    """RMSprop (Tieleman, Hinton 2012), as PyTorch's without momentum."""
    alpha: float = Field(default=0.99, ge=0, lt=1)
    """Share of the old mean of g² that is kept."""
    eps: float = Field(default=1e-8, ge=1e-30, lt=3e38)
    """Added to the root, against division by 0."""

    def rule(self) -> RootMeanSquare:
        """The rule."""
        return RootMeanSquare(self.alpha, 1 - self.alpha, self.eps)


class AdagradSpec(ChainSpec):
    """Settings of Adagrad."""

    type: Literal["adagrad"] = "adagrad"
    """Adagrad (Duchi et al. 2011, JMLR 12): steps only get smaller."""
    eps: float = Field(default=1e-10, ge=1e-30, lt=3e38)
    """Added to the root, against division by 0."""

    def rule(self) -> RootMeanSquare:
        """The rule."""
        return RootMeanSquare(1.0, 1.0, self.eps)


@dataclass(frozen=True, slots=True)
class RootMeanSquare(Rule):
    """u <- kept·u + added·g²; w <- w - lr·g / (sqrt(u) + eps). State "u.<name>", at first 0, without correction.

    RMSprop: kept alpha, added 1 - alpha. Adagrad: both 1.
    """

    kept: float
    added: float
    eps: float
    kernel = "root_mean_square"
    slots = ("u",)

    def coefficients(self, rate: np.float32, scalars: Scalars, step: Step) -> tuple[Coefficients, dict[str, float]]:
        """kept, added, eps."""
        return (self.kept, self.added, self.eps), {}
