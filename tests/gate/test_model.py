"""What a gate's model tells beside its numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from akkafka.gate.model import RATIO_EVERY, Model
from akkafka.protocol.config import load_config


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
