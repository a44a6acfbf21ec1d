"""A block of layers inside a sequence, so that a gate's layers can be grouped and repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny

from akkafka.nn.layer import Shape
from akkafka.nn.sequence import Stack
from akkafka.nn.spec import LayerSpec, build_sequence, layer_spec


def _specs(layers: Any) -> Any:
    """A tuple of specs from a list of tables; specs that are there already stay."""
    if not isinstance(layers, list | tuple):
        return layers
    return tuple(layer_spec(layer) if isinstance(layer, Mapping) else layer for layer in layers)


class SequentialSpec(LayerSpec):
    """Settings of a block of layers."""

    type: Literal["sequential"] = "sequential"
    """Sequential: its layers in a row; params are named "<position>.<name>"."""
    layers: Annotated[tuple[SerializeAsAny[LayerSpec], ...], BeforeValidator(_specs), Field(min_length=1)]
    """The layers, in order."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Stack:
        """The block for samples of `in_shape`; raises ShapeError naming the position within the block."""
        return build_sequence(self.layers, in_shape, in_dtype)
