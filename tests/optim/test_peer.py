"""Optimizers and schedules beside PyTorch's and optax's over 50 steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from akkafka.nn.layer import F32
from akkafka.optim.optimizer import Step, optimizer_spec
from akkafka.optim.schedule import schedule_spec

torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install -e '.[dev,peers]'")
optax = pytest.importorskip("optax", reason="optax is not here: pip install -e '.[dev,peers]'")
STEPS = 50

TORCH: tuple[tuple[dict[str, Any], Callable[..., Any]], ...] = (
    ({"type": "sgd", "lr": 0.1, "weight_decay": 0.02}, lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.02)),
    ({"type": "momentum", "lr": 0.1}, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, dampening=0.0)),
    ({"type": "nesterov", "lr": 0.1}, lambda p: torch.optim.SGD(p, 0.1 * (1 - 0.9), momentum=0.9, nesterov=True)),
    ({"type": "nesterov-async", "lr": 0.1}, lambda p: torch.optim.SGD(p, 0.1 * (1 - 0.9), momentum=0.9, nesterov=True)),
    ({"type": "adam", "lr": 0.1}, lambda p: torch.optim.Adam(p, 0.1)),
    (
        {"type": "adam", "lr": 0.1, "weight_decay": 0.1, "beta1": 0.5},
        lambda p: torch.optim.Adam(p, 0.1, (0.5, 0.999), weight_decay=0.1),
    ),
    ({"type": "adamw", "lr": 0.1, "weight_decay": 0.1}, lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.1)),
    ({"type": "nadam", "lr": 0.1}, lambda p: torch.optim.NAdam(p, 0.1)),
    ({"type": "rmsprop", "lr": 0.1}, lambda p: torch.optim.RMSprop(p, 0.1)),
    ({"type": "adagrad", "lr": 0.1}, lambda p: torch.optim.Adagrad(p, 0.1)),
)
OPTAX: tuple[tuple[dict[str, Any], Any], ...] = (
    ({"type": "sgd", "lr": 0.1, "clip_norm": 1.0}, optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))),
    ({"type": "sgd", "lr": 0.1, "clip_value": 0.5}, optax.chain(optax.clip(0.5), optax.sgd(0.1))),
    ({"type": "adamw", "lr": 0.1}, optax.adamw(0.1, weight_decay=0.01)),
    ({"type": "lion", "lr": 0.1, "weight_decay": 0.02}, optax.lion(0.1, weight_decay=0.02)),
)


def first() -> F32:
    return np.random.default_rng(0).standard_normal(40, dtype=np.float32)


def gradient(k: int, w: F32) -> F32:
    """Of a bowl, with noise."""
    return (w + np.random.default_rng(k + 1).standard_normal(w.shape, dtype=np.float32)).astype(np.float32)


def ours(data: dict[str, Any]) -> list[F32]:
    """Weights after each of the steps."""
    optimizer, params = optimizer_spec(data).build(), {"w": first()}
    state, way = optimizer.init(params), []
    for k in range(STEPS):
        step = Step({"w": gradient(k, params["w"])}, params, 0, k)
        params, state = optimizer.update(params, state, step)
        way.append(params["w"])
    return way


def ids(row: Any) -> str:
    return "-".join([row[0]["type"], *list(row[0])[2:]])


@pytest.mark.parametrize("row", TORCH, ids=ids)
def test_fifty_steps_are_those_of_pytorch(row: tuple[dict[str, Any], Callable[..., Any]]) -> None:
    """Momentum in the mean form is theirs with lr·(1 - beta); weights 1e-5 apart at most, greatest about 1."""
    data, build = row
    w = torch.nn.Parameter(torch.tensor(first(), dtype=torch.float64))
    theirs = build([w])
    if data["type"] == "momentum":
        theirs.param_groups[0]["lr"] *= 1 - 0.9
    for k, given in enumerate(ours(data)):
        w.grad = torch.tensor(gradient(k, w.detach().numpy().astype(np.float32)), dtype=torch.float64)
        theirs.step()
        np.testing.assert_allclose(given, w.detach().numpy(), rtol=1e-5, atol=1e-5, err_msg=f"step {k}")


@pytest.mark.parametrize("row", OPTAX, ids=ids)
def test_fifty_steps_are_those_of_optax(row: tuple[dict[str, Any], Any]) -> None:
    data, theirs = row
    w = first()
    state = theirs.init(w)
    for k, given in enumerate(ours(data)):
        updates, state = theirs.update(gradient(k, w), state, w)
        w = np.asarray(optax.apply_updates(w, updates))
        np.testing.assert_allclose(given, w, rtol=1e-5, atol=2e-5, err_msg=f"step {k}")


def test_schedules_are_those_of_pytorch() -> None:
    weights = [torch.nn.Parameter(torch.zeros(1))]
    make = torch.optim.lr_scheduler
    rows: tuple[Any, ...] = (
        ({"type": "one-cycle", "updates": 40}, lambda o: make.OneCycleLR(o, 0.5, total_steps=40), 40),
        ({"type": "step", "every": 7, "gamma": 0.5}, lambda o: make.StepLR(o, 7, 0.5), 40),
        ({"type": "cosine", "updates": 40}, lambda o: make.CosineAnnealingLR(o, 40), 40),
    )
    for data, build, count in rows:
        optimizer = torch.optim.SGD(weights, 0.5)
        theirs, rates = build(optimizer), []
        for _ in range(count):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            theirs.step() if len(rates) < count else None
        spec: Any = schedule_spec(data)
        assert [float(spec.rate(0.5, k)) for k in range(count)] == pytest.approx(rates, rel=1e-5), data["type"]
