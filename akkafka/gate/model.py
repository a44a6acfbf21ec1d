"""The numbers of one gate: what the compute thread does with the core's jobs. Pure: arrays in, new arrays out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from akkafka.errors import AkkafkaError
from akkafka.gate import events as e
from akkafka.gate.finite import finite, not_finite
from akkafka.gate.state import GateState, Params, apply_record, in_turn, initial_state
from akkafka.nn.divided import Divided, Team, by_row
from akkafka.nn.layer import Array, Pass, Tape, check_batch, check_gradient
from akkafka.nn.statistics import follow_statistics
from akkafka.nn.warm import warm_up as warm_up_layer
from akkafka.optim.optimizer import Step, trained
from akkafka.optim.warm import warm_up as warm_up_optimizer
from akkafka.protocol import wire
from akkafka.protocol.definition import Definition
from akkafka.protocol.messages import Forward, JournalRecord, Narrow, Run
from akkafka.protocol.narrow import narrow, shown, wide
from akkafka.protocol.topics import MAX_MESSAGE_BYTES

LONG_RECORD = 1 << 18  # bytes; to hash so many takes .4 ms
RATIO_EVERY = 64  # updates between two looks at how much is compensated: one costs about as much as an update


class Model:
    """Layers and optimizer of one gate of a definition."""

    compensation: float | None = None
    """|compensation| / |gradient| of late, where the optimizer compensates; below 1e-3 it is decoration."""

    def __init__(self, definition: Definition, gate: int, run: Run, writer: str, threads: int = 1) -> None:
        """`threads`: that a batch's rows are divided among, where the gate's layers can be divided at all."""
        self.layer = definition.layers[gate]
        self._team = Team(threads) if threads > 1 and by_row(self.layer) else None
        self._divided = Divided(self.layer, self._team) if self._team is not None else self.layer
        self._trainable = definition.gates[gate].trainable
        self.optimizer = definition.gates[gate].optimizer.build(buffers=tuple(self.layer.buffers))
        self._definition, self._gate, self._run, self._writer = definition, gate, run, writer
        self._title = f"gate {gate} ({definition.gates[gate].name})"
        self._before, self._behind = definition.edge(gate), definition.edge(gate + 1)

    def initial(self, given: Params | None = None) -> GateState:
        """Version 0: weights from the definition's seed, or those `given`, where the definition names some."""
        params = self._drawn() if given is None else given
        optimizer = self.optimizer.init(params) if self._trainable else {}
        return initial_state(params, optimizer, self._definition.plan.count)

    def _drawn(self) -> Params:
        seed = np.random.SeedSequence(self._definition.weights_seed(self._gate))
        return self.layer.init(np.random.Generator(np.random.PCG64(seed)))

    def warm_up(self) -> None:
        """Compile, or read from the cache, all that a batch will need."""
        params = self.layer.init(np.random.default_rng(0))
        warm_up_layer(self.layer)
        warm_up_optimizer(self.optimizer, params)
        for form in {
            self._definition.wire.journal,
            self._before.forward,
            self._before.backward,
            self._behind.forward,
            self._behind.backward,
        }:
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
            y, tape = self._divided.forward(job.state.params, x, self._pass(training, job.key))
        except Exception as error:
            return e.ForwardComputed(job, None, failure=f"{type(error).__name__}: {error}")
        given = narrow(y, self._behind.forward)
        return e.ForwardComputed(job, given, (len(x), tape) if training else None)

    def backward(self, job: e.ComputeBackward) -> e.BackwardComputed:
        """dx, the journal record and the next state.

        A gradient that is not finite, whichever of the two, counts as one of zero; what a layer raises, as both.
        """
        message = job.message
        if message.void or message.zeroed:
            return self._recorded(job, message.zeroed, {}, message.zeroed)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # it is looked at right here
                dx, grads = self._differentiate(job)
            kept = self._as_kept(grads)
            wrong = not_finite(kept)
            zeroed = f"{self._title}: the gradient of {wrong} is not finite" if wrong else ""
            below = "" if dx is None or finite(dx) else f"{self._title}: the gradient of its input is not finite"
            given = None if dx is None else narrow(dx, self._before.backward)
            return self._recorded(job, zeroed, {} if zeroed else kept, below, given, zeroed or below)
        except Exception as error:
            failure = f"{self._title}: {type(error).__name__}: {error}"
            return self._recorded(job, failure, {}, failure, failure=failure)

    def fold(self, job: e.Fold) -> e.Folded:
        """The state after a record that counts."""
        return e.Folded(job, self._applied(job.base, job.record, job.value, job.then))

    def _applied(self, base: GateState, record: JournalRecord, value: bytes, then: Params) -> GateState:
        beside = self._team.beside if self._team is not None and len(value) > LONG_RECORD else in_turn
        return apply_record(base, record, value, then, self.step, beside)

    def step(self, state: GateState, grads: Params | None, then: Params, staleness: int) -> tuple[Params, Params]:
        """The optimizer's update, and the buffers' (gate/state.py: Stepper); a frozen gate stays as it is."""
        if not self._trainable:
            return state.params, state.optimizer
        buffers = self.layer.buffers if grads is not None else {}
        if grads is None:
            grads = {name: np.zeros_like(state.params[name]) for name in trained(state.params, self.layer.buffers)}
        step = Step(grads, then, staleness, state.version)
        if self.optimizer.compensates and state.version % RATIO_EVERY == RATIO_EVERY - 1:
            self.compensation = self.optimizer.compensation_ratio(state.params, state.optimizer, step)
        params, optimizer = self.optimizer.update(state.params, state.optimizer, step)
        return {**params, **follow_statistics(state.params, grads, buffers)}, optimizer

    def _differentiate(self, job: e.ComputeBackward) -> tuple[Array | None, Params]:
        dy = job.message.dy
        if dy is None:
            raise ValueError("a gradient without numbers")
        samples, tape = job.tape if job.tape is not None else self._forward_again(job)
        check_gradient(self.layer, shown(dy), samples)
        if not self._trainable and not self._gate:
            return None, {}  # nobody asks for anything
        dx, grads = self._divided.backward(job.then, tape, wide(dy), need_dx=self._gate > 0)
        return dx, grads if self._trainable else {}

    def _as_kept(self, grads: Params) -> Mapping[str, Array | Narrow]:
        """As they stand in the journal, which is what steps are made with; a batch's statistics in full."""
        form, full = self._definition.wire.journal, self.layer.buffers
        return {name: gradient if name in full else narrow(gradient, form) for name, gradient in grads.items()}

    def _pass(self, training: bool, key: int) -> Pass:
        """What a forward may know. A frozen gate is a fixed function: no chance, no statistics of the batch.

        Else the running statistics that it serves at validation would not be those that the gates behind it have
        learned with, as nothing moves them here.
        """
        return Pass(training and self._trainable, key)

    def _forward_again(self, job: e.ComputeBackward) -> tuple[int, Tape]:
        """The tape is gone with the process that had it: same weights, same key, same tape."""
        assert job.source is not None, "the core brings the tape or the input"
        if reason := self.check_input(job.source):
            raise ValueError(reason)
        x = wide(job.source.batch)
        return len(x), self._divided.forward(job.then, x, self._pass(True, job.key))[1]

    def encoded(self, record: JournalRecord) -> bytes:
        """As it stands in the journal."""
        return wire.encode(record)

    def _recorded(
        self,
        job: e.ComputeBackward,
        zeroed: str,
        grads: Mapping[str, Array | Narrow],
        below: str,
        dx: Array | Narrow | None = None,
        failure: str = "",
    ) -> e.BackwardComputed:
        """`zeroed` and `below`: why there is no gradient for this gate, and none for those below."""
        message = job.message
        record = JournalRecord(
            run=self._run,
            gate=self._gate,
            lane=message.lane,
            seq=message.seq,
            hop=job.hop,
            source=job.offset,
            grads=grads,
            void=message.void,
            writer=self._writer,
            tally=message.tally,
            zeroed=zeroed,
        )
        value = self.encoded(record)
        state = self._applied(job.base, record, value, job.then)
        return e.BackwardComputed(job, None if below else dx, record, value, state, below, failure)
