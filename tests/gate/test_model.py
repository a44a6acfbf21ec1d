"""What a gate's model tells beside its numbers, and what it makes of gradients that cannot be formed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from akkafka.data.epochs import Cursor
from akkafka.gate import events as e
from akkafka.gate.finite import not_finite
from akkafka.gate.model import RATIO_EVERY, Model
from akkafka.gate.state import GateState, apply_record, next_chain
from akkafka.nn.divided import PartsTape
from akkafka.nn.layer import Pass
from akkafka.protocol import wire
from akkafka.protocol.config import load_config
from akkafka.protocol.messages import Backward, Forward, JournalRecord, Mode, Narrow, Run
from akkafka.protocol.narrow import narrow, wide


def model(optimizer: str) -> Model:
    definition = load_config(None, (f"optimizer={{type='{optimizer}', lr=0.1}}",)).definition
    return Model(definition, 0, definition.new_run(), "here")


def after_a_stale_step(optimizer: str, version: int) -> float | None:
    made = model(optimizer)
    state = replace(made.initial(), version=version)
    grads = {name: np.ones_like(w) for name, w in state.params.items()}
    then = {name: w - np.float32(0.5) for name, w in state.params.items()}
    made.step(state, grads, then, 1)
    return made.compensation


def test_how_much_is_compensated_is_looked_at_now_and_then() -> None:
    found = after_a_stale_step("dc-asgd-c", RATIO_EVERY - 1)
    assert found is not None
    assert abs(found - 0.04 * 0.5) < 1e-6
    assert after_a_stale_step("dc-asgd-c", RATIO_EVERY) is None


def test_nothing_is_told_of_a_compensation_that_there_is_not() -> None:
    assert after_a_stale_step("sgd", RATIO_EVERY - 1) is None


# --- gradients that cannot be formed ------------------------------------------------------------------------


@dataclass
class Returned:
    """A batch of four comes back to gate 1 of the digits network, whose weights are of version 0."""

    layers: str = "{type='linear', out=24}"
    x: float = 1.0
    w: float = 1.0
    dy: float = 1.0
    size: int = 4

    def __post_init__(self) -> None:
        overrides = (f"gate.fc2.layers=[{self.layers}]", "optimizer={type='momentum', lr=0.1}")
        definition = load_config(None, overrides).definition
        self.run = definition.new_run()
        self.model = Model(definition, 1, self.run, "here")
        first = self.model.initial()
        self.state = replace(
            first,
            params={name: w * np.float32(self.w) for name, w in first.params.items()},
            optimizer={name: np.ones_like(array) for name, array in first.optimizer.items()},
        )

    def came(self, *, zeroed: str = "", void: str = "") -> e.BackwardComputed:
        x = np.full((4, 48), self.x, np.float32)
        _, tape = self.model.layer.forward(self.state.params, x, Pass(True, 1))
        dy = None if zeroed or void else np.full((self.size, 24), self.dy, np.float32)
        hop = self.state.hop(0)
        message = Backward(self.run, 0, 0, (hop, hop), 3, dy, void, zeroed=zeroed)
        job = e.ComputeBackward(3, message, hop, self.state.params, (4, tape), None, self.state, 1)
        found = self.model.backward(job)
        assert found.value == wire.encode(found.record)
        assert same(found.state, apply_record(self.state, found.record, found.value, {}, self.model.step))
        return found

    def stepped(self, grad: float) -> dict[str, NDArray[Any]]:
        """The trained params after a step of momentum, by hand."""
        return {
            name: w - np.float32(0.1) * (np.float32(0.9) * self.state.optimizer[f"v.{name}"] + np.float32(grad))
            for name, w in self.state.params.items()
            if f"v.{name}" in self.state.optimizer
        }


def same(one: GateState, other: GateState) -> bool:
    """Of one version, with the same bits."""
    return one.chain == other.chain and all(
        np.array_equal(there[name], array)
        for own, there in ((one.params, other.params), (one.optimizer, other.optimizer))
        for name, array in own.items()
    )


def with_gradient_of_zero(batch: Returned, found: e.BackwardComputed) -> bool:
    """Momentum goes on, nothing is added to it."""
    stepped = batch.stepped(0.0)
    return bool(stepped) and all(np.array_equal(found.state.params[name], w) for name, w in stepped.items())


def test_a_gradient_that_can_be_formed_is_whole() -> None:
    found = Returned().came()
    assert found.dx is not None and found.record.grads
    assert (found.record.zeroed, found.zeroed, found.failure) == ("", "", "")


def test_what_a_layer_raises_makes_both_gradients_zero() -> None:
    batch = Returned(size=3)  # a gradient for three of four samples
    found = batch.came()
    assert found.dx is None and not found.record.grads and not found.record.void
    assert found.failure == found.zeroed == found.record.zeroed
    assert found.failure.startswith("gate 1 (fc2): ShapeError: ")
    assert with_gradient_of_zero(batch, found)


def test_a_gradient_that_comes_as_not_a_number_makes_both_zero() -> None:
    batch = Returned(dy=np.nan)
    found = batch.came()
    assert found.dx is None and with_gradient_of_zero(batch, found)
    assert found.record.zeroed == found.failure == "gate 1 (fc2): the gradient of 0.weight is not finite"
    assert found.zeroed == "gate 1 (fc2): the gradient of its input is not finite"


def test_gates_below_get_the_gradient_if_only_the_own_one_is_not_finite() -> None:
    batch = Returned(x=1e30, dy=1e20)
    found = batch.came()
    assert isinstance(found.dx, np.ndarray) and np.isfinite(found.dx).all() and found.zeroed == ""
    assert found.record.zeroed == found.failure == "gate 1 (fc2): the gradient of 0.weight is not finite"
    assert with_gradient_of_zero(batch, found)


def test_a_gate_makes_its_step_if_only_the_gradient_for_those_below_is_not_finite() -> None:
    found = Returned(x=1e-30, w=3e37, dy=1e6).came()
    assert found.dx is None and found.record.grads and found.record.zeroed == ""
    assert found.zeroed == found.failure == "gate 1 (fc2): the gradient of its input is not finite"


def test_what_was_zeroed_above_is_zeroed_here() -> None:
    batch = Returned()
    found = batch.came(zeroed="gate 2 (fc3): not finite")
    assert (found.record.zeroed, found.zeroed, found.failure) == (*("gate 2 (fc3): not finite",) * 2, "")
    assert with_gradient_of_zero(batch, found)


def test_a_void_batch_makes_no_step() -> None:
    batch = Returned()
    found = batch.came(void="too large")
    assert (found.record.void, found.record.zeroed, found.zeroed) == ("too large", "", "")
    assert found.state.params is batch.state.params


def test_running_statistics_stay_if_there_is_no_batch_to_follow() -> None:
    batch = Returned(layers="{type='linear', out=24}, {type='batch-norm'}", size=3)
    buffers = batch.model.layer.buffers
    found = batch.came()
    assert buffers and with_gradient_of_zero(batch, found)
    assert all(np.array_equal(found.state.params[name], batch.state.params[name]) for name in buffers)


def test_a_layer_that_forgets_its_gradient_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Returned()
    backward = type(batch.model.layer).backward
    monkeypatch.setattr(type(batch.model.layer), "backward", lambda *args, **named: (backward(*args, **named)[0], {}))
    assert "gradient 0.weight: missing" in batch.came().record.zeroed


# --- rows among threads, and gradients in fewer bytes ---------------------------------------------------------


def divided_model(monkeypatch: pytest.MonkeyPatch, threads: int, *overrides: str) -> tuple[Model, GateState]:
    monkeypatch.setattr("akkafka.nn.divided.WORTH", 1)
    definition = load_config(None, overrides).definition
    made = Model(definition, 0, definition.new_run(), "here", threads)
    return made, made.initial()


def batch_of(made: Model, state: GateState, rows: int) -> tuple[e.ComputeForward, e.ForwardComputed]:
    x = np.random.default_rng(5).integers(0, 17, (rows, 64)).astype(np.uint8)
    came = Forward(Run(bytes(8), bytes(8)), Mode.TRAIN, 0, 0, Cursor(0, 0), Cursor(0, 1), (), x)
    job = e.ComputeForward(0, came, state, 0)
    return job, made.forward(job)


def back(made: Model, state: GateState, source: Forward | None, tape: Any, rows: int) -> e.BackwardComputed:
    dy = np.random.default_rng(6).standard_normal((rows, *made.layer.out_shape), dtype=np.float32)
    message = Backward(Run(bytes(8), bytes(8)), 0, 0, (state.hop(0),), 3, dy)
    return made.backward(e.ComputeBackward(3, message, state.hop(0), state.params, tape, source, state, 0))


def test_a_tape_that_is_made_again_is_divided_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    made, state = divided_model(monkeypatch, 2)
    job, there = batch_of(made, state, 33)
    assert isinstance(there.tape, tuple) and isinstance(there.tape[1], PartsTape)
    kept, again = back(made, state, None, there.tape, 33), back(made, state, job.message, None, 33)
    assert kept.value == again.value and same(kept.state, again.state)
    one, whole = divided_model(monkeypatch, 1)
    _, plain = batch_of(one, whole, 33)
    assert isinstance(plain.tape, tuple) and not isinstance(plain.tape[1], PartsTape)
    assert isinstance(there.y, np.ndarray) and isinstance(plain.y, np.ndarray)
    np.testing.assert_allclose(there.y, plain.y, atol=1e-5)


def test_layers_that_go_by_the_whole_batch_are_not_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = "gate.fc1.layers=[{type='scale'}, {type='dropout'}, {type='linear', out=48}]"
    made, state = divided_model(monkeypatch, 2, layers)
    _, there = batch_of(made, state, 33)
    assert isinstance(there.tape, tuple) and not isinstance(there.tape[1], PartsTape)


def test_the_hash_of_a_long_record_that_a_helper_makes_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akkafka.gate.model.LONG_RECORD", 100)
    made, state = divided_model(monkeypatch, 2)
    by_whom = []

    def chained(chain: bytes, value: bytes) -> bytes:
        by_whom.append(threading.current_thread().name)
        return next_chain(chain, value)

    monkeypatch.setattr("akkafka.gate.state.next_chain", chained)
    found = back(made, state, None, batch_of(made, state, 33)[1].tape, 33)
    assert found.state.chain == next_chain(state.chain, found.value) and len(by_whom) == 1
    folded = made.fold(e.Fold(state, found.record, found.value, state.params))
    assert same(folded.state, found.state)


def test_a_step_is_made_with_the_gradient_that_stands_in_the_journal() -> None:
    definition = load_config(None, ("wire.journal=bfloat16", "optimizer={type='sgd', lr=0.5}")).definition
    made = Model(definition, 0, definition.new_run(), "here")
    state = made.initial()
    found = back(made, state, None, batch_of(made, state, 33)[1].tape, 33)
    read = wire.decode(found.value)
    assert isinstance(read, JournalRecord) and all(isinstance(g, Narrow) for g in read.grads.values())
    for name, gradient in read.grads.items():
        stepped = state.params[name] - np.float32(0.5) * wide(gradient)
        assert np.array_equal(found.state.params[name], stepped)
    plain = load_config(None, ("optimizer={type='sgd', lr=0.5}",)).definition
    exact = Model(plain, 0, plain.new_run(), "here")
    full = back(exact, state, None, batch_of(exact, state, 33)[1].tape, 33)
    assert 1.8 < len(full.value) / len(found.value) < 2.05
    for name, w in found.state.params.items():
        np.testing.assert_allclose(
            w - state.params[name], full.state.params[name] - state.params[name], rtol=2**-7, atol=1e-6
        )


def test_a_gradient_that_rounding_makes_infinite_counts_as_zero() -> None:
    largest = np.finfo(np.float32).max
    grads = {"w": narrow(np.array([1.0, largest], np.float32), "bfloat16")}
    assert not_finite({"w": np.array([1.0, largest], np.float32)}) == "" and not_finite(grads) == "w"
    below = narrow(np.array([1.0, -3.38e38, 1e-45], np.float32), "bfloat16")
    assert not_finite({"w": below, "v": narrow(np.ones((2, 2), np.float32), "int8")}) == ""
    assert not_finite({"w": narrow(np.array([np.nan], np.float32), "bfloat16")}) == "w"
    assert not_finite({"w": narrow(np.array([1e30], np.float32), "float16")}) == "w"
