"""Losses: what a sentinel computes at the open end of the chain, with the gradient that it sends back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from akkafka.errors import ConfigError, ShapeError
from akkafka.nn import kernels
from akkafka.nn.layer import F32, FLOAT32, Array, Shape
from akkafka.nn.registry import lookup, nearest

MANY = 20  # classes from which on the hits among the greatest tell something, too
TOP = 5  # a metric of classes: whether the target is among the five greatest logits


@dataclass(frozen=True, slots=True, eq=False)
class LossResult:
    """One batch's loss, ready to be reported and sent back."""

    loss: float
    """Mean over the batch, natural logarithm."""
    dlogits: F32
    """Shaped like the outputs: gradient of the mean loss."""
    correct: float
    """Samples whose greatest logit (the first of equals) is the target's; of a sequence the share of its positions.
    0 for losses without a right and a wrong."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Means over the batch, by name: "accuracy", "top-5", "mae"."""


Loss: TypeAlias = Callable[[F32, Array], LossResult]


def softmax_cross_entropy(logits: F32, targets: Array, *, smoothing: float = 0.0) -> LossResult:
    """-log softmax(logits)[target], its gradient (softmax - one-hot) / B, and the hits.

    Logits (B ≥ 1, ..., C ≥ 1) float32 C-contiguous, targets (B, ...) of an integer dtype with 0 ≤ target < C; for
    sequences the mean is over all positions. A row with not-a-number or +infinity gives not-a-number in its gradient
    and in the loss, and no hit. The bits of the result depend on the bits of the input alone: all sums in float64, in
    order of the rows and classes. smoothing s: targets are (1 - s)·one-hot + s / C (Szegedy et al. 2016,
    arXiv:1512.00567). Raises ShapeError for other shapes or dtypes, and for targets out of range (naming the sample).
    """
    rows, classes = _rows(logits, targets)
    dlogits = np.empty(logits.shape, np.float32)
    loss, hits, bad = kernels.softmax.cross_entropy(rows, classes, dlogits.reshape(rows.shape))
    if bad >= 0:
        raise ShapeError(
            f"loss: target of sample {bad} is {classes[bad]}, takes 0 to {rows.shape[1] - 1}",
            hint="the last layer needs as many outputs as the data set has classes",
        )
    if smoothing:
        loss += kernels.losses.smooth(rows, classes, np.float32(smoothing), dlogits.reshape(-1)) / len(rows)
    metrics = {"accuracy": hits / len(rows)}
    if rows.shape[1] > TOP:
        metrics[f"top-{TOP}"] = kernels.losses.among_the_greatest(rows, classes, TOP) / len(rows)
    return LossResult(float(loss), dlogits, hits * len(logits) / len(rows), metrics)


def binary_cross_entropy(logits: F32, targets: Array) -> LossResult:
    """-t·log p - (1 - t)·log(1 - p), p = sigmoid(logit), over all outputs; a hit is on the target's side of 1/2.

    Logits (B ≥ 1, k) float32 C-contiguous, targets 0…1 (B, k), or (B,) where k = 1. Raises ShapeError for others.
    """
    given = _reals(logits, targets)
    dlogits = np.empty(logits.shape, np.float32)
    loss, hits = kernels.losses.binary_cross_entropy(logits.ravel(), given, 1 / logits.size, dlogits.reshape(-1))
    accuracy = hits / logits.size
    return LossResult(loss / logits.size, dlogits, accuracy * len(logits), {"accuracy": accuracy})


def mean_squared_error(outputs: F32, targets: Array) -> LossResult:
    """Mean of (output - target)². Outputs (B ≥ 1, ...) float32 C-contiguous; targets alike, or (B,) for (B, 1).

    Raises ShapeError for other shapes or dtypes.
    """
    return _of_reals(kernels.losses.squared, outputs, targets)


def mean_absolute_error(outputs: F32, targets: Array) -> LossResult:
    """Mean of |output - target|; shapes as for the squared error."""
    return _of_reals(kernels.losses.absolute, outputs, targets)


def huber(outputs: F32, targets: Array, *, delta: float = 1.0) -> LossResult:
    """Mean of d²/2 where |d| ≤ delta, else delta·(|d| - delta/2), d = output - target (Huber 1964).

    Shapes as for the squared error.
    """

    def kernel(x: F32, t: F32, share: float, out: F32) -> tuple[float, float]:
        return kernels.losses.huber(x, t, delta, share, out)

    return _of_reals(kernel, outputs, targets)


def _of_reals(kernel: Callable[..., tuple[float, float]], outputs: F32, targets: Array) -> LossResult:
    given = _reals(outputs, targets)
    gradient = np.empty(outputs.shape, np.float32)
    loss, way = kernel(outputs.ravel(), given, 1 / outputs.size, gradient.reshape(-1))
    return LossResult(loss / outputs.size, gradient, 0, {"mae": way / outputs.size})


def _rows(logits: F32, targets: Array) -> tuple[F32, Array]:
    """Logits (R, C) and targets (R,) int64, R = all positions of all samples."""
    if logits.ndim < 2 or logits.dtype != FLOAT32 or logits.size == 0 or not logits.flags.c_contiguous:
        raise ShapeError(f"loss: got logits {logits.shape} {logits.dtype}, takes (B, C) float32, C-contiguous")
    if targets.shape != logits.shape[:-1] or targets.dtype.kind not in "iu":
        takes = str(logits.shape[:-1])
        raise ShapeError(f"loss: got targets {targets.shape} {targets.dtype}, takes {takes} of whole numbers")
    return logits.reshape(-1, logits.shape[-1]), np.ascontiguousarray(targets, np.int64).reshape(-1)


def _reals(outputs: F32, targets: Array) -> F32:
    """Targets, flat float32, one for each output."""
    if outputs.ndim < 1 or outputs.dtype != FLOAT32 or outputs.size == 0 or not outputs.flags.c_contiguous:
        raise ShapeError(f"loss: got outputs {outputs.shape} {outputs.dtype}, takes (B, k) float32, C-contiguous")
    fits = targets.shape == outputs.shape or (*targets.shape, 1) == outputs.shape
    if not fits or targets.dtype.kind not in "iuf":
        raise ShapeError(
            f"loss: got targets {targets.shape} {targets.dtype}, takes {outputs.shape} of numbers",
            hint="the last layer needs as many outputs as a sample has targets",
        )
    return np.ascontiguousarray(targets, np.float32).reshape(-1)


LOSSES: dict[str, Loss] = {
    "softmax-cross-entropy": softmax_cross_entropy,
    "binary-cross-entropy": binary_cross_entropy,
    "mse": mean_squared_error,
    "mae": mean_absolute_error,
    "huber": huber,
}
"""The table that a new loss is added to."""
SETTINGS: dict[str, Mapping[str, tuple[float, float]]] = {
    "softmax-cross-entropy": {"smoothing": (0.0, 1.0)},
    "huber": {"delta": (1e-6, 1e6)},
}
"""What can be set of a loss: keyword, least and greatest value."""
REAL_TARGETS = frozenset({"mse", "mae", "huber"})
"""Losses for real targets; others take classes."""


def loss_named(name: str, settings: Mapping[str, float] | None = None) -> Loss:
    """The loss under `name` in LOSSES, with `settings`; raises ConfigError as `check_loss`."""
    found = check_loss(name, settings or {})
    return partial(found, **settings) if settings else found


def check_loss(name: str, settings: Mapping[str, Any]) -> Loss:
    """The loss under `name`; raises ConfigError for an unknown one (with the nearest names) or a setting it has not."""
    found = lookup("loss", name, LOSSES)
    takes = SETTINGS.get(name, {})
    for key, value in settings.items():
        if key not in takes:
            hint = nearest(key, takes) if takes else "It takes no settings."
            raise ConfigError(f"loss {name}: unknown setting {key!r}", hint=hint)
        least, greatest = takes[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= greatest:
            raise ConfigError(f"loss {name}: {key} = {value!r}: takes a number from {least:g} to {greatest:g}")
    return found


def telling(name: str, out_shape: Shape) -> tuple[str, ...]:
    """Which metrics say how well a network of this loss and these outputs (C,) or (..., C) does, the foremost first."""
    if name in REAL_TARGETS:
        return ("mae",)
    if name != "softmax-cross-entropy":
        return ("accuracy",)
    if len(out_shape) > 1:
        return "perplexity", "accuracy"
    return ("accuracy", f"top-{TOP}") if out_shape[-1] > MANY else ("accuracy",)


def derived(name: str, loss: float) -> dict[str, float]:
    """Metrics that follow from the mean loss of many batches: perplexity, among how many equally likely classes the
    network hesitates, for cross-entropy."""
    return {"perplexity": perplexity(loss)} if name == "softmax-cross-entropy" else {}


def perplexity(loss: float) -> float:
    """e to the mean cross-entropy; beyond e^700 it is said to be that."""
    return math.exp(min(loss, 700.0))
