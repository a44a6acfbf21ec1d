"""The layers once more in numpy and float64, as slow and plain as can be: what the fast ones are held against."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Data = Mapping[str, Any]


def mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finalizer."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def kept(key: int, shape: tuple[int, ...], keep: float) -> NDArray[np.bool_]:
    """Which elements of an array of `shape` the mask of `key` keeps."""
    size = int(np.prod(shape))
    index = np.arange((size + 1) // 2, dtype=np.uint64)
    low, high = np.uint64(key % 2**64), np.uint64(key // 2**64)
    words = mix(mix(low + (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)) ^ high)
    halves = np.stack([words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)], axis=1).ravel()[:size]
    return (halves < np.uint64(round(keep * 2**32))).reshape(shape)


def key_at(key: int, position: int) -> int:
    """The key of a layer at `position` of a sequence."""
    text = key.to_bytes(16, "little") + position.to_bytes(4, "little")
    return int.from_bytes(hashlib.blake2b(text, digest_size=16, person=b"akkafka.position").digest(), "little")


def forward(
    layers: Sequence[Data],
    params: Mapping[str, F64],
    x: F64,
    key: int | None,
    prefix: str = "",
    told: dict[str, F64] | None = None,
) -> F64:
    """The layers (tables as in a configuration file) in a row; `key` None is a pass outside of training.

    `told` gets the batch's statistics, by the name of the buffer that follows them.
    """
    for position, data in enumerate(layers):
        own, name = None if key is None else key_at(key, position), f"{prefix}{position}."
        if data["type"] == "batch-norm":
            x = _batch_norm(data, params, x, key is not None, name, {} if told is None else told)
        else:
            x = _one(data, params, x, own, name)
    return x


def _channels(w: F64, x: F64) -> F64:
    """(C,) as it goes with (B, C, ...)."""
    return w.reshape(1, -1, *(1,) * (x.ndim - 2))


def _batch_norm(
    data: Data, params: Mapping[str, F64], x: F64, training: bool, prefix: str, told: dict[str, F64]
) -> F64:
    mean, var = params[f"{prefix}mean"], params[f"{prefix}var"]
    if training:
        axes = (0, *range(2, x.ndim))
        count = x.size // x.shape[1]
        told[f"{prefix}mean"] = x.mean(axis=axes)
        told[f"{prefix}var"] = var if count == 1 else x.var(axis=axes, ddof=1)
        mean, var = x.mean(axis=axes), x.var(axis=axes)
    normal = (x - _channels(mean, x)) / np.sqrt(_channels(var, x) + data.get("eps", 1e-5))
    y: F64 = normal * _channels(params[f"{prefix}weight"], x) + _channels(params[f"{prefix}bias"], x)
    return y


def _one(data: Data, params: Mapping[str, F64], x: F64, key: int | None, prefix: str) -> F64:
    kind = data["type"]
    if kind in PLAIN:
        return PLAIN[kind](data, x)
    if kind in BLOCKS:
        return BLOCKS[kind](data, params, x, key, prefix)
    if kind in WEIGHTED:
        own = {name.removeprefix(prefix): w for name, w in params.items() if name.startswith(prefix)}
        return WEIGHTED[kind](data, own, x)
    if kind == "flatten":
        return x.reshape(len(x), -1)
    if kind == "relu":
        return np.maximum(x, 0)
    if kind == "scale":
        return x * float(np.float32(data.get("scale", 1 / 255))) + float(np.float32(data.get("shift", 0.0)))
    if kind == "dropout":
        return x if key is None else x * kept(key, x.shape, 1 - data["p"]) * float(np.float32(1 / (1 - data["p"])))
    if kind == "dropconnect":
        return x if key is None else x * kept(key, x.shape, data["keep"])
    weight = params[f"{prefix}weight"]
    if kind == "dropconnect-weights" and key is not None:
        weight = weight * kept(key, weight.shape, 1 - data["p"]) * float(np.float32(1 / (1 - data["p"])))
    y: F64 = x @ weight
    return y + params[f"{prefix}bias"] if data.get("bias", True) else y


def _sequential(data: Data, params: Mapping[str, F64], x: F64, key: int | None, prefix: str) -> F64:
    return forward(data["layers"], params, x, key, prefix)


def _residual(data: Data, params: Mapping[str, F64], x: F64, key: int | None, prefix: str) -> F64:
    return x + forward(data["layers"], params, x, key, prefix)


def _parallel(data: Data, params: Mapping[str, F64], x: F64, key: int | None, prefix: str) -> F64:
    outs = [
        forward(branch, params, x, None if key is None else key_at(key, k), f"{prefix}{k}.")
        for k, branch in enumerate(data["branches"])
    ]
    return sum(outs[1:], outs[0]) if data.get("join") == "sum" else np.concatenate(outs, axis=data.get("axis", 0) + 1)


def _each(data: Data, params: Mapping[str, F64], x: F64, key: int | None, prefix: str) -> F64:
    along = 1 + data.get("axes", 1)
    y = forward(data["layers"], params, x.reshape(-1, *x.shape[along:]), key, prefix)
    return y.reshape(*x.shape[:along], *y.shape[1:])


def _softmax(data: Data, x: F64) -> F64:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    exps: F64 = e / e.sum(axis=-1, keepdims=True)
    return exps


def _pair(sizes: Any) -> tuple[int, int]:
    return (sizes, sizes) if isinstance(sizes, int) else tuple(sizes)


def _windows(data: Data, x: F64, rim: float = 0.0) -> F64:
    """What the window sees at each place: (B, C, oh, ow, kh, kw)."""
    kernel, padding = _pair(data["kernel"]), _pair(data.get("padding", 0))
    default = 1 if data["type"].startswith("conv") else data["kernel"]
    stride, dilation = _pair(data.get("stride", default)), _pair(data.get("dilation", 1))
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)), constant_values=rim)
    spans = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    seen = np.lib.stride_tricks.sliding_window_view(x, spans, axis=(2, 3))
    found: F64 = seen[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    return found


def _conv(data: Data, own: Mapping[str, F64], x: F64) -> F64:
    groups = data.get("groups", 1)
    parts = zip(np.split(_windows(data, x), groups, axis=1), np.split(own["weight"], groups), strict=True)
    y = np.concatenate([np.einsum("bcpqij,ocij->bopq", seen, w) for seen, w in parts], axis=1)
    return y + _channels(own["bias"], y) if "bias" in own else y


def _conv_transpose(data: Data, own: Mapping[str, F64], x: F64) -> F64:
    """Each pixel paints its window."""
    stride, padding = _pair(data.get("stride", 1)), _pair(data.get("padding", 0))
    dilation, extra, groups = (
        _pair(data.get("dilation", 1)),
        _pair(data.get("output_padding", 0)),
        data.get("groups", 1),
    )
    (height, width), (kh, kw) = x.shape[2:], own["weight"].shape[2:]
    sides = [
        (n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip((height, width), stride, dilation, (kh, kw), strict=True)
    ]
    painted = []
    for pixels, w in zip(np.split(x, groups, axis=1), np.split(own["weight"], groups), strict=True):
        canvas = np.zeros((len(x), w.shape[1], sides[0] + extra[0], sides[1] + extra[1]))
        for p, q, i, j in np.ndindex(height, width, kh, kw):
            y, z = p * stride[0] + i * dilation[0], q * stride[1] + j * dilation[1]
            canvas[:, :, y, z] += pixels[:, :, p, q] @ w[:, :, i, j]
        painted.append(canvas)
    whole = np.concatenate(painted, axis=1)
    cut = whole[:, :, padding[0] : sides[0] + extra[0] - padding[0], padding[1] : sides[1] + extra[1] - padding[1]]
    return cut + _channels(own["bias"], cut) if "bias" in own else cut


def _rows(data: Data, own: Mapping[str, F64], x: F64) -> F64:
    if data["type"] == "rms-norm":
        long: F64 = np.sqrt((x * x).mean(axis=-1, keepdims=True) + data["eps"])
        return x / long * own["weight"]
    normal: F64 = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + data.get("eps", 1e-5))
    return normal * own["weight"] + own["bias"]


def _groups(data: Data, own: Mapping[str, F64], x: F64) -> F64:
    parts = x.reshape(len(x), data["groups"], -1)
    normal: F64 = (parts - parts.mean(axis=2, keepdims=True)) / np.sqrt(parts.var(axis=2, keepdims=True) + 1e-5)
    return normal.reshape(x.shape) * _channels(own["weight"], x) + _channels(own["bias"], x)


def _sigmoid(x: F64) -> F64:
    return 1 / (1 + np.exp(-x))


def _recurrent(data: Data, own: Mapping[str, F64], x: F64) -> F64:
    units = data["out"]
    h = c = np.zeros((len(x), units))
    states = []
    for t in range(x.shape[1]):
        zx, zh = x[:, t] @ own["weight_x"] + own["bias"], h @ own["weight_h"]
        a, b = (np.split(z, z.shape[1] // units, axis=1) for z in (zx, zh))
        if data["type"] == "rnn":
            h = np.tanh(zx + zh)
        elif data["type"] == "lstm":
            c = _sigmoid(a[1] + b[1]) * c + _sigmoid(a[0] + b[0]) * np.tanh(a[2] + b[2])
            h = _sigmoid(a[3] + b[3]) * np.tanh(c)
        else:
            r, z = _sigmoid(a[0] + b[0]), _sigmoid(a[1] + b[1])
            h = (1 - z) * np.tanh(a[2] + r * (b[2] + own["bias_h"])) + z * h
        states.append(h)
    return h if data.get("last") else np.stack(states, axis=1)


def _attention(data: Data, own: Mapping[str, F64], x: F64) -> F64:
    n, heads = x.shape[2], data["heads"]
    qkv: F64 = x @ own["weight_qkv"] + own.get("bias_qkv", 0)
    outs = []
    for head in range(heads):
        q, k, v = (qkv[:, :, m * n + head * n // heads : m * n + (head + 1) * n // heads] for m in range(3))
        scores = np.einsum("bid,bjd->bij", q, k) / math.sqrt(n / heads)
        if data.get("causal"):
            scores = np.where(np.tri(x.shape[1], dtype=bool), scores, -np.inf)
        outs.append(_softmax({}, scores) @ v)
    y: F64 = np.concatenate(outs, axis=2) @ own["weight_out"] + own.get("bias_out", 0)
    return y


_erf = np.vectorize(math.erf, otypes=[np.float64])
BLOCKS = {"sequential": _sequential, "residual": _residual, "parallel": _parallel, "each": _each}
PLAIN: dict[str, Callable[[Data, F64], F64]] = {
    "leaky-relu": lambda data, x: np.where(x > 0, x, float(np.float32(data.get("slope", 0.01))) * x),
    "elu": lambda data, x: np.where(x > 0, x, float(np.float32(data.get("alpha", 1.0))) * np.expm1(x)),
    "gelu": lambda data, x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "silu": lambda data, x: x / (1 + np.exp(-x)),
    "tanh": lambda data, x: np.tanh(x),
    "sigmoid": lambda data, x: 1 / (1 + np.exp(-x)),
    "softmax": _softmax,
    "reshape": lambda data, x: x.reshape(len(x), *data["shape"]),
    "max-pool2d": lambda data, x: _windows(data, x, -np.inf).max(axis=(4, 5)),
    "avg-pool2d": lambda data, x: _windows(data, x).mean(axis=(4, 5)),
    "global-avg-pool": lambda data, x: x.reshape(*x.shape[:2], -1).mean(axis=2),
    "global-max-pool": lambda data, x: x.reshape(*x.shape[:2], -1).max(axis=2),
}
WEIGHTED: dict[str, Callable[[Data, Mapping[str, F64], F64], F64]] = {
    "conv2d": _conv,
    "conv-transpose2d": _conv_transpose,
    "layer-norm": _rows,
    "rms-norm": _rows,
    "group-norm": _groups,
    "embedding": lambda data, own, x: own["weight"][np.rint(x).astype(int)],
    "positional-embedding": lambda data, own, x: x + own["weight"],
    "rnn": _recurrent,
    "lstm": _recurrent,
    "gru": _recurrent,
    "attention": _attention,
}
