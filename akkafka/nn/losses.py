"""Losses: what a sentinel computes at the open end of the chain, with the gradient that it sends back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from akkafka.errors import ShapeError
from akkafka.nn import kernels
from akkafka.nn.layer import F32, FLOAT32, Array
from akkafka.nn.registry import lookup


@dataclass(frozen=True, slots=True, eq=False)
class LossResult:
    """One batch's loss, ready to be reported and sent back."""

    loss: float
    """Mean over the batch, natural logarithm."""
    dlogits: F32
    """(B, C): gradient of the mean loss."""
    correct: int
    """Samples whose greatest logit (the first of equals) is the target's."""


Loss: TypeAlias = Callable[[F32, Array], LossResult]


def softmax_cross_entropy(logits: F32, targets: Array) -> LossResult:
    """-log softmax(logits)[target], its gradient (softmax - one-hot) / B, and the hits.

    Logits (B ≥ 1, C ≥ 1) float32 C-contiguous, targets (B,) of an integer dtype with 0 ≤ target < C. A row
    with not-a-number or +infinity gives not-a-number in its gradient and in the loss, and no hit. The bits
    of the result depend on the bits of the input alone: all sums in float64, in order of the rows and
    classes. Raises ShapeError for other shapes or dtypes, and for targets out of range (naming the sample).
    """
    classes = _checked(logits, targets)
    dlogits = np.empty(logits.shape, np.float32)
    loss, correct, bad = kernels.softmax.cross_entropy(logits, classes, dlogits)
    if bad >= 0:
        raise ShapeError(
            f"loss: target of sample {bad} is {targets[bad]}, takes 0 to {logits.shape[1] - 1}",
            hint="the last layer needs as many outputs as the data set has classes",
        )
    return LossResult(float(loss), dlogits, int(correct))


def _checked(logits: F32, targets: Array) -> Array:
    if logits.ndim != 2 or logits.dtype != FLOAT32 or logits.size == 0 or not logits.flags.c_contiguous:
        raise ShapeError(f"loss: got logits {logits.shape} {logits.dtype}, takes (B, C) float32, C-contiguous")
    if targets.shape != logits.shape[:1] or targets.dtype.kind not in "iu":
        raise ShapeError(
            f"loss: got targets {targets.shape} {targets.dtype}, takes ({logits.shape[0]},) of whole numbers"
        )
    return np.ascontiguousarray(targets, np.int64)


LOSSES: dict[str, Loss] = {"softmax-cross-entropy": softmax_cross_entropy}
"""The table that a new loss is added to."""


def loss_named(name: str) -> Loss:
    """The loss under `name` in LOSSES; raises ConfigError with the nearest names if there is none."""
    return lookup("loss", name, LOSSES)
