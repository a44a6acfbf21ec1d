"""Plain SGD: the hard baseline, and what stale gradients hurt least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from akkafka.optim.chain import ChainSpec, Rule


class SgdSpec(ChainSpec):
    """Settings of SGD."""

    type: Literal["sgd"] = "sgd"
    """SGD: w - lr·(g + weight_decay·w)."""

    weight_decay: float = Field(default=0.0, ge=0, lt=3e38)
    """Pull towards 0, added to the gradient; biases too."""
    clip_norm: float | None = Field(default=None, gt=0)
    """A gradient whose 2-norm over the gate's params is greater is scaled down to this; no limit by
    default."""

    def rule(self) -> Sgd:
        """The rule."""
        return Sgd()


@dataclass(frozen=True, slots=True)
class Sgd(Rule):
    """w <- w - lr·g. No state."""

    kernel = "sgd"
