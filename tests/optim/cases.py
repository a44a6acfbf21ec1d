"""One table of optimizers, each with its rule once more in plain numpy; a new optimizer brings its row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from akkafka.nn.layer import F32
from akkafka.optim.optimizer import Optimizer, Step, optimizer_spec

SHAPES = {"0.weight": (7, 5), "0.bias": (5,), "2.0.weight": (5, 1)}
Slots = tuple[F32, ...]
Twin = Callable[[F32, F32, Slots, Step, int], tuple[F32, Slots]]
"""(w, g, slots, step with the same param's `then` under "", t) to (new w, new slots) for one param; t counts from 1.

In float32, each operation rounded on its own.
"""


def f(x: float) -> Any:
    """x as a float32; Any, as numpy's stubs take a float32 times an array for float64."""
    return np.float32(x)


def sgd(lr: float, decay: float = 0.0, share: float = 1.0) -> Twin:
    return lambda w, g, slots, step, t: (w - f(lr) * (f(share) * g + f(decay) * w), ())


def momentum(lr: float, beta: float, decay: float = 0.0) -> Twin:
    def rule(w: F32, g: F32, slots: Slots, step: Step, t: int) -> tuple[F32, Slots]:
        v = f(beta) * slots[0] + (f(1) - f(beta)) * (g + f(decay) * w)
        return w - f(lr) * v, (v,)

    return rule


def nesterov(lr: float, beta: float) -> Twin:
    def rule(w: F32, g: F32, slots: Slots, step: Step, t: int) -> tuple[F32, Slots]:
        v = f(beta) * slots[0] + (f(1) - f(beta)) * g
        return w - f(lr) * (f(beta) * v + (f(1) - f(beta)) * g), (v,)

    return rule


def spike(lr: float, beta: float) -> Twin:
    def rule(w: F32, g: F32, slots: Slots, step: Step, t: int) -> tuple[F32, Slots]:
        v, a = f(beta) * slots[0] + (f(1) - f(beta)) * g, f(beta**step.staleness)
        return w - f(lr) * (a * v + (f(1) - a) * g), (v,)

    return rule


def nesterov_async(lr: float, gamma: float) -> Twin:
    def rule(w: F32, g: F32, slots: Slots, step: Step, t: int) -> tuple[F32, Slots]:
        x = w - f(lr) * (f(1) - f(gamma)) * g
        return x + f(gamma) * (x - slots[0]), (x,)

    return rule


def spectrain(lr: float, beta: float, ahead: float | None) -> Twin:
    def rule(w: F32, g: F32, slots: Slots, step: Step, t: int) -> tuple[F32, Slots]:
        x, v = slots[0], f(beta) * slots[1] + (f(1) - f(beta)) * g
        tau = 0.0
        for _ in range(t):
            tau = float(f(0.95 * tau + (1 - 0.95) * step.staleness))  # all steps of the table are equally stale
        x = x - f(lr) * v
        return x - f(tau if ahead is None else ahead) * f(lr) * v, (x, v)

    return rule


def adam(lr: float, b1: float, b2: float, eps: float, coupled: float = 0.0, decoupled: float = 0.0) -> Twin:
    def rule(w: F32, g: F32, slots: Slots, step: Step, t: int) -> tuple[F32, Slots]:
        g = g + f(coupled) * w
        m, u = f(b1) * slots[0] + f(1 - b1) * g, f(b2) * slots[1] + f(1 - b2) * g * g
        c1, c2 = f(1 / (1 - b1**t)), f(1 / np.sqrt(1 - b2**t))
        keep = f(1 - float(f(lr)) * decoupled)
        return keep * w - f(lr) * (m * c1) / (np.sqrt(u) * c2 + f(eps)), (m, u)

    return rule


def nadam(lr: float, b1: float, b2: float, eps: float, psi: float) -> Twin:
    def rule(w: F32, g: F32, slots: Slots, step: Step, t: int) -> tuple[F32, Slots]:
        m, u = f(b1) * slots[0] + f(1 - b1) * g, f(b2) * slots[1] + f(1 - b2) * g * g
        mus = [b1 * (1 - 0.5 * 0.96 ** (n * psi)) for n in range(1, t + 2)]
        product = 1.0
        for mu in mus[:-1]:
            product = float(f(product)) * mu
        now, ahead = (1 - mus[-2]) / (1 - product), mus[-1] / (1 - product * mus[-1])
        c2 = f(1 / np.sqrt(1 - b2**t))
        return w - f(lr) * (f(now) * g + f(ahead) * m) / (np.sqrt(u) * c2 + f(eps)), (m, u)

    return rule


def root_mean_square(lr: float, kept: float, added: float, eps: float) -> Twin:
    def rule(w: F32, g: F32, slots: Slots, step: Step, t: int) -> tuple[F32, Slots]:
        u = f(kept) * slots[0] + f(added) * g * g
        return w - f(lr) * g / (np.sqrt(u) + f(eps)), (u,)

    return rule


def lion(lr: float, b1: float, b2: float, decay: float = 0.0) -> Twin:
    def rule(w: F32, g: F32, slots: Slots, step: Step, t: int) -> tuple[F32, Slots]:
        keep, c = f(1 - float(f(lr)) * decay), f(b1) * slots[0] + f(1 - b1) * g
        return keep * w - f(lr) * np.sign(c), (f(b2) * slots[0] + f(1 - b2) * g,)

    return rule


def dc_c(lr: float, lam: float, decay: float = 0.0) -> Twin:
    def rule(w: F32, g: F32, slots: Slots, step: Step, t: int) -> tuple[F32, Slots]:
        return w - f(lr) * (g + f(lam) * g * (w - step.then[""]) * g + f(decay) * w), ()

    return rule


def dc_a(lr: float, lam: float, m: float, eps: float) -> Twin:
    def rule(w: F32, g: F32, slots: Slots, step: Step, t: int) -> tuple[F32, Slots]:
        ms = f(m) * slots[0] + (f(1) - f(m)) * g * g
        return w - f(lr) * (g + f(lam) / np.sqrt(ms + f(eps)) * g * (w - step.then[""]) * g), (ms,)

    return rule


def limited(greatest: float, inner: Twin) -> Twin:
    return lambda w, g, slots, step, t: inner(w, np.clip(g, -f(greatest), f(greatest)), slots, step, t)


def gap_aware(lr: float, inner: Twin) -> Twin:
    """The last slot is the link's."""

    def rule(w: F32, g: F32, slots: Slots, step: Step, t: int) -> tuple[F32, Slots]:
        u = f(0.999) * slots[-1] + f(1 - 0.999) * g * g
        usual = f(lr) * np.sqrt(u * f(1 / (1 - 0.999**t))) + f(1e-8)
        w, inner_slots = inner(w, g / (f(1) + abs(w - step.then[""]) / usual), slots[:-1], step, t)
        return w, (*inner_slots, u)

    return rule


@dataclass(frozen=True)
class Case:
    data: Mapping[str, Any]
    twin: Twin
    state: tuple[str, ...] = ()
    """Prefixes of the state's names."""
    scalars: tuple[str, ...] = ()
    """State of one number each."""
    copied: tuple[str, ...] = ()
    """Those of the state that begin as the params do."""
    compensates: bool = False
    """Whether it looks at the weights of the forward."""
    name: str = field(default="")
    rate: float = 0.3
    """A learning rate that suits small problems."""
    loose: bool = False
    """Powers of our own and the C library's differ in the last bit: not the very bits of the twin."""

    def build(self, **more: Any) -> Optimizer:
        return optimizer_spec({**self.data, **more}).build()

    def first(self, slot: str, param: F32) -> F32:
        return param if slot in self.copied else np.zeros_like(param)

    def __str__(self) -> str:
        return self.name or str(self.data["type"])


MOMENTS: dict[str, Any] = {"state": ("m", "u"), "rate": 0.02, "loose": True}
CASES = (
    Case({"type": "sgd", "lr": 0.1}, sgd(0.1)),
    Case({"type": "sgd", "lr": 0.1, "weight_decay": 0.01}, sgd(0.1, 0.01), name="sgd-decay"),
    Case({"type": "sgd", "lr": 0.1, "clip_value": 0.5}, limited(0.5, sgd(0.1)), name="sgd-clip-value"),
    Case({"type": "sgd", "lr": 0.1, "staleness_aware": True}, sgd(0.1), name="sgd-staleness-aware"),
    Case({"type": "sgd", "lr": 0.1, "pipemare": 100}, sgd(0.1), name="sgd-pipemare"),
    Case(
        {"type": "sgd", "lr": 0.1, "gap_aware": True},
        gap_aware(0.1, sgd(0.1)),
        ("gap",),
        ("gap-updates",),
        compensates=True,
        name="sgd-gap-aware",
        loose=True,
    ),
    Case({"type": "momentum", "lr": 0.1}, momentum(0.1, 0.9), ("v",)),
    Case(
        {"type": "momentum", "lr": 0.1, "beta": 0.5, "weight_decay": 0.02},
        momentum(0.1, 0.5, 0.02),
        ("v",),
        name="momentum-decay",
    ),
    Case(
        {"type": "momentum", "lr": 0.1, "clip_value": 0.7, "gap_aware": True},
        gap_aware(0.1, limited(0.7, momentum(0.1, 0.9))),
        ("v", "gap"),
        ("gap-updates",),
        compensates=True,
        name="momentum-gap-aware-clipped",
        loose=True,
    ),
    Case({"type": "nesterov", "lr": 0.1}, nesterov(0.1, 0.9), ("v",)),
    Case({"type": "nesterov-async", "lr": 0.1}, nesterov_async(0.1, 0.9), ("x",), copied=("x",)),
    Case({"type": "spectrain", "lr": 0.1}, spectrain(0.1, 0.9, None), ("x", "v"), ("tau",), ("x",), loose=True),
    Case(
        {"type": "spectrain", "lr": 0.1, "beta": 0.5, "ahead": 2.0},
        spectrain(0.1, 0.5, 2.0),
        ("x", "v"),
        ("tau",),
        ("x",),
        name="spectrain-two-ahead",
    ),
    Case({"type": "spike", "lr": 0.1}, spike(0.1, 0.9), ("v",)),
    Case({"type": "adam", "lr": 0.1}, adam(0.1, 0.9, 0.999, 1e-8), scalars=("t",), **MOMENTS),
    Case(
        {"type": "adam", "lr": 0.1, "beta1": 0.5, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.01},
        adam(0.1, 0.5, 0.9, 1e-3, 0.01),
        scalars=("t",),
        name="adam-decay",
        **MOMENTS,
    ),
    Case({"type": "adamw", "lr": 0.1}, adam(0.1, 0.9, 0.999, 1e-8, 0.0, 0.01), scalars=("t",), **MOMENTS),
    Case({"type": "nadam", "lr": 0.1}, nadam(0.1, 0.9, 0.999, 1e-8, 0.004), scalars=("t", "product"), **MOMENTS),
    Case({"type": "rmsprop", "lr": 0.1}, root_mean_square(0.1, 0.99, 1 - 0.99, 1e-8), ("u",), rate=0.01),
    Case({"type": "adagrad", "lr": 0.1}, root_mean_square(0.1, 1.0, 1.0, 1e-10), ("u",)),
    Case({"type": "lion", "lr": 0.1, "weight_decay": 0.02}, lion(0.1, 0.9, 0.99, 0.02), ("m",), rate=0.005),
    Case({"type": "dc-asgd-c", "lr": 0.1}, dc_c(0.1, 0.04), compensates=True),
    Case(
        {"type": "dc-asgd-c", "lr": 0.1, "lam": 0.5, "weight_decay": 0.01},
        dc_c(0.1, 0.5, 0.01),
        compensates=True,
        name="dc-asgd-c-strong",
    ),
    Case({"type": "dc-asgd-a", "lr": 0.1}, dc_a(0.1, 2.0, 0.95, 1e-7), ("ms",), compensates=True),
    Case(
        {"type": "dc-asgd-a", "lr": 0.1, "lam": 1.0, "m": 0.0, "eps": 1e-3},
        dc_a(0.1, 1.0, 0.0, 1e-3),
        ("ms",),
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
