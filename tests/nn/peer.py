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


def _settings(data: Data) -> dict[str, Any]:
    names = ("stride", "padding", "output_padding", "dilation", "groups")
    return {name: data[name] for name in names if name in data}


def _batch_norm(data: Data, own: Params, x: torch.Tensor, training: bool) -> torch.Tensor:
    if training and x.numel() == x.shape[1]:
        weight, bias = (own[name].reshape(1, -1, *(1,) * (x.dim() - 2)) for name in ("weight", "bias"))
        return bias + 0 * weight * x  # theirs refuses one number for a channel
    mean, var = own["mean"].clone(), own["var"].clone()
    return functional.batch_norm(x, mean, var, own["weight"], own["bias"], training, eps=data.get("eps", 1e-5))


def _recurrent(data: Data, own: Params, x: torch.Tensor, training: bool) -> torch.Tensor:
    kinds = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
    theirs = kinds[data["type"]](x.shape[2], data["out"], batch_first=True, dtype=torch.float64)
    second = torch.zeros_like(own["bias"])
    if data["type"] == "gru":
        second = torch.cat([second[: 2 * data["out"]], own["bias_h"]])
    weights = {"weight_ih_l0": own["weight_x"].T, "weight_hh_l0": own["weight_h"].T}
    weights |= {"bias_ih_l0": own["bias"], "bias_hh_l0": second}
    states, _ = torch.func.functional_call(theirs, weights, x)
    return states[:, -1] if data.get("last") else states


def _attention(data: Data, own: Params, x: torch.Tensor, training: bool) -> torch.Tensor:
    batch, steps, n = x.shape
    qkv = functional.linear(x, own["weight_qkv"].T, own.get("bias_qkv"))
    q, k, v = (part.reshape(batch, steps, data["heads"], -1).transpose(1, 2) for part in qkv.split(n, dim=2))
    mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=data.get("causal", False))
    return functional.linear(mixed.transpose(1, 2).reshape(x.shape), own["weight_out"].T, own.get("bias_out"))


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
    "max-pool2d": lambda data, x: functional.max_pool2d(
        x, data["kernel"], data.get("stride"), data.get("padding", 0), data.get("dilation", 1)
    ),
    "avg-pool2d": lambda data, x: functional.avg_pool2d(x, data["kernel"], data.get("stride"), data.get("padding", 0)),
    "global-avg-pool": lambda data, x: x.flatten(2).mean(2),
    "global-max-pool": lambda data, x: x.flatten(2).max(2).values,
    "scale": lambda data, x: x * data.get("scale", 1 / 255) + data.get("shift", 0.0),
}
WEIGHTED: dict[str, Callable[[Data, Params, torch.Tensor, bool], torch.Tensor]] = {
    "linear": lambda data, own, x, training: functional.linear(x, own["weight"].T, own.get("bias")),
    "conv2d": lambda data, own, x, training: functional.conv2d(x, own["weight"], own.get("bias"), **_settings(data)),
    "conv-transpose2d": lambda data, own, x, training: functional.conv_transpose2d(
        x, own["weight"], own.get("bias"), **_settings(data)
    ),
    "batch-norm": _batch_norm,
    "embedding": lambda data, own, x, training: functional.embedding(x, own["weight"]),
    "positional-embedding": lambda data, own, x, training: x + own["weight"],
    "rnn": _recurrent,
    "lstm": _recurrent,
    "gru": _recurrent,
    "attention": _attention,
    "layer-norm": lambda data, own, x, training: functional.layer_norm(
        x, x.shape[-1:], own["weight"], own["bias"], data.get("eps", 1e-5)
    ),
    "rms-norm": lambda data, own, x, training: functional.rms_norm(
        x, x.shape[-1:], own["weight"], data.get("eps", 1e-6)
    ),
    "group-norm": lambda data, own, x, training: functional.group_norm(
        x, data["groups"], own["weight"], own["bias"], data.get("eps", 1e-5)
    ),
}
