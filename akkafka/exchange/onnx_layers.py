"""Each layer's form in ONNX: a function for each kind, in evaluation (no chance, running statistics).

x and y are names of tensors (batch, …); params are named as in the layer. A kind that is not in FORMS has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from akkafka.nn.layer import UINT8, Layer, Params
from akkafka.nn.layers.attention import Attention
from akkafka.nn.layers.batch_norm import BatchNorm
from akkafka.nn.layers.conv2d import Conv2d
from akkafka.nn.layers.conv_transpose2d import ConvTranspose2d
from akkafka.nn.layers.dropconnect_weights import DropConnectWeights
from akkafka.nn.layers.dropout import Masked
from akkafka.nn.layers.each import Each
from akkafka.nn.layers.embedding import Embedding, PositionalEmbedding
from akkafka.nn.layers.flatten import Flatten
from akkafka.nn.layers.global_pool import GlobalAvgPool, GlobalMaxPool
from akkafka.nn.layers.group_norm import GroupNorm
from akkafka.nn.layers.linear import Linear
from akkafka.nn.layers.parallel import Parallel
from akkafka.nn.layers.pointwise import Pointwise
from akkafka.nn.layers.pool2d import AvgPool2d, MaxPool2d
from akkafka.nn.layers.recurrent import Recurrent
from akkafka.nn.layers.relu import Relu
from akkafka.nn.layers.reshape import Reshape
from akkafka.nn.layers.residual import Residual
from akkafka.nn.layers.row_norm import RowNorm
from akkafka.nn.layers.scale import Scale
from akkafka.nn.layers.softmax import Softmax
from akkafka.nn.sequence import Stack
from akkafka.nn.window import Window

FLOAT: Final = 1  # onnx.TensorProto.FLOAT and INT64: numbers of the format, never to change
INT64: Final = 7


class Drawing(Protocol):
    """What forms need of the graph (onnx_graph.Graph)."""

    place: str

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """See Graph."""

    def constant(self, array: NDArray[Any], name: str = "") -> str:
        """See Graph."""

    def reshaped(self, x: str, *shape: int) -> str:
        """See Graph."""

    def part(self, layer: Layer, params: Params, x: str, position: int | None = None) -> str:
        """See Graph."""


Form = Callable[[Any, Any, Params, str], str]


def _named(g: Drawing, params: Params, name: str) -> str:
    """A param as it is, under its name in the network."""
    return g.constant(params[name], f"{g.place}{name}")


def _number(g: Drawing, value: float) -> str:
    return g.constant(np.array(value, np.float32))


def _plus_bias(g: Drawing, y: str, params: Params) -> str:
    return g.node("Add", y, _named(g, params, "bias")) if "bias" in params else y


def _linear(g: Drawing, layer: Linear, params: Params, x: str) -> str:
    return _plus_bias(g, g.node("MatMul", x, _named(g, params, "weight")), params)


def _same(g: Drawing, layer: Layer, params: Params, x: str) -> str:
    """Dropout and its kin outside of training."""
    return x


def _plain(kind: str, **fixed: Any) -> Form:
    return lambda g, layer, params, x: g.node(kind, x, **fixed)


def _windowed(window: Window) -> dict[str, Any]:
    return {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "pads": (*window.padding, *window.padding),
        "dilations": window.dilation,
    }


def _conv(g: Drawing, layer: Conv2d, params: Params, x: str) -> str:
    inputs = [_named(g, params, name) for name in params]  # weight, and bias if there is one
    return g.node("Conv", x, *inputs, group=layer.groups, **_windowed(layer.window))


def _conv_transpose(g: Drawing, layer: ConvTranspose2d, params: Params, x: str) -> str:
    """Group by group: onnx's reference evaluator (1.23) mixes up the groups of one node."""
    least = layer.window.spread((layer.in_shape[1], layer.in_shape[2]), (0, 0))
    extra = [size - small for size, small in zip(layer.out_shape[1:], least, strict=True)]
    settings = {**_windowed(layer.window), "output_padding": extra}
    if layer.groups == 1:
        return g.node("ConvTranspose", x, *(_named(g, params, name) for name in params), **settings)
    size = layer.in_shape[0] // layer.groups
    outs = []
    for group, weight in enumerate(np.split(params["weight"], layer.groups)):
        ends = (g.constant(np.array([at * size], np.int64)) for at in (group, group + 1))
        own = g.node("Slice", x, *ends, g.constant(np.array([1], np.int64)))
        outs.append(g.node("ConvTranspose", own, g.constant(weight, f"{g.place}weight.{group}"), **settings))
    y = g.node("Concat", *outs, axis=1)
    bias = g.constant(params["bias"].reshape(-1, 1, 1), f"{g.place}bias") if layer.bias else ""
    return g.node("Add", y, bias) if layer.bias else y


def _max_pool(g: Drawing, layer: MaxPool2d, params: Params, x: str) -> str:
    return g.node("MaxPool", x, **_windowed(layer.window))


def _avg_pool(g: Drawing, layer: AvgPool2d, params: Params, x: str) -> str:
    settings = _windowed(layer.window)
    del settings["dilations"]  # always 1, and its ONNX form knows them in later opsets alone
    return g.node("AveragePool", x, count_include_pad=1, **settings)


def _global(kind: str) -> Form:
    """Over all places of a channel, of whatever number of axes."""
    return lambda g, layer, params, x: g.node(
        kind, g.reshaped(x, layer.in_shape[0], layer.places), g.constant(np.array([2], np.int64)), keepdims=0
    )


def _batch_norm(g: Drawing, layer: BatchNorm, params: Params, x: str) -> str:
    inputs = [_named(g, params, name) for name in ("weight", "bias", "mean", "var")]
    return g.node("BatchNormalization", x, *inputs, epsilon=layer.eps)


def _row_norm(g: Drawing, layer: RowNorm, params: Params, x: str) -> str:
    weight = _named(g, params, "weight")
    if layer.centred:
        return g.node("LayerNormalization", x, weight, _named(g, params, "bias"), axis=-1, epsilon=layer.eps)
    squares = g.node("ReduceMean", g.node("Mul", x, x), g.constant(np.array([-1], np.int64)))
    length = g.node("Sqrt", g.node("Add", squares, _number(g, layer.eps)))
    return g.node("Mul", g.node("Div", x, length), weight)


def _group_norm(g: Drawing, layer: GroupNorm, params: Params, x: str) -> str:
    """A layer-norm of each group, then the channels' weights."""
    size = int(np.prod(layer.in_shape)) // layer.groups
    one = g.constant(np.ones(size, np.float32))
    normal = g.node("LayerNormalization", g.reshaped(x, layer.groups, size), one, axis=-1, epsilon=layer.eps)
    by_channel = (layer.in_shape[0], *(1,) * (len(layer.in_shape) - 1))
    weight, bias = (g.constant(params[name].reshape(by_channel), f"{g.place}{name}") for name in ("weight", "bias"))
    return g.node("Add", g.node("Mul", g.reshaped(normal, *layer.in_shape), weight), bias)


def _scale(g: Drawing, layer: Scale, params: Params, x: str) -> str:
    floats = g.node("Cast", x, to=FLOAT) if layer.in_dtype == UINT8 else x
    return g.node("Add", g.node("Mul", floats, _number(g, layer.scale)), _number(g, layer.shift))


def _shape(g: Drawing, layer: Layer, params: Params, x: str) -> str:
    return g.reshaped(x, *layer.out_shape)


def _pointwise(g: Drawing, layer: Pointwise, params: Params, x: str) -> str:
    return _POINTWISE[layer.kernel](g, layer, params, x)


def _alpha(kind: str) -> Form:
    return lambda g, layer, params, x: g.node(kind, x, alpha=float(layer.setting))


_POINTWISE: Final[Mapping[str, Form]] = {
    "leaky_relu": _alpha("LeakyRelu"),
    "elu": _alpha("Elu"),
    "gelu": _plain("Gelu"),
    "silu": lambda g, layer, params, x: g.node("Mul", x, g.node("Sigmoid", x)),
    "tanh": _plain("Tanh"),
    "sigmoid": _plain("Sigmoid"),
}


def _stack(g: Drawing, layer: Stack, params: Params, x: str) -> str:
    for position, inner in enumerate(layer.layers):
        x = g.part(inner, params, x, position)
    return x


def _residual(g: Drawing, layer: Residual, params: Params, x: str) -> str:
    return g.node("Add", x, g.part(layer.inner, params, x))


def _each(g: Drawing, layer: Each, params: Params, x: str) -> str:
    return g.reshaped(g.part(layer.inner, params, g.reshaped(x, *layer.inner.in_shape)), *layer.out_shape)


def _parallel(g: Drawing, layer: Parallel, params: Params, x: str) -> str:
    outs = [g.part(branch, params, x, number) for number, branch in enumerate(layer.branches)]
    return g.node("Sum", *outs) if layer.join == "sum" else g.node("Concat", *outs, axis=layer.axis + 1)


def _embedding(g: Drawing, layer: Embedding, params: Params, x: str) -> str:
    return g.node("Gather", _named(g, params, "weight"), g.node("Cast", x, to=INT64))


def _positional(g: Drawing, layer: PositionalEmbedding, params: Params, x: str) -> str:
    return g.node("Add", x, _named(g, params, "weight"))


_CELLS: Final = {  # kind, order of ONNX's gates in ours, settings
    "rnn": ("RNN", (0,), {}),
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
}


def _recurrent(g: Drawing, layer: Recurrent, params: Params, x: str) -> str:
    """ONNX has steps first, a direction more, gates in another order, and two biases one behind the other."""
    kind, order, settings = _CELLS[layer.cell.kernel]

    def gates(wide: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([np.split(wide, len(order))[gate] for gate in order])

    second = np.zeros_like(params["bias"])
    if "bias_h" in params:
        second[2 * layer.units :] = params["bias_h"]
    inputs = [
        g.constant(gates(params[name].T)[np.newaxis], f"{g.place}{name}") for name in ("weight_x", "weight_h")
    ] + [g.constant(np.concatenate([gates(params["bias"]), gates(second)])[np.newaxis], f"{g.place}bias")]
    steps_first = g.node("Transpose", x, perm=[1, 0, 2])
    if layer.last:
        last = g.node(kind, steps_first, *inputs, outputs=2, hidden_size=layer.units, **settings)
        return g.reshaped(last, layer.units)
    states = g.node(kind, steps_first, *inputs, hidden_size=layer.units, **settings)  # (T, 1, B, units)
    return g.reshaped(g.node("Transpose", states, perm=[2, 0, 1, 3]), *layer.out_shape)


def _attention(g: Drawing, layer: Attention, params: Params, x: str) -> str:
    steps, n = layer.in_shape
    qkv = _projected(g, params, x, "qkv")
    parts = g.node("Transpose", g.reshaped(qkv, steps, 3, layer.heads, n // layer.heads), perm=[2, 0, 3, 1, 4])
    q, k, v = (g.node("Gather", parts, g.constant(np.array(i, np.int64)), axis=0) for i in range(3))
    scores = g.node("MatMul", q, g.node("Transpose", k, perm=[0, 1, 3, 2]))
    scores = g.node("Mul", scores, _number(g, (n // layer.heads) ** -0.5))
    if layer.causal:
        later = np.triu(np.full((steps, steps), -np.inf, np.float32), 1)
        scores = g.node("Add", scores, g.constant(later))
    mixed = g.node("MatMul", g.node("Softmax", scores, axis=-1), v)
    return _projected(g, params, g.reshaped(g.node("Transpose", mixed, perm=[0, 2, 1, 3]), steps, n), "out")


def _projected(g: Drawing, params: Params, x: str, name: str) -> str:
    y = g.node("MatMul", x, _named(g, params, f"weight_{name}"))
    return g.node("Add", y, _named(g, params, f"bias_{name}")) if f"bias_{name}" in params else y


FORMS: Final[Mapping[type, Form]] = {
    Linear: _linear,
    DropConnectWeights: _linear,
    Masked: _same,
    Relu: _plain("Relu"),
    Pointwise: _pointwise,
    Softmax: _plain("Softmax", axis=-1),
    Conv2d: _conv,
    ConvTranspose2d: _conv_transpose,
    MaxPool2d: _max_pool,
    AvgPool2d: _avg_pool,
    GlobalAvgPool: _global("ReduceMean"),
    GlobalMaxPool: _global("ReduceMax"),
    BatchNorm: _batch_norm,
    RowNorm: _row_norm,
    GroupNorm: _group_norm,
    Scale: _scale,
    Flatten: _shape,
    Reshape: _shape,
    Embedding: _embedding,
    PositionalEmbedding: _positional,
    Recurrent: _recurrent,
    Attention: _attention,
    Stack: _stack,
    Residual: _residual,
    Each: _each,
    Parallel: _parallel,
}
