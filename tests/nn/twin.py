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


def forward(layers: Sequence[Data], params: Mapping[str, F64], x: F64, key: int | None, prefix: str = "") -> F64:
    """The layers (tables as in a configuration file) in a row; `key` None is a pass outside of training."""
    for position, data in enumerate(layers):
        own = None if key is None else key_at(key, position)
        x = _one(data, params, x, own, f"{prefix}{position}.")
    return x


def _one(data: Data, params: Mapping[str, F64], x: F64, key: int | None, prefix: str) -> F64:
    kind = data["type"]
    if kind in PLAIN:
        return PLAIN[kind](data, x)
    if kind in BLOCKS:
        return BLOCKS[kind](data, params, x, key, prefix)
    if kind == "flatten":
        return x.reshape(len(x), -1)
    if kind == "relu":
        return np.maximum(x, 0)
    if kind == "scale":
        return x * float(np.float32(data["scale"])) + float(np.float32(data["shift"]))
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


_erf = np.vectorize(math.erf, otypes=[np.float64])
BLOCKS = {"sequential": _sequential, "residual": _residual, "parallel": _parallel, "each": _each}
PLAIN: dict[str, Callable[[Data, F64], F64]] = {
    "leaky-relu": lambda data, x: np.where(x > 0, x, float(np.float32(data["slope"])) * x),
    "elu": lambda data, x: np.where(x > 0, x, float(np.float32(data.get("alpha", 1.0))) * np.expm1(x)),
    "gelu": lambda data, x: x * (1 + _erf(x / math.sqrt(2))) / 2,
    "silu": lambda data, x: x / (1 + np.exp(-x)),
    "tanh": lambda data, x: np.tanh(x),
    "sigmoid": lambda data, x: 1 / (1 + np.exp(-x)),
    "softmax": _softmax,
    "reshape": lambda data, x: x.reshape(len(x), *data["shape"]),
}
