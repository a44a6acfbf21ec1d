"""One table of optimizers, each with its rule once more in plain numpy; a new optimizer brings its row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from akkafka.nn.layer import F32
from akkafka.optim.optimizer import Optimizer, Step, optimizer_spec

SHAPES = {"0.weight": (7, 5), "0.bias": (5,), "2.0.weight": (5, 1)}
Twin = Callable[[F32, F32, F32, F32 | None], tuple[F32, F32 | None]]
"""(w, g, then, state) to (new w, new state) for one param, in float32, each operation rounded on its own."""


def f(x: float) -> Any:
    """x as a float32; Any, as numpy's stubs take a float32 times an array for float64."""
    return np.float32(x)


def sgd(lr: float, decay: float = 0.0, share: float = 1.0) -> Twin:
    return lambda w, g, then, state: (w - f(lr) * (f(share) * g + f(decay) * w), None)


def momentum(lr: float, beta: float, decay: float = 0.0) -> Twin:
    def rule(w: F32, g: F32, then: F32, state: F32 | None) -> tuple[F32, F32]:
        assert state is not None
        v = f(beta) * state + (f(1) - f(beta)) * (g + f(decay) * w)
        return w - f(lr) * v, v

    return rule


def dc_c(lr: float, lam: float) -> Twin:
    return lambda w, g, then, state: (w - f(lr) * (g + f(lam) * g * (w - then) * g), None)


def dc_a(lr: float, lam: float, m: float, eps: float) -> Twin:
    def rule(w: F32, g: F32, then: F32, state: F32 | None) -> tuple[F32, F32]:
        assert state is not None
        ms = f(m) * state + (f(1) - f(m)) * g * g
        return w - f(lr) * (g + f(lam) / np.sqrt(ms + f(eps)) * g * (w - then) * g), ms

    return rule


@dataclass(frozen=True)
class Case:
    data: Mapping[str, Any]
    twin: Twin
    state: str = ""
    """Prefix of the state's names, "" for none."""
    compensates: bool = False
    name: str = field(default="")

    def build(self, **more: Any) -> Optimizer:
        return optimizer_spec({**self.data, **more}).build()

    def __str__(self) -> str:
        return self.name or str(self.data["type"])


CASES = (
    Case({"type": "sgd", "lr": 0.1}, sgd(0.1)),
    Case({"type": "sgd", "lr": 0.1, "weight_decay": 0.01}, sgd(0.1, 0.01), name="sgd-decay"),
    Case({"type": "momentum", "lr": 0.1}, momentum(0.1, 0.9), "v"),
    Case(
        {"type": "momentum", "lr": 0.1, "beta": 0.5, "weight_decay": 0.02},
        momentum(0.1, 0.5, 0.02),
        "v",
        name="momentum-decay",
    ),
    Case({"type": "dc-asgd-c", "lr": 0.1}, dc_c(0.1, 0.04), compensates=True),
    Case({"type": "dc-asgd-c", "lr": 0.1, "lam": 0.5}, dc_c(0.1, 0.5), compensates=True, name="dc-asgd-c-strong"),
    Case({"type": "dc-asgd-a", "lr": 0.1}, dc_a(0.1, 2.0, 0.95, 1e-7), "ms", compensates=True),
    Case(
        {"type": "dc-asgd-a", "lr": 0.1, "lam": 1.0, "m": 0.0, "eps": 1e-3},
        dc_a(0.1, 1.0, 0.0, 1e-3),
        "ms",
        compensates=True,
        name="dc-asgd-a-without-memory",
    ),
)


def arrays(seed: int, scale: float = 1.0) -> dict[str, F32]:
    """Something shaped like the params."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape, dtype=np.float32) * f(scale) for name, shape in SHAPES.items()}


def steps(count: int) -> list[Step]:
    """Random gradients, computed at weights a little beside those of `arrays(0)`."""
    return [Step(arrays(3 * k + 1), then=arrays(3 * k + 2, 0.1), staleness=1, version=k) for k in range(count)]


def same_bits(one: Mapping[str, F32], other: Mapping[str, F32]) -> bool:
    return one.keys() == other.keys() and all(one[n].tobytes() == other[n].tobytes() for n in one)
