"""Links that every optimizer can have: accumulation and clipping, on a few rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from akkafka.optim.optimizer import Step, optimizer_spec

from .cases import arrays, same_bits, steps

RULES: tuple[dict[str, Any], ...] = (
    {"type": "sgd", "lr": 0.1},
    {"type": "adam", "lr": 0.1, "weight_decay": 0.1},
    {"type": "spectrain", "lr": 0.1, "ahead": 1.0},
    {"type": "lion", "lr": 0.1},
)
every_rule = pytest.mark.parametrize("data", RULES, ids=lambda data: data["type"])


@every_rule
@pytest.mark.parametrize("count", (2, 3))
def test_accumulated_gradients_move_the_weights_once_by_their_mean(data: dict[str, Any], count: int) -> None:
    plain, summing = optimizer_spec(data).build(), optimizer_spec({**data, "accumulate": count}).build()
    one = other = arrays(0)
    state, sums = plain.init(one), summing.init(other)
    batches = steps(2 * count)
    for k, step in enumerate(batches, start=1):
        before = other
        other, sums = summing.update(other, sums, step)
        if k % count:
            assert all(other[name] is before[name] for name in other)
            continue
        grads = [batch.grads for batch in batches[k - count : k]]
        mean = {name: sum(g[name] for g in grads[1:]) + grads[0][name] for name in one}
        mean = {name: total * np.float32(1 / count) for name, total in mean.items()}
        one, state = plain.update(one, state, Step(mean, step.then, step.staleness, step.version))
        for name, w in one.items():
            np.testing.assert_allclose(other[name], w, rtol=1e-5, atol=1e-6)
    assert sums["batches"] == 0


@every_rule
def test_a_sum_survives_being_written_and_read(data: dict[str, Any]) -> None:
    optimizer = optimizer_spec({**data, "accumulate": 3}).build()
    params, state = arrays(0), optimizer.init(arrays(0))
    for step in steps(4):
        params, state = optimizer.update(params, state, step)
        read = {name: np.frombuffer(array.tobytes(), np.float32).reshape(array.shape) for name, array in state.items()}
        assert same_bits(read, state)
        state = read


@every_rule
def test_clipping_to_a_norm_gives_every_rule_the_shorter_gradient(data: dict[str, Any]) -> None:
    """Half the gradient, as a limit of half its length gives it; scaling by 1/2 is exact."""
    step = steps(1)[0]
    length = float(np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in step.grads.values())))
    clipped = optimizer_spec({**data, "clip_norm": length / 2}).build()
    plain = optimizer_spec(data).build()
    half = {name: g * np.float32(0.5) for name, g in step.grads.items()}
    given, _ = clipped.update(arrays(0), clipped.init(arrays(0)), step)
    expected, _ = plain.update(arrays(0), plain.init(arrays(0)), Step(half, step.then, 1, 0))
    for name, w in expected.items():
        np.testing.assert_allclose(given[name], w, rtol=1e-6)


def test_clipping_by_value_does_not_hide_a_gradient_that_is_not_finite() -> None:
    optimizer = optimizer_spec({"type": "sgd", "lr": 1.0, "clip_value": 0.5}).build()
    grads = {"w": np.array([np.nan, np.inf, -np.inf, 3, -3, 0.25], np.float32)}
    params = {"w": np.zeros(6, np.float32)}
    new, _ = optimizer.update(params, {}, Step(grads, params, 0, 0))
    np.testing.assert_array_equal(new["w"], [np.nan, -np.inf, np.inf, -0.5, 0.5, -0.25])
