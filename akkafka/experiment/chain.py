"""A chain of gates in one process, each so many updates late: the arithmetic of the pipeline without its messages.

Gate l computes batch n's forward with its weights of version max(0, n - tau_l), differentiates with them, and applies
the gradient as its update n: what the pipeline does under the fixed schedule with D = tau, and under arrival once its
delays are steady. `gate.model.Model` does the numbers here as there; tests hold both together bit for bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akkafka.data.dataset import Dataset
from akkafka.data.epochs import Plan, take
from akkafka.gate.model import Model
from akkafka.gate.state import GateState, Params
from akkafka.nn.layer import Pass
from akkafka.nn.losses import loss_named
from akkafka.protocol.definition import Definition, mask_key
from akkafka.protocol.messages import Run

Array = NDArray[Any]
EVALUATION = Pass(training=False, key=0)
ROWS = 2048  # of a data set that are evaluated at once


@dataclass(frozen=True, slots=True)
class Score:
    """How a network does on a data set."""

    loss: float  # mean over its samples
    accuracy: float  # share of samples


class Chain:
    """A network at version 0; `train` moves it on."""

    def __init__(self, definition: Definition, taus: Sequence[int], *, stash: bool = True) -> None:
        """`taus`: updates that each gate is late; falling or equal along the gates, as in a pipeline.

        Without `stash` input gradients are formed with the weights of the moment, activations still being the
        forward's: what a gate does that keeps no old weights.
        """
        run = Run(bytes.fromhex(definition.hash)[:8], bytes(8))
        self._definition, self._run, self._stash = definition, run, stash
        self._models = [Model(definition, gate, run, "") for gate in range(len(definition.gates))]
        self._states = [deque([model.initial()], maxlen=tau + 1) for model, tau in zip(self._models, taus, strict=True)]
        self._loss = loss_named(definition.loss, definition.loss_settings)

    @property
    def states(self) -> list[GateState]:
        """The newest of each gate."""
        return [states[-1] for states in self._states]

    @property
    def weights(self) -> list[Params]:
        """The newest of each gate."""
        return [state.params for state in self.states]

    def train(self, data: Dataset, plan: Plan, batches: int) -> None:
        """Apply so many batches of lane 0, from the plan's first on."""
        for number, (x, y) in enumerate(batches_of(data, plan, batches)):
            self._apply(number, x, y)

    def score(self, data: Dataset, weights: Sequence[Params] | None = None) -> Score:
        """Loss and accuracy of the newest weights, or of `weights`; where they are not finite, infinity and 0."""
        loss, hits = 0.0, 0
        weights = self.weights if weights is None else weights
        for first in range(0, len(data), ROWS):
            x, y = take(data, np.arange(first, min(first + ROWS, len(data))))
            for model, params in zip(self._models, weights, strict=True):
                x, _ = model.layer.forward(params, x, EVALUATION)
            found = self._loss(x, y)
            loss, hits = loss + found.loss * len(y), hits + int(found.correct)
        mean = loss / len(data)
        return Score(mean, hits / len(data)) if np.isfinite(mean) else Score(np.inf, 0.0)

    def _apply(self, number: int, x: Array, y: Array) -> None:
        used = [states[0] for states in self._states]  # the oldest that is kept is tau updates old
        tapes = []
        for gate, (model, state) in enumerate(zip(self._models, used, strict=True)):
            key = mask_key(self._run, gate, 0, number)
            x, tape = model.layer.forward(state.params, x, Pass(True, key))
            tapes.append(tape)
        dy: Any = self._loss(x, y).dlogits
        for gate in range(len(self._models) - 1, -1, -1):
            dy = self._back(gate, used[gate], tapes[gate], dy)

    def _back(self, gate: int, used: GateState, tape: Any, dy: Array) -> Array | None:
        """The gradient for the gate below; the gate has taken its step."""
        model, states = self._models[gate], self._states[gate]
        now = states[-1]
        params = used.params if self._stash else now.params
        dx, grads = model.layer.backward(params, tape, dy, need_dx=gate > 0)
        new, optimizer = model.step(now, grads, used.params, now.version - used.version)
        states.append(replace(now, version=now.version + 1, params=new, optimizer=optimizer))
        return dx


def batches_of(data: Dataset, plan: Plan, count: int) -> Iterator[tuple[Array, Array]]:
    """(x, y) of the first `count` batches, over as many epochs as that takes."""
    for number in range(count):
        yield take(data, plan.ids(plan.cursor_of(number)))


def linear_profile(gates: int, in_flight: int) -> tuple[int, ...]:
    """Delays of equal gates with so many batches in flight, from in_flight - 1 at the first to 0 at the last."""
    return tuple(round((in_flight - 1) * (gates - 1 - gate) / (gates - 1)) if gates > 1 else 0 for gate in range(gates))


def distance(weights: Sequence[Params], others: Sequence[Params]) -> float:
    """2-norm of the difference over all weights of all gates."""
    squares = (
        float(np.sum((np.float64(own[name]) - other[name]) ** 2))
        for own, other in zip(weights, others, strict=True)
        for name in own
    )
    return float(np.sqrt(sum(squares)))
