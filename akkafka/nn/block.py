"""Blocks of layers in a layer's settings, and what layers that hold one block have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny

from akkafka.nn.layer import F32, Shape
from akkafka.nn.sequence import Stack
from akkafka.nn.spec import LayerSpec, layer_spec


def _specs(layers: Any) -> Any:
    """A tuple of specs from a list of tables; specs that are there already stay."""
    if not isinstance(layers, list | tuple):
        return layers
    return tuple(layer_spec(layer) if isinstance(layer, Mapping) else layer for layer in layers)


def _tuple(data: Any) -> Any:
    return tuple(data) if isinstance(data, list) else data


Block = Annotated[tuple[SerializeAsAny[LayerSpec], ...], BeforeValidator(_specs), Field(min_length=1)]
"""Type of a model's field that takes a list of layers, or of the tables that describe them."""
Branches = Annotated[tuple[Block, ...], BeforeValidator(_tuple)]
"""Type of a model's field that takes a list of blocks."""


@dataclass(frozen=True, slots=True)
class Around:
    """A layer around a block; params, named "<position>.<name>", and buffers are the block's."""

    inner: Stack

    @property
    def in_shape(self) -> Shape:
        """The block's."""
        return self.inner.in_shape

    @property
    def out_shape(self) -> Shape:
        """The block's."""
        return self.inner.out_shape

    @property
    def in_dtype(self) -> np.dtype[Any]:
        """The block's."""
        return self.inner.in_dtype

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """The block's."""
        return self.inner.out_dtype

    @property
    def param_shapes(self) -> Mapping[str, Shape]:
        """The block's."""
        return self.inner.param_shapes

    @property
    def buffers(self) -> Mapping[str, float]:
        """The block's."""
        return self.inner.buffers

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """The block's."""
        return self.inner.init(rng)
