"""The numbers of one gate: what the compute thread does with the core's jobs. Pure: arrays in, new arrays out."""

from __future__ import annotations

import numpy as np

from akkafka.errors import AkkafkaError
from akkafka.gate import events as e
from akkafka.gate.state import GateState, Params, apply_record, initial_state
from akkafka.nn.layer import Array, Pass, Tape, check_batch, check_gradient
from akkafka.nn.statistics import follow_statistics
from akkafka.nn.warm import warm_up as warm_up_layer
from akkafka.optim.optimizer import Step
from akkafka.optim.warm import warm_up as warm_up_optimizer
from akkafka.protocol import wire
from akkafka.protocol.definition import Definition
from akkafka.protocol.messages import Forward, JournalRecord, Narrow, Run
from akkafka.protocol.narrow import narrow, shown, wide
from akkafka.protocol.topics import MAX_MESSAGE_BYTES

RATIO_EVERY = 64  # updates between two looks at how much is compensated: one costs about as much as an update


class Model:
    """Layers and optimizer of one gate of a definition."""

    compensation: float | None = None
    """|compensation| / |gradient| of late, where the optimizer compensates; below 1e-3 it is decoration."""

    def __init__(self, definition: Definition, gate: int, run: Run, writer: str) -> None:
        self.layer = definition.layers[gate]
        self.optimizer = definition.gates[gate].optimizer.build(buffers=tuple(self.layer.buffers))
        self._definition, self._gate, self._run, self._writer = definition, gate, run, writer
        self._before, self._behind = definition.edge(gate), definition.edge(gate + 1)

    def initial(self) -> GateState:
        """Version 0: weights from the definition's seed."""
        seed = np.random.SeedSequence(self._definition.weights_seed(self._gate))
        params = self.layer.init(np.random.Generator(np.random.PCG64(seed)))
        return initial_state(params, self.optimizer.init(params), self._definition.plan.count)

    def warm_up(self) -> None:
        """Compile, or read from the cache, all that a batch will need."""
        params = self.layer.init(np.random.default_rng(0))
        warm_up_layer(self.layer)
        warm_up_optimizer(self.optimizer, params)
        for form in {self._before.forward, self._before.backward, self._behind.forward, self._behind.backward}:
            wide(narrow(np.zeros((1, 1), np.float32), form))

    def check_input(self, message: Forward) -> str:
        """Why a batch that is not void cannot be taken; empty if it can."""
        rows = message.rows
        try:
            if rows is None:
                check_batch(self.layer, shown(message.batch))
                return ""
            if rows.samples is None:
                return rows.missing
            samples = rows.samples.array
            check_batch(self.layer, samples[:1])
            size = rows.numbers.size * samples[0].nbytes
            if size > MAX_MESSAGE_BYTES:
                return f"a batch of {size} bytes, takes {MAX_MESSAGE_BYTES}, by reference as by value"
            highest = int(rows.numbers.max())
            if highest >= len(samples):
                return f"row {highest} of data set {rows.data.hex()}, it has {len(samples)}"
        except AkkafkaError as error:
            return str(error)
        return ""

    def forward(self, job: e.ComputeForward) -> e.ForwardComputed:
        """y (B, *out_shape); whatever a layer raises makes the batch void, not the gate."""
        message = job.message
        training = message.mode.training
        try:
            x = wide(message.batch)
            y, tape = self.layer.forward(job.state.params, x, Pass(training, job.key))
        except Exception as error:
            return e.ForwardComputed(job, None, failure=f"{type(error).__name__}: {error}")
        given = narrow(y, self._behind.forward)
        return e.ForwardComputed(job, given, (len(x), tape) if training else None)

    def backward(self, job: e.ComputeBackward) -> e.BackwardComputed:
        """dx, the journal record and the next state; what a layer raises makes the record void."""
        message = job.message
        if message.void:
            return self._recorded(job, None, {}, message.void)
        try:
            dx, grads = self._differentiate(job)
            given = None if dx is None else narrow(dx, self._before.backward)
            return self._recorded(job, given, grads, "")
        except Exception as error:
            failure = f"gate {self._gate}: {type(error).__name__}: {error}"
            return self._recorded(job, None, {}, failure, failure)

    def fold(self, job: e.Fold) -> e.Folded:
        """The state after a record that counts."""
        return e.Folded(job, apply_record(job.base, job.record, job.value, job.then, self.step))

    def step(self, state: GateState, grads: Params, then: Params, staleness: int) -> tuple[Params, Params]:
        """The optimizer's update, and the buffers' (gate/state.py: Stepper)."""
        step = Step(grads, then, staleness, state.version)
        if self.optimizer.compensates and state.version % RATIO_EVERY == RATIO_EVERY - 1:
            self.compensation = self.optimizer.compensation_ratio(state.params, state.optimizer, step)
        params, optimizer = self.optimizer.update(state.params, state.optimizer, step)
        return {**params, **follow_statistics(state.params, grads, self.layer.buffers)}, optimizer

    def _differentiate(self, job: e.ComputeBackward) -> tuple[Array | None, Params]:
        dy = job.message.dy
        if dy is None:
            raise ValueError("a gradient without numbers")
        samples, tape = job.tape if job.tape is not None else self._forward_again(job)
        check_gradient(self.layer, shown(dy), samples)
        return self.layer.backward(job.then, tape, wide(dy), need_dx=self._gate > 0)

    def _forward_again(self, job: e.ComputeBackward) -> tuple[int, Tape]:
        """The tape is gone with the process that had it: same weights, same key, same tape."""
        assert job.source is not None, "the core brings the tape or the input"
        if reason := self.check_input(job.source):
            raise ValueError(reason)
        x = wide(job.source.batch)
        return len(x), self.layer.forward(job.then, x, Pass(True, job.key))[1]

    def _recorded(
        self, job: e.ComputeBackward, dx: Array | Narrow | None, grads: Params, void: str, failure: str = ""
    ) -> e.BackwardComputed:
        message = job.message
        record = JournalRecord(
            run=self._run,
            gate=self._gate,
            lane=message.lane,
            seq=message.seq,
            hop=job.hop,
            source=job.offset,
            grads=grads,
            void=void,
            writer=self._writer,
            tally=message.tally,
        )
        value = wire.encode(record)
        state = apply_record(job.base, record, value, job.then, self.step)
        return e.BackwardComputed(job, dx, record, value, state, failure)
