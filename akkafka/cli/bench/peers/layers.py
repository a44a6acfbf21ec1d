"""Peer: akkafka's own layers and optimizers as a plain loop in one process: what the gates' work takes by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from akkafka.cli.bench.peers.in_process import trained
from akkafka.cli.bench.peers.job import F32, U8, Job, Result
from akkafka.cli.bench.peers.plain import Params


class Gate:
    """One gate's layers and optimizer."""

    def __init__(self, definition: Any, index: int, keep_every: int) -> None:
        from akkafka.nn.layer import Pass
        from akkafka.optim.optimizer import Step

        self._pass, self._step = Pass, Step
        self.layer, self.first, self.version = definition.layers[index], index == 0, 0
        seed = np.random.SeedSequence(definition.weights_seed(index))
        self.params: Params = self.layer.init(np.random.Generator(np.random.PCG64(seed)))
        self.optimizer = definition.gates[index].optimizer.build()
        self.state = self.optimizer.init(self.params)
        self.tape: Any = None
        self.keep_every = keep_every
        self.kept: dict[int, Params] = {}

    def forward(self, batch: int, x: U8 | F32) -> F32:
        """See plain.Stage."""
        y, self.tape = self.layer.forward(self.params, np.ascontiguousarray(x), self._pass(True, batch))
        return np.asarray(y, np.float32)

    def backward(self, batch: int, dy: F32) -> F32 | None:
        """See plain.Stage."""
        dx, grads = self.layer.backward(self.params, self.tape, dy, need_dx=not self.first)
        step = self._step(grads, self.params, 0, self.version)
        self.params, self.state = self.optimizer.update(self.params, self.state, step)
        self.version += 1
        if self.keep_every and self.version % self.keep_every == 0:
            self.kept[self.version] = self.params
        return None if dx is None else np.asarray(dx, np.float32)

    def infer(self, x: U8 | F32) -> F32:
        """See plain.Stage."""
        y, _ = self.layer.forward(self.params, np.ascontiguousarray(x), self._pass(False, 0))
        return np.asarray(y, np.float32)


def run(job: Job) -> Result:
    """Train synchronously."""
    from akkafka import __version__
    from akkafka.protocol.definition import parse_definition

    definition = parse_definition(job.definition)
    gates = [Gate(definition, i, job.keep_every) for i in range(job.stages)]
    return trained(job, gates, Result(versions={"numpy": np.__version__, "akkafka": __version__}))
