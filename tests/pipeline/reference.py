"""What the pipeline has to equal, bit for bit: the same layers and optimizers in plain loops, without a message.

Independent of gates and sentinels; only layers, optimizers, losses, batches and mask keys are shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from akkafka.broker.network import Network
from akkafka.data.dataset import load
from akkafka.data.epochs import Plan, take
from akkafka.nn.layer import Pass
from akkafka.nn.losses import loss_named
from akkafka.optim.optimizer import Step
from akkafka.protocol.definition import mask_key
from akkafka.protocol.messages import Mode
from akkafka.protocol.narrow import Form, narrow, wide

Params = Mapping[str, NDArray[Any]]
Batch = tuple[int, int]  # (lane, seq)


@dataclass(frozen=True)
class Update:
    """One update of one gate: whose gradient, and which version its forward had used."""

    batch: Batch
    forward_version: int


@dataclass
class Reference:
    """All gates of a network in one process."""

    network: Network
    given: Mapping[str, Params] = field(default_factory=dict)  # by gate: weights to begin with
    weights: list[list[Params]] = field(default_factory=list)  # by gate, by version
    _states: list[Params] = field(default_factory=list)
    _passed: dict[tuple[int, Batch], tuple[Any, Any]] = field(default_factory=dict)  # (gate, batch) -> (y, tape)
    _gradients: dict[tuple[int, Batch], tuple[Any, Params]] = field(default_factory=dict)
    _forward_versions: list[dict[Batch, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        definition = self.network.definition
        self._layers = definition.layers
        self._optimizers = [
            gate.optimizer.build(buffers=tuple(layer.buffers))
            for gate, layer in zip(definition.gates, self._layers, strict=True)
        ]
        for gate, layer in enumerate(self._layers):
            seed = np.random.SeedSequence(definition.weights_seed(gate))
            drawn = layer.init(np.random.Generator(np.random.PCG64(seed)))
            params = self.given.get(definition.gates[gate].name, drawn)
            self.weights.append([params])
            self._states.append(self._optimizers[gate].init(params))
        self._loss = loss_named(definition.loss, definition.loss_settings)
        self._data = load(definition.data, "train")
        self._plan = Plan(len(self._data), None, definition.batch_size, definition.seed)

    @property
    def lanes(self) -> int:
        """Training lanes of the definition (all on one source)."""
        return len(self.network.definition.plan.of(Mode.TRAIN))

    def batches(self, epochs: int) -> list[Batch]:
        """All batches of so many epochs, in the order of n = seq * lanes + lane."""
        return [(n % self.lanes, n // self.lanes) for n in range(epochs * self._plan.batches_per_epoch)]

    def run(self, schedule: Sequence[Sequence[Update]]) -> list[Params]:
        """Final weights after the updates of each gate, in their order."""
        self._forward_versions = [{u.batch: u.forward_version for u in updates} for updates in schedule]
        done = [0] * len(schedule)
        moved = True
        while moved:
            moved = False
            for gate, updates in enumerate(schedule):
                while done[gate] < len(updates) and self._update(gate, updates[done[gate]]):
                    done[gate] += 1
                    moved = True
        assert done == [len(updates) for updates in schedule], "the schedule waits for itself"
        return [versions[-1] for versions in self.weights]

    def _update(self, gate: int, update: Update) -> bool:
        """False if something that it needs does not exist yet."""
        computed = self._backward(gate, update.batch)
        if computed is None:
            return False
        version = len(self.weights[gate]) - 1
        if not self._trainable(gate):
            self.weights[gate].append(self.weights[gate][-1])
            return True
        then = self.weights[gate][update.forward_version]
        step = Step(computed[1], then, version - update.forward_version, version)
        params, self._states[gate] = self._optimizers[gate].update(self.weights[gate][-1], self._states[gate], step)
        old = self.weights[gate][-1]
        for name, share in self._layers[gate].buffers.items():
            m: Any = np.float32(share)
            params[name] = (np.float32(1) - m) * old[name] + m * computed[1][name]
        self.weights[gate].append(params)
        return True

    def _then(self, gate: int, batch: Batch) -> Params | None:
        version = self._forward_versions[gate][batch]
        return self.weights[gate][version] if version < len(self.weights[gate]) else None

    def _forward(self, gate: int, batch: Batch) -> tuple[Any, Any] | None:
        if (gate, batch) in self._passed:
            return self._passed[gate, batch]
        x = self._samples(batch)[0] if gate == 0 else self._output(gate - 1, batch)
        then = self._then(gate, batch)
        if x is None or then is None:
            return None
        key = mask_key(self.network.run, gate, *batch)
        y, tape = self._layers[gate].forward(then, x, Pass(self._trainable(gate), key))
        self._passed[gate, batch] = passed = self._rounded(y, gate + 1, "forward"), tape
        return passed

    def _trainable(self, gate: int) -> bool:
        return self.network.definition.gates[gate].trainable

    def _rounded(self, x: Any, edge: int, way: Literal["forward", "backward"]) -> Any:
        """What is at the other end of the edge."""
        form: Form = getattr(self.network.definition.edge(edge), way)
        return wide(narrow(x, form))

    def _output(self, gate: int, batch: Batch) -> Any:
        passed = self._forward(gate, batch)
        return None if passed is None else passed[0]

    def _backward(self, gate: int, batch: Batch) -> tuple[Any, Params] | None:
        if (gate, batch) in self._gradients:
            return self._gradients[gate, batch]
        passed, dy = self._forward(gate, batch), self._gradient_into(gate, batch)
        then = self._then(gate, batch)
        if passed is None or dy is None or then is None:
            return None
        dx, grads = self._layers[gate].backward(then, passed[1], dy, need_dx=gate > 0)
        given = None if dx is None else self._rounded(dx, gate, "backward")
        form = self.network.definition.wire.journal
        full = self._layers[gate].buffers
        grads = {name: g if name in full else wide(narrow(g, form)) for name, g in grads.items()}
        self._gradients[gate, batch] = (given, grads)
        return given, grads

    def _gradient_into(self, gate: int, batch: Batch) -> Any:
        if gate + 1 < len(self._layers):
            computed = self._backward(gate + 1, batch)
            return None if computed is None else computed[0]
        logits = self._output(gate, batch)
        if logits is None:
            return None
        return self._rounded(self._loss(logits, self._samples(batch)[1]).dlogits, gate + 1, "backward")

    def _samples(self, batch: Batch) -> tuple[Any, Any]:
        lane, seq = batch
        return take(self._data, self._plan.ids(self._plan.cursor_of(seq * self.lanes + lane)))


def fixed_schedule(reference: Reference, epochs: int, delay: int) -> list[list[Update]]:
    """Updates in order of n; batch n's forward used version max(0, n - delay)."""
    batches = reference.batches(epochs)
    updates = [Update(batch, max(0, n - delay)) for n, batch in enumerate(batches)]
    return [updates for _ in reference.weights]


def same_bits(left: Params, right: Params) -> bool:
    """True if names, shapes, dtypes and all bits agree."""
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and left[name].tobytes() == right[name].tobytes()
        for name in left
    )
