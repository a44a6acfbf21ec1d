"""What is raced: the same work of the same shapes in akkafka, in PyTorch and, for optimizers, in plain numpy.

Imported where PyTorch is. A case gives a callable a contender; each call does the whole work, on the same inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from akkafka.nn.layer import F32, Pass
from akkafka.nn.losses import softmax_cross_entropy
from akkafka.nn.spec import build_sequence, layer_spec
from akkafka.optim.optimizer import Step, optimizer_spec

Work = Callable[[], Any]
TRAINING = Pass(training=True, key=5)


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    group: str
    shape: str
    contenders: Mapping[str, Work]  # "akkafka", "torch …", "numpy"


def cases() -> Iterator[Case]:
    """All of them, made one by one: memory of one is gone before the next comes."""
    yield from _optimizers()
    yield from _layers()
    yield from _losses()


# --- optimizers ------------------------------------------------------------------------------------------------------

PARAMS = {"first": (784, 256), "first bias": (256,), "second": (256, 256), "second bias": (256,)}  # fit into a cache
LARGE = {"wide": (2048, 2048), "wide bias": (2048,)}
LR = 0.01


def _optimizers() -> Iterator[Case]:
    yield from _steps(PARAMS)
    yield from _steps(LARGE)


def _steps(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Case]:
    rng = np.random.default_rng(1)
    weights = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    grads = {name: 1e-3 * rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    shape = f"{sum(w.size for w in weights.values())} weights"
    theirs: dict[str, Callable[..., Any]] = {
        "sgd": lambda params, **way: torch.optim.SGD(params, LR, **way),
        "momentum": lambda params, **way: torch.optim.SGD(params, LR, momentum=0.9, **way),
        "adamw": lambda params, **way: torch.optim.AdamW(params, LR, **way),
    }
    for name, made in theirs.items():
        contenders = {
            "akkafka": _own_steps(name, weights, grads),
            "torch fused": _their_steps(made, weights, grads, fused=True),
            "torch foreach": _their_steps(made, weights, grads, foreach=True),
            "numpy": _PLAIN[name](weights, grads),
        }
        yield Case(f"{name} step", "optimizer", shape, contenders)


def _own_steps(name: str, weights: dict[str, F32], grads: dict[str, F32]) -> Work:
    optimizer = optimizer_spec({"type": name, "lr": LR}).build()
    params: Any = weights
    state: Any = optimizer.init(weights)
    version = 0

    def step() -> None:
        nonlocal params, state, version
        params, state = optimizer.update(params, state, Step(grads, params, 0, version))
        version += 1

    return step


def _their_steps(made: Callable[..., Any], weights: dict[str, F32], grads: dict[str, F32], **way: bool) -> Work:
    params = [nn.Parameter(torch.from_numpy(w.copy())) for w in weights.values()]
    for param, grad in zip(params, grads.values(), strict=True):
        param.grad = torch.from_numpy(grad.copy())
    step: Work = made(params, **way).step
    return step


def _plain_sgd(weights: dict[str, F32], grads: dict[str, F32]) -> Work:
    params = dict(weights)

    def step() -> None:
        for name, g in grads.items():
            params[name] = params[name] - np.float32(LR) * g

    return step


def _plain_momentum(weights: dict[str, F32], grads: dict[str, F32]) -> Work:
    params, v = dict(weights), {name: np.zeros_like(w) for name, w in weights.items()}

    def step() -> None:
        for name, g in grads.items():
            v[name] = np.float32(0.9) * v[name] + np.float32(0.1) * g
            params[name] = params[name] - np.float32(LR) * v[name]

    return step


def _plain_adamw(weights: dict[str, F32], grads: dict[str, F32]) -> Work:
    params = dict(weights)
    m, u = ({name: np.zeros_like(w) for name, w in weights.items()} for _ in range(2))
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        c1, c2 = np.float32(1 / (1 - 0.9**t)), np.float32(1 / (1 - 0.999**t) ** 0.5)
        for name, g in grads.items():
            m[name] = np.float32(0.9) * m[name] + np.float32(0.1) * g
            u[name] = np.float32(0.999) * u[name] + np.float32(0.001) * g * g
            size = np.sqrt(u[name]) * c2 + np.float32(1e-8)
            params[name] = np.float32(1 - LR * 0.01) * params[name] - np.float32(LR) * (m[name] * c1) / size

    return step


_PLAIN = {"sgd": _plain_sgd, "momentum": _plain_momentum, "adamw": _plain_adamw}


# --- layers ----------------------------------------------------------------------------------------------------------


def _layers() -> Iterator[Case]:
    def kind(name: str, **settings: Any) -> dict[str, Any]:
        return {"type": name, **settings}

    sequence, image, small = (32, 128), (16, 28, 28), (16, 14, 14)
    table: list[tuple[str, dict[str, Any], tuple[int, ...], int, Any]] = [
        ("linear", kind("linear", out=256), (784,), 256, nn.Linear(784, 256)),
        ("conv 5x5", kind("conv2d", out=16, kernel=5), (6, 14, 14), 64, nn.Conv2d(6, 16, 5)),
        ("conv 3x3", kind("conv2d", out=32, kernel=3, padding=1), small, 64, nn.Conv2d(16, 32, 3, padding=1)),
        ("max pool", kind("max-pool2d", kernel=2), image, 32, nn.MaxPool2d(2)),
        ("mean pool", kind("avg-pool2d", kernel=2), image, 32, nn.AvgPool2d(2)),
        ("batch-norm", kind("batch-norm"), small, 64, nn.BatchNorm2d(16)),
        ("layer-norm", kind("layer-norm"), sequence, 32, nn.LayerNorm(128)),
        ("rms-norm", kind("rms-norm"), sequence, 32, nn.RMSNorm(128)),
        ("group-norm", kind("group-norm", groups=4), small, 64, nn.GroupNorm(4, 16)),
        ("relu", kind("relu"), sequence, 32, nn.ReLU()),
        ("gelu", kind("gelu"), sequence, 32, nn.GELU()),
        ("silu", kind("silu"), sequence, 32, nn.SiLU()),
        ("tanh", kind("tanh"), sequence, 32, nn.Tanh()),
        ("sigmoid", kind("sigmoid"), sequence, 32, nn.Sigmoid()),
        ("elu", kind("elu"), sequence, 32, nn.ELU()),
        ("softmax", kind("softmax"), sequence, 32, nn.Softmax(-1)),
    ]
    for name, data, shape, batch, module in table:
        yield from _both_ways(name, data, shape, batch, module)


def _both_ways(name: str, data: dict[str, Any], shape: tuple[int, ...], batch: int, module: Any) -> Iterator[Case]:
    rng = np.random.default_rng(1)
    layer = build_sequence([layer_spec(data)], shape, np.dtype(np.float32))
    params = layer.init(np.random.default_rng(2))
    x = rng.standard_normal((batch, *shape), dtype=np.float32)
    y, tape = layer.forward(params, x, TRAINING)
    dy = rng.standard_normal(y.shape, dtype=np.float32)
    their_x, their_dy = torch.from_numpy(x.copy()).requires_grad_(), torch.from_numpy(dy.copy())
    their_y, wanted = module(their_x), [their_x, *module.parameters()]
    size = " x ".join(map(str, (batch, *shape)))
    forward = {"akkafka": lambda: layer.forward(params, x, TRAINING), "torch": lambda: module(their_x)}
    backward = {
        "akkafka": lambda: layer.backward(params, tape, dy),
        "torch": lambda: torch.autograd.grad(their_y, wanted, their_dy, retain_graph=True),
    }
    yield Case(f"{name} forward", "layer", size, forward)
    yield Case(f"{name} backward", "layer", size, backward)


# --- losses ----------------------------------------------------------------------------------------------------------


def _losses() -> Iterator[Case]:
    for classes in (10, 96):
        rng = np.random.default_rng(1)
        logits = rng.standard_normal((1024, classes), dtype=np.float32)
        targets = rng.integers(0, classes, 1024)
        yield _cross_entropy(logits, targets)


def _cross_entropy(logits: F32, targets: Any) -> Case:
    theirs, their_targets = torch.from_numpy(logits.copy()).requires_grad_(), torch.from_numpy(targets)
    contenders = {
        "akkafka": lambda: softmax_cross_entropy(logits, targets),
        "torch": lambda: torch.autograd.grad(functional.cross_entropy(theirs, their_targets), theirs),
    }
    return Case("softmax + cross-entropy", "loss", " x ".join(map(str, logits.shape)), contenders)
