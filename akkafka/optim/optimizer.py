"""What every optimizer promises: two pure functions and a named state of plain arrays, so that a fold can
be replayed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from pydantic import Field

from akkafka.errors import ShapeError
from akkafka.nn.layer import F32, FLOAT32, Params
from akkafka.nn.registry import Frozen, from_table
from akkafka.optim.schedule import ConstantSpec, Schedule


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One batch's gradient, and what is known of the weights it was computed with."""

    grads: Params
    """Gradient of the batch's mean loss, keyed and shaped like the params; for a buffer the batch's
    statistic."""
    then: Params
    """The weights of this batch's forward, w_f. May be the very params if nothing was updated since."""
    staleness: int
    """tau: updates between this batch's forward and this update."""
    version: int
    """Updates before this one; schedules go by it."""


class Optimizer(Protocol):
    """Every array is replaced, never written: who keeps a reference to old weights keeps old weights.

    All arrays float32. Arithmetic is elementwise, in a fixed order, so that a fold gives the same bits
    everywhere.
    """

    @property
    def compensates(self) -> bool:
        """Whether gradients are corrected for their staleness; only then is `compensation_ratio` more than 0."""

    def init(self, params: Params) -> dict[str, F32]:
        """State at version 0: "<what>.<name of the param>" to an array of the param's shape, "<what>" to a number as
        an array (1,); empty for plain SGD."""

    def update(self, params: Params, state: Mapping[str, F32], step: Step) -> tuple[dict[str, F32], dict[str, F32]]:
        """New params and new state; buffers are passed through as they are.

        An entry is a new array, or the very same object if it does not change.

        Raises ShapeError if a gradient, an old weight or a state's array is missing or of another shape or
        dtype.
        """

    def compensation_ratio(self, params: Params, state: Mapping[str, F32], step: Step) -> float:
        """|compensation| / |gradient| of the update that these arguments would make (2-norms over all
        params).

        0.0 for rules that don't compensate and for a gradient of 0. Below 1e-3 the compensation is
        decoration. About as dear as an update: for a log now and then, not for every step.
        """


class OptimizerSpec(Frozen):
    """One optimizer's settings."""

    type: str
    """Which optimizer: a key of OPTIMIZERS."""
    lr: float = Field(ge=0, lt=3e38)
    """Learning rate: how far a weight moves for a gradient of 1; 0 leaves the weights as they are."""
    schedule: Schedule = ConstantSpec()
    """How the learning rate changes with the gate's version."""

    @abstractmethod
    def build(self, *, buffers: Collection[str] = ()) -> Optimizer:
        """The optimizer; the names in `buffers` (a layer's `buffers`) are not trained but passed through."""

    def rate(self, version: int) -> np.float32:
        """Learning rate of the update that leads from `version` to `version` + 1."""
        return self.schedule.rate(self.lr, version)


OPTIMIZERS: dict[str, type[OptimizerSpec]] = {}
"""The table that a new optimizer is added to; `akkafka.optim` fills in the package's own."""


def optimizer_spec(data: Mapping[str, Any]) -> OptimizerSpec:
    """The optimizer that `data` describes, such as {"type": "sgd", "lr": 0.1}.

    Raises ConfigError: unknown type or key (with the nearest names), value out of range (naming the key).
    """
    return from_table("optimizer", data, OPTIMIZERS)


def trained(params: Params, buffers: Collection[str]) -> list[str]:
    """The names that an optimizer works on, in the order of `params`."""
    return [name for name in params if name not in buffers]


def matching(name: str, what: str, arrays: Mapping[str, F32], like: F32) -> F32:
    """`arrays[name]`; raises ShapeError unless it is there, float32 and shaped like the param.

    Kernels read memory without asking, so every array passes here first.
    """
    array = arrays.get(name)
    if array is None:
        raise ShapeError(f"{what} {name}: missing, takes {like.shape} float32", hint=_HINT)
    if array.shape != like.shape or array.dtype != FLOAT32:
        raise ShapeError(f"{what} {name}: got {array.shape} {array.dtype}, takes {like.shape} float32", hint=_HINT)
    return array


_HINT = "gradient, weights and state must come from one network and one optimizer: compare the definition"
