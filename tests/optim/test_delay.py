"""What is known of delayed gradients: what is exact without delay, what a Hessian mends, where SGD turns unstable."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from akkafka.errors import ShapeError
from akkafka.nn.layer import F32
from akkafka.optim.compensation import compensate
from akkafka.optim.optimizer import Step, optimizer_spec

FLOATS = st.floats(-1e6, 1e6, width=32)
VECTORS = arrays.arrays(np.float32, 9, elements=FLOATS)
LIKE_SGD_WITHOUT_DELAY: tuple[dict[str, Any], ...] = (
    {"type": "momentum", "lr": 0.3, "beta": 0.0},
    {"type": "nesterov", "lr": 0.3, "beta": 0.0},
    {"type": "nesterov-async", "lr": 0.3, "gamma": 0.0},
    {"type": "spectrain", "lr": 0.3, "beta": 0.0},
    {"type": "spectrain", "lr": 0.3, "beta": 0.0, "ahead": 0.0},
    {"type": "spike", "lr": 0.3, "beta": 0.0},
    {"type": "sgd", "lr": 0.3, "gap_aware": True},
    {"type": "sgd", "lr": 0.3, "staleness_aware": True},
    {"type": "sgd", "lr": 0.3, "pipemare": 10},
    {"type": "dc-asgd-c", "lr": 0.3},
    {"type": "dc-asgd-c", "lr": 0.3, "lam": 1e3},
    {"type": "dc-asgd-a", "lr": 0.3},
    {"type": "dc-asgd-a", "lr": 0.3, "lam": 1e3, "m": 0.0},
)


def after(data: dict[str, Any], w: F32, grads: list[F32]) -> F32:
    """Weights after one update for each gradient, each computed at the weights of the moment."""
    optimizer, params = optimizer_spec(data).build(), {"w": w}
    state = optimizer.init(params)
    for version, g in enumerate(grads):
        params, state = optimizer.update(params, state, Step({"w": g}, params, 0, version))
    return params["w"]


@pytest.mark.parametrize("data", LIKE_SGD_WITHOUT_DELAY, ids=lambda data: "-".join([data["type"], *list(data)[2:]]))
@given(VECTORS, st.lists(VECTORS, min_size=1, max_size=3))
def test_without_delay_every_rule_is_sgd_bit_for_bit(data: dict[str, Any], w: F32, grads: list[F32]) -> None:
    """But for the sign of a zero."""
    expected = after({"type": "sgd", "lr": 0.3}, w, grads)
    np.testing.assert_array_equal(after(data, w, grads), expected)


def test_huge_gradients_do_not_make_nonsense_of_a_compensation_that_is_zero() -> None:
    """g·g overflows here: taken first, infinity times 0 would be not-a-number."""
    w, g = np.ones(3, np.float32), np.array([1e25, -1e30, 1], np.float32)
    for data in LIKE_SGD_WITHOUT_DELAY:
        if "gap_aware" in data:  # keeps g·g
            continue
        np.testing.assert_array_equal(after(data, w, [g]), after({"type": "sgd", "lr": 0.3}, w, [g]))


def test_the_rule_of_scorch_and_mxnet_is_not_sgd_without_delay() -> None:
    """They subtract the weights before the last step instead of those of the batch's forward."""

    def scorch(w: F32, grads: list[F32], lr: np.float32, lam: np.float32) -> F32:
        previous = w
        for g in grads:
            w, previous = w - lr * (g + lam * g * g * (w - previous)), w
        return w

    rng = np.random.default_rng(0)
    w, grads = rng.standard_normal(9, dtype=np.float32), list(rng.standard_normal((2, 9), dtype=np.float32))
    theirs = scorch(w, grads, np.float32(0.3), np.float32(0.04))
    assert (theirs != after({"type": "sgd", "lr": 0.3}, w, grads)).all()
    first = scorch(w, grads[:1], np.float32(0.3), np.float32(0.04))
    np.testing.assert_array_equal(first, after({"type": "sgd", "lr": 0.3}, w, grads[:1]))


@pytest.mark.parametrize("tau", (1, 3, 7))
def test_with_the_true_hessian_a_delayed_run_on_a_parabola_is_the_undelayed_one(tau: int) -> None:
    """Loss 0.5·h·w²: with lam = h / g² the compensation h·(now - then) is exact."""
    h, lr = np.float32(0.8), np.float32(0.3)
    undelayed = np.ones(1, np.float32)
    history = [np.ones(1, np.float32)]
    for version in range(30):
        now, then = history[-1], history[max(0, version - tau)]
        g = h * then
        history.append(now - lr * compensate(g, now, then, float(h / (g * g)[0])))
        undelayed = undelayed - lr * (h * undelayed)
        assert abs(float(history[-1][0] - undelayed[0])) < 1e-6


@given(VECTORS, st.lists(VECTORS, min_size=1, max_size=3))
def test_without_delay_spike_compensation_and_a_prediction_of_no_way_are_momentum_bit_for_bit(
    w: F32, grads: list[F32]
) -> None:
    """But for the sign of a zero."""
    expected = after({"type": "momentum", "lr": 0.3}, w, grads)
    np.testing.assert_array_equal(after({"type": "spike", "lr": 0.3}, w, grads), expected)
    np.testing.assert_array_equal(after({"type": "spectrain", "lr": 0.3}, w, grads), expected)


def test_adamw_without_decay_is_adam_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    w, grads = rng.standard_normal(9, dtype=np.float32), list(rng.standard_normal((9, 9), dtype=np.float32))
    theirs = after({"type": "adamw", "lr": 0.3, "weight_decay": 0.0}, w, grads)
    np.testing.assert_array_equal(after({"type": "adam", "lr": 0.3}, w, grads), theirs)


@pytest.mark.parametrize(
    ("data", "tau", "edge"),
    (
        # lr at which a delayed run on 0.5·w² just holds, measured with plain loops; beta or gamma 0.9
        ({"type": "momentum"}, 1, 1.00),
        ({"type": "momentum"}, 3, 0.348),
        ({"type": "momentum"}, 7, 0.158),
        ({"type": "nesterov-async"}, 1, 2.53),
        ({"type": "nesterov-async"}, 3, 0.464),
        ({"type": "nesterov-async"}, 7, 0.176),
        ({"type": "spectrain", "ahead": 1.0}, 1, 2.70),
        ({"type": "spectrain", "ahead": 3.0}, 3, 0.723),
        ({"type": "spectrain", "ahead": 7.0}, 7, 0.232),
        ({"type": "spike"}, 1, 2.53),
        ({"type": "spike"}, 3, 0.693),
        ({"type": "spike"}, 7, 0.243),
    ),
    ids=lambda value: value["type"] if isinstance(value, dict) else str(value),
)
def test_delayed_momentum_in_its_forms_is_stable_up_to_its_known_edge(
    data: dict[str, Any], tau: int, edge: float
) -> None:
    """The edges are known to three digits, so the two sides are looked at 3 % away."""
    assert late_weight({**data, "lr": 0.97 * edge}, tau) < 1.0
    assert late_weight({**data, "lr": 1.03 * edge}, tau) > 10.0


def late_weight(data: dict[str, Any], tau: int) -> float:
    """Greatest |w| late in a run on 0.5·w² from 1 with gradients tau updates old."""
    optimizer, history = optimizer_spec(data).build(), [{"w": np.ones(1, np.float32)}]
    state = optimizer.init(history[0])
    for version in range(3000):
        then = history[max(0, version - tau)]
        params, state = optimizer.update(history[-1], state, Step({"w": then["w"]}, then, tau, version))
        history.append(params)
        if abs(float(params["w"][0])) > 1e6:
            return 1e6
    return max(abs(float(params["w"][0])) for params in history[-100:])


@pytest.mark.parametrize("tau", (0, 1, 3, 7))
@pytest.mark.parametrize(("part", "stable"), ((0.98, True), (1.02, False)))
def test_delayed_sgd_is_stable_up_to_the_known_edge(tau: int, part: float, stable: bool) -> None:
    """On 0.5·w² the edge is lr = 2·sin(pi / (2·(2·tau + 1))): 2, 1, 0.445, 0.209 for tau 0, 1, 3, 7."""
    lr = part * 2 * math.sin(math.pi / (2 * (2 * tau + 1)))
    optimizer = optimizer_spec({"type": "sgd", "lr": lr}).build()
    history = [{"w": np.ones(1, np.float32)}]
    for version in range(1200):
        then = history[max(0, version - tau)]
        step = Step({"w": then["w"]}, then, min(tau, version), version)
        history.append(optimizer.update(history[-1], {}, step)[0])
    late = max(abs(float(params["w"][0])) for params in history[-50:])
    assert late < 0.5 if stable else late > 2.0


@given(VECTORS, VECTORS, VECTORS, st.floats(0, 10, width=32))
def test_compensate_is_the_first_order_term_on_top_of_the_gradient(g: F32, now: F32, then: F32, lam: float) -> None:
    given_gradient = compensate(g, now, then, lam)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = g + np.float32(lam) * g * (now - then) * g
    np.testing.assert_array_equal(given_gradient, expected)
    np.testing.assert_array_equal(compensate(g, now, now, lam), g)
    np.testing.assert_array_equal(compensate(g, then, then, 0.0), g)


def test_compensate_keeps_shape_and_inputs_and_refuses_what_does_not_fit() -> None:
    g, now, then = (np.random.default_rng(k).standard_normal((4, 3), dtype=np.float32) for k in range(3))
    before = g.tobytes() + now.tobytes() + then.tobytes()
    given_gradient = compensate(g, now, then, 0.5)
    assert given_gradient.shape == (4, 3)
    assert g.tobytes() + now.tobytes() + then.tobytes() == before
    for wrong in ((g[:2], now, then), (g, now[:2], then), (g, now, then.ravel())):
        with pytest.raises(ShapeError, match="takes"):
            compensate(*wrong, 0.5)


def test_dc_asgd_c_is_sgd_with_the_compensated_gradient() -> None:
    g, now, then = (np.random.default_rng(k).standard_normal((4, 3), dtype=np.float32) for k in range(3))
    optimizer = optimizer_spec({"type": "dc-asgd-c", "lr": 0.1, "lam": 0.5}).build()
    new, _ = optimizer.update({"w": now}, {}, Step({"w": g}, {"w": then}, 2, 7))
    np.testing.assert_array_equal(new["w"], now - np.float32(0.1) * compensate(g, now, then, 0.5))


def test_rates_for_staleness_are_those_of_their_papers() -> None:
    def moved(tau: int, version: int, **more: Any) -> float:
        w = {"w": np.zeros(1, np.float32)}
        step = Step({"w": np.ones(1, np.float32)}, w, tau, version)
        return -float(optimizer_spec({"type": "sgd", "lr": 0.5, **more}).build().update(w, {}, step)[0]["w"][0])

    assert [moved(tau, 0, staleness_aware=True) for tau in (0, 1, 2, 5)] == pytest.approx([0.5, 0.5, 0.25, 0.1])
    fading = [moved(4, version, pipemare=100) for version in (0, 50, 100, 1000)]
    assert fading == pytest.approx([0.125, 0.25, 0.5, 0.5], rel=1e-6)
    assert moved(7, 30, pipemare=100) == pytest.approx(0.5 / 7**0.7, rel=1e-6)


def test_a_gap_shrinks_the_gradient_by_the_usual_steps_that_were_made_meanwhile() -> None:
    """A weight that has gone as far as one usual step gets half of its gradient."""
    w, then = {"w": np.full(2, 1.0, np.float32)}, {"w": np.array([1.0, 1.0 - 0.5 * 2.0], np.float32)}
    optimizer = optimizer_spec({"type": "sgd", "lr": 0.5, "gap_aware": True}).build()
    new, _ = optimizer.update(w, optimizer.init(w), Step({"w": np.full(2, 2.0, np.float32)}, then, 3, 0))
    np.testing.assert_allclose(new["w"], [1 - 0.5 * 2.0, 1 - 0.5 * 1.0], rtol=1e-5)
