"""Multi-head self-attention: every position of a sequence looks at the others, or at those before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from akkafka.errors import ShapeError
from akkafka.nn import kernels
from akkafka.nn.initial import Init, initial
from akkafka.nn.layer import F32, FLOAT32, NO_BUFFERS, Array, Params, Pass, Shape, Tape
from akkafka.nn.layers.embedding import sequence
from akkafka.nn.scratch import scratch
from akkafka.nn.sizes import Size
from akkafka.nn.spec import LayerSpec


class AttentionSpec(LayerSpec):
    """Settings of self-attention."""

    type: Literal["attention"] = "attention"
    """Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762) on sequences (T, n), with projections."""
    heads: Size
    """Heads; they divide n among themselves."""
    causal: bool = False
    """Whether a position sees itself and those before it alone."""
    bias: bool = True
    """Whether the projections have one."""
    init: Init = "xavier"
    """Distribution of the first weights."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Attention:
        """The layer for float32 sequences; raises ShapeError for others, and if heads don't divide n."""
        shape = sequence(self.type, in_shape, in_dtype)
        if shape[1] % self.heads:
            raise ShapeError(
                f"attention: {shape[1]} numbers cannot be divided among {self.heads} heads",
                hint="heads must divide the numbers of a position",
            )
        return Attention(shape, self.heads, self.causal, self.bias, self.init)


class AttentionTape(NamedTuple):
    """Input (B, T, n); queries, keys, values (B·heads, T, d); weights (B·heads, T, T); heads' outputs (B·T, n)."""

    x: F32
    q: F32
    k: F32
    v: F32
    weights: F32
    mixed: F32


@dataclass(frozen=True, slots=True)
class Attention:
    """y = (for each head softmax(q k^T / sqrt(d)) v) @ weight_out + bias_out; q, k, v = x @ weight_qkv + bias_qkv.

    weight_qkv (n, 3·n), bias_qkv (3·n,), weight_out (n, n), bias_out (n,); d = n / heads.
    """

    in_shape: Shape
    heads: int
    causal: bool
    bias: bool
    initial: Init

    @property
    def out_shape(self) -> Shape:
        """As it came in."""
        return self.in_shape

    @property
    def in_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    @property
    def param_shapes(self) -> Mapping[str, Shape]:
        """weight_qkv, weight_out, and bias_qkv, bias_out if there are biases."""
        n = self.in_shape[1]
        weights: dict[str, Shape] = {"weight_qkv": (n, 3 * n), "weight_out": (n, n)}
        return {**weights, "bias_qkv": (3 * n,), "bias_out": (n,)} if self.bias else weights

    @property
    def buffers(self) -> Mapping[str, float]:
        """Empty."""
        return NO_BUFFERS

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """Weights by `initial`, queries, keys and values each by itself; biases 0."""
        n = self.in_shape[1]
        square = [initial(self.initial, (n, n), n, n, rng) for _ in range(4)]
        biases = {k: np.zeros(s, np.float32) for k, s in self.param_shapes.items() if k.startswith("bias")}
        return {"weight_qkv": np.hstack(square[:3]), "weight_out": square[3], **biases}

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        steps, n = self.in_shape
        qkv = np.dot(x.reshape(-1, n), params["weight_qkv"])
        if self.bias:
            kernels.dense.add_bias(qkv, params["bias_qkv"])
        q, k, v = self._by_head(qkv, len(x))
        scores = scratch.take("columns", len(q), steps, steps)
        np.matmul(q, k.transpose(0, 2, 1), out=scores)
        scores *= self._scale
        weights = np.empty(scores.shape, np.float32)
        softmax = kernels.softmax.rows_so_far if self.causal else kernels.softmax.rows
        softmax(scores.reshape(-1, steps), weights.reshape(-1, steps))
        mixed = self._side_by_side(np.matmul(weights, v))
        y: F32 = np.dot(mixed, params["weight_out"])
        if self.bias:
            kernels.dense.add_bias(y, params["bias_out"])
        return y.reshape(x.shape), AttentionTape(x, q, k, v, weights, mixed)

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        steps, n = self.in_shape
        flat = dy.reshape(-1, n)
        grads: dict[str, F32] = {"weight_out": np.dot(tape.mixed.T, flat)}
        (dmixed,) = self._by_head(np.dot(flat, params["weight_out"].T), len(dy))
        dweights = np.matmul(dmixed, tape.v.transpose(0, 2, 1))
        dscores = scratch.take("columns", *dweights.shape)
        kernels.softmax.rows_backward(
            tape.weights.reshape(-1, steps), dweights.reshape(-1, steps), dscores.reshape(-1, steps)
        )
        dscores *= self._scale
        dq, dk = np.matmul(dscores, tape.k), np.matmul(dscores.transpose(0, 2, 1), tape.q)
        dv = np.matmul(tape.weights.transpose(0, 2, 1), dmixed)
        dqkv = np.hstack([self._side_by_side(part) for part in (dq, dk, dv)])
        grads["weight_qkv"] = np.dot(tape.x.reshape(-1, n).T, dqkv)
        if self.bias:
            grads |= {"bias_qkv": _summed(dqkv), "bias_out": _summed(flat)}
        return np.dot(dqkv, params["weight_qkv"].T).reshape(dy.shape) if need_dx else None, grads

    @property
    def _scale(self) -> np.float32:
        return np.float32((self.in_shape[1] // self.heads) ** -0.5)

    def _by_head(self, rows: F32, batch: int) -> list[F32]:
        """(B·T, m·n) as m arrays (B·heads, T, d), C-contiguous."""
        steps, n = self.in_shape
        parts = rows.reshape(batch, steps, -1, self.heads, n // self.heads).transpose(2, 0, 3, 1, 4)
        return [np.ascontiguousarray(part).reshape(batch * self.heads, steps, -1) for part in parts]

    def _side_by_side(self, parts: F32) -> F32:
        """(B·heads, T, d) as (B·T, n), C-contiguous."""
        steps, n = self.in_shape
        turned = parts.reshape(-1, self.heads, steps, n // self.heads).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(turned).reshape(-1, n)


def _summed(rows: F32) -> F32:
    out = np.empty(rows.shape[1], np.float32)
    kernels.dense.sum_rows(rows, out)
    return out
