"""Links that every optimizer can have: accumulation and clipping, on a few rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from akkafka.optim.optimizer import OPTIMIZERS, Step, optimizer_spec

from .cases import arrays, same_bits, steps


def rule(name: str, **more: Any) -> dict[str, Any]:
    return {"type": name, "lr": 0.1, **more}


def plain(name: str) -> dict[str, Any]:
    """Without what adamw has by itself."""
    return rule(name, weight_decay=0.0) if name == "adamw" else rule(name)


RULES = tuple(plain(name) for name in OPTIMIZERS)
SUMMING = tuple(data for data in RULES if not data["type"].startswith("dc-asgd"))
every_rule = pytest.mark.parametrize("data", RULES, ids=lambda data: data["type"])
every_summing_rule = pytest.mark.parametrize("data", SUMMING, ids=lambda data: data["type"])


@every_rule
def test_weight_decay_is_part_of_the_gradient_or_of_the_step(data: dict[str, Any]) -> None:
    """Over three steps, by the weights proper where those in use are a look ahead."""
    decaying, without = (optimizer_spec({**data, "weight_decay": d}).build() for d in (0.05, 0.0))
    decoupled = data["type"] in ("adamw", "lion")
    one = arrays(0)
    state = decaying.init(one)
    for step in steps(3):
        fresh = Step(step.grads, one, 2, step.version)  # stale in number, so that look-ahead looks ahead
        proper = {n: state[f"x.{n}"] if data["type"] == "spectrain" else w for n, w in one.items()}
        pulled = {name: g + np.float32(0.05) * proper[name] for name, g in step.grads.items()}
        same = Step(step.grads if decoupled else pulled, one, 2, step.version)
        expected, _ = without.update(one, state, same)
        if decoupled:
            expected = {n: w - np.float32(0.1 * 0.05) * one[n] for n, w in expected.items()}
        ignored, _ = without.update(one, state, fresh)
        new, state = decaying.update(one, state, fresh)
        for name, w in expected.items():
            np.testing.assert_allclose(new[name], w, rtol=1e-5, atol=1e-6)
            # the first step of rules that go by the gradient's own size is the same for any size
            assert step.version == 0 or not np.allclose(new[name], ignored[name], atol=1e-6)
        one = new


@every_summing_rule
@pytest.mark.parametrize("count", (2, 3))
def test_accumulated_gradients_move_the_weights_once_by_their_mean(data: dict[str, Any], count: int) -> None:
    single, summing = optimizer_spec(data).build(), optimizer_spec({**data, "accumulate": count}).build()
    one = other = arrays(0)
    state, sums = single.init(one), summing.init(other)
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
        one, state = single.update(one, state, Step(mean, step.then, step.staleness, step.version))
        for name, w in one.items():
            np.testing.assert_allclose(other[name], w, rtol=1e-5, atol=1e-6)
    assert sums["batches"] == 0


@every_summing_rule
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
    without = optimizer_spec(data).build()
    half = {name: g * np.float32(0.5) for name, g in step.grads.items()}
    given, _ = clipped.update(arrays(0), clipped.init(arrays(0)), step)
    expected, _ = without.update(arrays(0), without.init(arrays(0)), Step(half, step.then, 1, 0))
    for name, w in expected.items():
        np.testing.assert_allclose(given[name], w, rtol=1e-6)


def test_clipping_by_value_does_not_hide_a_gradient_that_is_not_finite() -> None:
    optimizer = optimizer_spec({"type": "sgd", "lr": 1.0, "clip_value": 0.5}).build()
    grads = {"w": np.array([np.nan, np.inf, -np.inf, 3, -3, 0.25], np.float32)}
    params = {"w": np.zeros(6, np.float32)}
    new, _ = optimizer.update(params, {}, Step(grads, params, 0, 0))
    np.testing.assert_array_equal(new["w"], [np.nan, -np.inf, np.inf, -0.5, 0.5, -0.25])
