"""The layers once more in PyTorch and float64: a second opinion, from others than us."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

Data = Mapping[str, Any]
Params = Mapping[str, torch.Tensor]


def forward(layers: Sequence[Data], params: Params, x: torch.Tensor, training: bool, prefix: str = "") -> torch.Tensor:
    """The layers (tables as in a configuration file) in a row."""
    for position, data in enumerate(layers):
        x = _one(data, params, x, training, f"{prefix}{position}.")
    return x


def _one(data: Data, params: Params, x: torch.Tensor, training: bool, prefix: str) -> torch.Tensor:
    kind = data["type"]
    if kind in PLAIN:
        return PLAIN[kind](data, x)
    if kind in BLOCKS:
        return BLOCKS[kind](data, params, x, training, prefix)
    own = {name.removeprefix(prefix): w for name, w in params.items() if name.startswith(prefix)}
    return WEIGHTED[kind](data, own, x, training)


def _parallel(data: Data, params: Params, x: torch.Tensor, training: bool, prefix: str) -> torch.Tensor:
    outs = [forward(branch, params, x, training, f"{prefix}{k}.") for k, branch in enumerate(data["branches"])]
    return torch.stack(outs).sum(0) if data.get("join") == "sum" else torch.cat(outs, dim=data.get("axis", 0) + 1)


def _each(data: Data, params: Params, x: torch.Tensor, training: bool, prefix: str) -> torch.Tensor:
    along = 1 + data.get("axes", 1)
    y = forward(data["layers"], params, x.reshape(-1, *x.shape[along:]), training, prefix)
    return y.reshape(*x.shape[:along], *y.shape[1:])


BLOCKS: dict[str, Callable[..., torch.Tensor]] = {
    "sequential": lambda data, *rest: forward(data["layers"], *rest),
    "residual": lambda data, params, x, *rest: x + forward(data["layers"], params, x, *rest),
    "parallel": _parallel,
    "each": _each,
}
PLAIN: dict[str, Callable[[Data, torch.Tensor], torch.Tensor]] = {
    "relu": lambda data, x: functional.relu(x),
    "leaky-relu": lambda data, x: functional.leaky_relu(x, data.get("slope", 0.01)),
    "elu": lambda data, x: functional.elu(x, data.get("alpha", 1.0)),
    "gelu": lambda data, x: functional.gelu(x),
    "silu": lambda data, x: functional.silu(x),
    "tanh": lambda data, x: torch.tanh(x),
    "sigmoid": lambda data, x: torch.sigmoid(x),
    "softmax": lambda data, x: torch.softmax(x, -1),
    "flatten": lambda data, x: x.flatten(1),
    "reshape": lambda data, x: x.reshape(len(x), *data["shape"]),
    "scale": lambda data, x: x * data.get("scale", 1 / 255) + data.get("shift", 0.0),
}
WEIGHTED: dict[str, Callable[[Data, Params, torch.Tensor, bool], torch.Tensor]] = {
    "linear": lambda data, own, x, training: functional.linear(x, own["weight"].T, own.get("bias")),
}
