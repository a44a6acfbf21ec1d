"""Clipping: the one thing that SGD does to a gradient as a whole."""

from __future__ import annotations

import numpy as np
import pytest

from akkafka.optim.optimizer import Step, optimizer_spec

PARAMS = {"w": np.zeros(2, np.float32), "b": np.zeros((1, 1), np.float32)}
GRADS = {"w": np.array([2, 3], np.float32), "b": np.array([[6]], np.float32)}  # together of norm 7


def moved(clip_norm: float | None, scale: float = 1.0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    optimizer = optimizer_spec({"type": "sgd", "lr": 1.0, "clip_norm": clip_norm}).build()
    grads = {name: g * np.float32(scale) for name, g in GRADS.items()}
    new, _ = optimizer.update(PARAMS, {}, Step(grads, PARAMS, 0, 0))
    return -np.concatenate([new["w"], new["b"].ravel()])


@pytest.mark.parametrize("clip_norm", (None, 7.0, 100.0))
def test_a_gradient_within_the_limit_is_left_as_it_is(clip_norm: float | None) -> None:
    np.testing.assert_array_equal(moved(clip_norm), [2, 3, 6])


@pytest.mark.parametrize("scale", (1.0, 1e-3, 1e25))
def test_a_longer_one_is_cut_to_the_limit_and_keeps_its_direction(scale: float) -> None:
    """Also where the squares overflow float32."""
    cut = moved(0.7 * scale, scale)
    np.testing.assert_allclose(cut, np.array([0.2, 0.3, 0.6]) * scale, rtol=1e-6)


def test_clipping_does_not_hide_a_gradient_that_is_not_finite() -> None:
    optimizer = optimizer_spec({"type": "sgd", "lr": 1.0, "clip_norm": 1.0}).build()
    for odd in (np.nan, np.inf):
        grads = {**GRADS, "w": np.array([2, odd], np.float32)}
        new, _ = optimizer.update(PARAMS, {}, Step(grads, PARAMS, 0, 0))
        assert np.isnan(new["w"][1])
        assert not np.isin(new["b"], -GRADS["b"]).any()  # the rest is not passed on as if nothing were wrong


def test_weight_decay_is_not_clipped() -> None:
    params = {name: np.ones_like(p) for name, p in PARAMS.items()}
    optimizer = optimizer_spec({"type": "sgd", "lr": 1.0, "clip_norm": 0.7, "weight_decay": 0.25}).build()
    new, _ = optimizer.update(params, {}, Step(GRADS, params, 0, 0))
    np.testing.assert_allclose(new["w"], [1 - 0.2 - 0.25, 1 - 0.3 - 0.25], rtol=1e-6)
