"""One table of layer cases; a new layer brings its row, and every law of `test_layers.py` is put to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from akkafka.nn.layer import F32, Array, Layer, Pass
from akkafka.nn.spec import build_sequence, layer_spec

TRAINING = Pass(training=True, key=0x0123456789ABCDEF0011223344556677)
EVALUATION = Pass(training=False, key=0x0123456789ABCDEF0011223344556677)


@dataclass(frozen=True)
class Case:
    name: str
    layers: tuple[Mapping[str, Any], ...]
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    params: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    in_dtype: str = "float32"
    out_dtype: str = "float32"
    chance: bool = False
    buffers: Mapping[str, float] = field(default_factory=dict)
    differs: bool = False
    """Whether training gives other numbers than evaluation, though by no chance."""
    below: int = 256
    """Integers that come in are less than this."""

    def build(self) -> Layer:
        return build_sequence([layer_spec(data) for data in self.layers], self.in_shape, np.dtype(self.in_dtype))

    def batch(self, size: int, seed: int = 1) -> Array:
        rng = np.random.default_rng(seed)
        if self.in_dtype == "uint8":
            return rng.integers(0, self.below, (size, *self.in_shape), dtype=np.uint8)
        return rng.standard_normal((size, *self.in_shape), dtype=np.float32)

    def weights(self, seed: int = 2) -> dict[str, F32]:
        return random_params(self.build(), seed)

    def gradient(self, size: int, seed: int = 3) -> F32:
        return np.random.default_rng(seed).standard_normal((size, *self.out_shape), dtype=np.float32)


def random_params(layer: Layer, seed: int) -> dict[str, F32]:
    """Normal numbers; their sizes for buffers, which may be variances."""
    rng = np.random.default_rng(seed)
    drawn = {n: rng.standard_normal(s, dtype=np.float32) for n, s in layer.param_shapes.items()}
    return {n: np.abs(w) + np.float32(0.1) if n in layer.buffers else w for n, w in drawn.items()}


def both_ways(layer: Layer, params: Mapping[str, F32], x: Array, dy: F32, run: Pass) -> dict[str, Array]:
    """Everything that a forward and a backward give, by name."""
    y, tape = layer.forward(params, x, run)
    dx, grads = layer.backward(params, tape, dy)
    assert dx is not None
    return {"y": y, "dx": dx, **{f"grad {name}": g for name, g in grads.items()}}


def linear(out: int, **more: Any) -> dict[str, Any]:
    return {"type": "linear", "out": out, **more}


RELU = {"type": "relu"}
CASES = (
    Case("linear", (linear(4),), (6,), (4,), {"0.weight": (6, 4), "0.bias": (4,)}),
    Case("linear without bias", (linear(4, bias=False),), (6,), (4,), {"0.weight": (6, 4)}),
    Case("linear to one feature", (linear(1),), (3,), (1,), {"0.weight": (3, 1), "0.bias": (1,)}),
    Case("linear and relu", (linear(5), RELU), (6,), (5,), {"0.weight": (6, 5), "0.bias": (5,)}),
    Case("linear and relu without bias", (linear(5, bias=False), RELU), (6,), (5,), {"0.weight": (6, 5)}),
    Case("relu", (RELU,), (5,), (5,)),
    Case("relu on images", (RELU,), (2, 3, 3), (2, 3, 3)),
    Case("dropout", ({"type": "dropout", "p": 0.3},), (7,), (7,), chance=True),
    Case("dropout on images", ({"type": "dropout", "p": 0.5},), (1, 3, 3), (1, 3, 3), chance=True),
    Case("dropconnect", ({"type": "dropconnect", "keep": 0.6},), (7,), (7,), chance=True),
    Case(
        "dropconnect-weights",
        ({"type": "dropconnect-weights", "out": 4, "p": 0.4},),
        (6,),
        (4,),
        {"0.weight": (6, 4), "0.bias": (4,)},
        chance=True,
    ),
    Case(
        "dropconnect-weights without bias",
        ({"type": "dropconnect-weights", "out": 4, "p": 0.4, "bias": False},),
        (6,),
        (4,),
        {"0.weight": (6, 4)},
        chance=True,
    ),
    Case("flatten", ({"type": "flatten"},), (2, 3, 2), (12,)),
    Case("flatten pixels", ({"type": "flatten"},), (1, 3, 3), (9,), in_dtype="uint8", out_dtype="uint8"),
    Case("scale", ({"type": "scale", "scale": -0.7, "shift": 0.3},), (5,), (5,)),
    Case("scale pixels", ({"type": "scale", "scale": 0.01, "shift": -1.0},), (1, 3, 3), (1, 3, 3), in_dtype="uint8"),
    Case(
        "a gate's block",
        (
            {"type": "flatten"},
            {"type": "scale", "scale": 1 / 255, "shift": -0.5},
            linear(8),
            RELU,
            {"type": "dropout", "p": 0.2},
            {"type": "sequential", "layers": [linear(6, init="xavier"), RELU, {"type": "dropout", "p": 0.1}]},
            linear(3, init="lecun"),
        ),
        (1, 4, 4),
        (3,),
        {
            "2.weight": (16, 8),
            "2.bias": (8,),
            "5.0.weight": (8, 6),
            "5.0.bias": (6,),
            "6.weight": (6, 3),
            "6.bias": (3,),
        },
        in_dtype="uint8",
        chance=True,
    ),
    Case(
        "nested twice",
        ({"type": "sequential", "layers": [{"type": "sequential", "layers": [linear(3), RELU]}, RELU]},),
        (4,),
        (3,),
        {"0.0.0.weight": (4, 3), "0.0.0.bias": (3,)},
    ),
    *(Case(kind, ({"type": kind},), (7,), (7,)) for kind in ("elu", "gelu", "silu", "tanh", "sigmoid", "softmax")),
    *(Case(f"{kind} on images", ({"type": kind},), (2, 3, 3), (2, 3, 3)) for kind in ("gelu", "tanh", "softmax")),
    Case("leaky-relu", ({"type": "leaky-relu", "slope": 0.2},), (7,), (7,)),
    Case("elu with another alpha", ({"type": "elu", "alpha": 0.3},), (2, 3), (2, 3)),
    Case("reshape", ({"type": "reshape", "shape": [3, -1]},), (2, 3, 2), (3, 4)),
    Case(
        "reshape pixels",
        ({"type": "reshape", "shape": [1, 2, 2]},),
        (4,),
        (1, 2, 2),
        in_dtype="uint8",
        out_dtype="uint8",
    ),
    Case(
        "residual",
        ({"type": "residual", "layers": [linear(5), {"type": "tanh"}, linear(4)]},),
        (4,),
        (4,),
        {"0.0.weight": (4, 5), "0.0.bias": (5,), "0.2.weight": (5, 4), "0.2.bias": (4,)},
    ),
    Case(
        "residual with chance",
        ({"type": "residual", "layers": [linear(4), {"type": "dropout", "p": 0.4}]},),
        (4,),
        (4,),
        {"0.0.weight": (4, 4), "0.0.bias": (4,)},
        chance=True,
    ),
    Case(
        "parallel",
        ({"type": "parallel", "branches": [[linear(3), RELU], [{"type": "tanh"}], [linear(2, bias=False)]]},),
        (4,),
        (9,),
        {"0.0.0.weight": (4, 3), "0.0.0.bias": (3,), "0.2.0.weight": (4, 2)},
    ),
    Case(
        "parallel summed, with chance",
        ({"type": "parallel", "join": "sum", "branches": [[linear(4)], [{"type": "dropout", "p": 0.4}]]},),
        (4,),
        (4,),
        {"0.0.0.weight": (4, 4), "0.0.0.bias": (4,)},
        chance=True,
    ),
    Case(
        "parallel along another axis",
        ({"type": "parallel", "axis": 1, "branches": [[RELU], [{"type": "reshape", "shape": [2, 6]}]]},),
        (2, 6),
        (2, 12),
    ),
    Case(
        "each",
        ({"type": "each", "layers": [linear(3), {"type": "gelu"}]},),
        (5, 4),
        (5, 3),
        {"0.0.weight": (4, 3), "0.0.bias": (3,)},
    ),
    Case(
        "each along two axes",
        ({"type": "each", "axes": 2, "layers": [linear(3)]},),
        (2, 3, 4),
        (2, 3, 3),
        {"0.0.weight": (4, 3), "0.0.bias": (3,)},
    ),
    Case(
        "conv2d",
        ({"type": "conv2d", "out": 4, "kernel": 3},),
        (2, 5, 6),
        (4, 3, 4),
        {"0.weight": (4, 2, 3, 3), "0.bias": (4,)},
    ),
    Case(
        "conv2d and relu",
        ({"type": "conv2d", "out": 3, "kernel": 3, "padding": 1}, RELU),
        (2, 4, 4),
        (3, 4, 4),
        {"0.weight": (3, 2, 3, 3), "0.bias": (3,)},
    ),
    Case(
        "conv2d with all its settings",
        (
            {
                "type": "conv2d",
                "out": 4,
                "kernel": [3, 2],
                "stride": [2, 1],
                "padding": [2, 1],
                "dilation": [1, 2],
                "groups": 2,
                "bias": False,
            },
            RELU,
        ),
        (4, 5, 6),
        (4, 4, 6),
        {"0.weight": (4, 2, 3, 2)},
    ),
    Case(
        "conv2d of every other pixel",
        ({"type": "conv2d", "out": 2, "kernel": 3, "stride": 2, "padding": 1},),
        (1, 5, 6),
        (2, 3, 3),
        {"0.weight": (2, 1, 3, 3), "0.bias": (2,)},
    ),
    Case(
        "conv2d of one pixel for each channel",
        ({"type": "conv2d", "out": 3, "kernel": 1, "stride": 2, "groups": 3},),
        (3, 4, 3),
        (3, 2, 2),
        {"0.weight": (3, 1, 1, 1), "0.bias": (3,)},
    ),
    Case(
        "conv-transpose2d",
        ({"type": "conv-transpose2d", "out": 3, "kernel": 3},),
        (2, 3, 4),
        (3, 5, 6),
        {"0.weight": (2, 3, 3, 3), "0.bias": (3,)},
    ),
    Case(
        "conv-transpose2d with all its settings",
        (
            {
                "type": "conv-transpose2d",
                "out": 4,
                "kernel": [3, 2],
                "stride": [2, 3],
                "padding": [1, 0],
                "output_padding": [1, 2],
                "dilation": [1, 2],
                "groups": 2,
                "bias": False,
            },
        ),
        (2, 3, 2),
        (4, 6, 8),
        {"0.weight": (2, 2, 3, 2)},
    ),
    Case("max-pool2d", ({"type": "max-pool2d", "kernel": 2},), (2, 5, 4), (2, 2, 2)),
    Case(
        "max-pool2d with all its settings",
        ({"type": "max-pool2d", "kernel": [3, 2], "stride": [1, 2], "padding": [1, 1], "dilation": [2, 1]},),
        (2, 5, 4),
        (2, 3, 3),
    ),
    Case("avg-pool2d", ({"type": "avg-pool2d", "kernel": 2},), (2, 5, 4), (2, 2, 2)),
    Case(
        "avg-pool2d with all its settings",
        ({"type": "avg-pool2d", "kernel": [3, 2], "stride": [1, 2], "padding": [1, 1]},),
        (2, 5, 4),
        (2, 5, 3),
    ),
    Case("global-avg-pool", ({"type": "global-avg-pool"},), (3, 2, 5), (3,)),
    Case("global-max-pool", ({"type": "global-max-pool"},), (3, 2, 5), (3,)),
    *(
        Case(
            f"batch-norm of {len(shape)} axes",
            ({"type": "batch-norm", "momentum": 0.2},),
            shape,
            shape,
            {f"0.{name}": shape[:1] for name in ("weight", "bias", "mean", "var")},
            buffers={"0.mean": 0.2, "0.var": 0.2},
            differs=True,
        )
        for shape in ((3,), (3, 2, 2))
    ),
    Case("layer-norm", ({"type": "layer-norm"},), (7,), (7,), {"0.weight": (7,), "0.bias": (7,)}),
    Case(
        "layer-norm in a sequence",
        ({"type": "layer-norm", "eps": 0.1},),
        (3, 5),
        (3, 5),
        {"0.weight": (5,), "0.bias": (5,)},
    ),
    Case("rms-norm", ({"type": "rms-norm", "eps": 0.01},), (3, 5), (3, 5), {"0.weight": (5,)}),
    Case(
        "group-norm", ({"type": "group-norm", "groups": 2},), (4, 2, 3), (4, 2, 3), {"0.weight": (4,), "0.bias": (4,)}
    ),
    Case(
        "group-norm of vectors", ({"type": "group-norm", "groups": 1},), (6,), (6,), {"0.weight": (6,), "0.bias": (6,)}
    ),
    Case(
        "a small conv net",
        (
            {"type": "scale"},
            {"type": "conv2d", "out": 3, "kernel": 3, "padding": 1, "bias": False},
            {"type": "batch-norm"},
            RELU,
            {"type": "max-pool2d", "kernel": 2},
            {"type": "residual", "layers": [{"type": "conv2d", "out": 3, "kernel": 3, "padding": 1}, {"type": "elu"}]},
            {"type": "global-avg-pool"},
            linear(2),
        ),
        (1, 5, 4),
        (2,),
        {
            "1.weight": (3, 1, 3, 3),
            **{f"2.{name}": (3,) for name in ("weight", "bias", "mean", "var")},
            "5.0.weight": (3, 3, 3, 3),
            "5.0.bias": (3,),
            "7.weight": (3, 2),
            "7.bias": (2,),
        },
        in_dtype="uint8",
        buffers={"2.mean": 0.1, "2.var": 0.1},
        differs=True,
    ),
    Case(
        "embedding",
        ({"type": "embedding", "count": 9, "out": 4},),
        (5,),
        (5, 4),
        {"0.weight": (9, 4)},
        "uint8",
        below=9,
    ),
    Case("positional-embedding", ({"type": "positional-embedding"},), (5, 4), (5, 4), {"0.weight": (5, 4)}),
    *(
        Case(
            f"{kind}{' last' if last else ''}",
            ({"type": kind, "out": 3, "last": last},),
            (4, 2),
            (3,) if last else (4, 3),
            {
                "0.weight_x": (2, gates * 3),
                "0.weight_h": (3, gates * 3),
                "0.bias": (gates * 3,),
                **({"0.bias_h": (3,)} if kind == "gru" else {}),
            },
        )
        for kind, gates in (("rnn", 1), ("lstm", 4), ("gru", 3))
        for last in (False, True)
    ),
    *(
        Case(
            f"attention{' causal' if causal else ''}",
            ({"type": "attention", "heads": 2, "causal": causal, "bias": causal},),
            (4, 6),
            (4, 6),
            {
                "0.weight_qkv": (6, 18),
                "0.weight_out": (6, 6),
                **({"0.bias_qkv": (18,), "0.bias_out": (6,)} if causal else {}),
            },
        )
        for causal in (False, True)
    ),
    Case(
        "a block of a transformer",
        (
            {"type": "embedding", "count": 9, "out": 4},
            {"type": "positional-embedding"},
            {"type": "residual", "layers": [{"type": "layer-norm"}, {"type": "attention", "heads": 2, "causal": True}]},
            {
                "type": "residual",
                "layers": [
                    {"type": "rms-norm", "eps": 0.01},
                    {"type": "each", "layers": [linear(4), {"type": "silu"}]},
                ],
            },
        ),
        (3,),
        (3, 4),
        {
            "0.weight": (9, 4),
            "1.weight": (3, 4),
            "2.0.weight": (4,),
            "2.0.bias": (4,),
            "2.1.weight_qkv": (4, 12),
            "2.1.weight_out": (4, 4),
            "2.1.bias_qkv": (12,),
            "2.1.bias_out": (4,),
            "3.0.weight": (4,),
            "3.1.0.weight": (4, 4),
            "3.1.0.bias": (4,),
        },
        "uint8",
        below=9,
    ),
)
