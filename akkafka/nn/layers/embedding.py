"""Embeddings: a vector for each token, and one for each position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np

from akkafka.errors import ShapeError
from akkafka.nn import kernels
from akkafka.nn.initial import initial
from akkafka.nn.layer import F32, FLOAT32, NO_BUFFERS, UINT8, Array, Params, Pass, Shape, Tape
from akkafka.nn.layers.samewise import Samewise, float32_only
from akkafka.nn.sizes import Size
from akkafka.nn.spec import LayerSpec

INT32 = np.dtype(np.int32)


class EmbeddingSpec(LayerSpec):
    """Settings of an embedding."""

    type: Literal["embedding"] = "embedding"
    """Embedding: each token, a whole number below `count`, becomes a vector of `out` numbers; (...) to (..., out)."""
    count: Size
    """How many tokens there are."""
    out: Size
    """Numbers of each vector."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Embedding:
        """The layer for uint8 or int32 of any shape; raises ShapeError for other dtypes."""
        if in_dtype not in (UINT8, INT32):
            raise ShapeError(f"embedding takes uint8 or int32, got {in_dtype}", hint="tokens are whole numbers")
        return Embedding(in_shape, in_dtype, self.count, self.out)


class PositionalEmbeddingSpec(LayerSpec):
    """Settings of a positional embedding: none."""

    type: Literal["positional-embedding"] = "positional-embedding"
    """Positional embedding: a learned vector for each position is added to a sequence (T, n)."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> PositionalEmbedding:
        """The layer for float32 sequences; raises ShapeError for others."""
        return PositionalEmbedding(sequence(self.type, in_shape, in_dtype))


def sequence(kind: str, in_shape: Shape, in_dtype: np.dtype[Any]) -> Shape:
    """`in_shape`; raises ShapeError if it is no float32 sequence (T, n)."""
    if len(in_shape) != 2:
        raise ShapeError(f"{kind} takes sequences (T, n), got {in_shape}", hint="put a reshape or an embedding there")
    return float32_only(kind, in_shape, in_dtype)


@dataclass(frozen=True, slots=True)
class Embedding:
    """y = weight[x]; weight (count, width). The tape is x. Nothing can be told of x: its gradient is 0."""

    in_shape: Shape
    in_dtype: np.dtype[Any]
    count: int
    width: int

    @property
    def out_shape(self) -> Shape:
        """(..., width)."""
        return (*self.in_shape, self.width)

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    @property
    def param_shapes(self) -> Mapping[str, Shape]:
        """weight."""
        return {"weight": (self.count, self.width)}

    @property
    def buffers(self) -> Mapping[str, float]:
        """Empty."""
        return NO_BUFFERS

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """Uniform, of variance 1 / width: vectors of a length around 1."""
        return {"weight": initial("lecun", (self.count, self.width), self.width, self.width, rng)}

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer; raises ShapeError for a token that is not below `count`."""
        if int(x.min()) < 0 or int(x.max()) >= self.count:
            raise ShapeError(
                f"embedding: tokens run from {x.min()} to {x.max()}, takes 0 to {self.count - 1}",
                hint="let count be the number of tokens in the data",
            )
        return params["weight"][x], x

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        grad = np.zeros((self.count, self.width), np.float32)
        kernels.embedding.scatter(tape.reshape(-1).astype(np.int64), dy.reshape(-1, self.width), grad)
        dx = np.zeros((len(dy), *self.in_shape), np.float32) if need_dx else None
        return dx, {"weight": grad}


@dataclass(frozen=True, slots=True)
class PositionalEmbedding(Samewise):
    """y = x + weight; weight like a sample. There is nothing on the tape."""

    @property
    def param_shapes(self) -> Mapping[str, Shape]:
        """weight."""
        return {"weight": self.shape}

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """Uniform, of a tenth of the size of the tokens' vectors."""
        first = initial("lecun", self.shape, self.shape[-1], prod(self.shape), rng)
        return {"weight": first * np.float32(0.1)}

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        return x + params["weight"], None

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        sums = np.empty(prod(self.shape), np.float32)
        kernels.dense.sum_rows(dy.reshape(len(dy), -1), sums)
        return dy if need_dx else None, {"weight": sums.reshape(self.shape)}
