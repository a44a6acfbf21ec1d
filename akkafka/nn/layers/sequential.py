"""A block of layers inside a sequence, so that a gate's layers can be grouped and repeated."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from akkafka.nn.block import Block
from akkafka.nn.layer import Shape
from akkafka.nn.sequence import Stack
from akkafka.nn.spec import LayerSpec, build_sequence


class SequentialSpec(LayerSpec):
    """Settings of a block of layers."""

    type: Literal["sequential"] = "sequential"
    """Sequential: its layers in a row; params are named "<position>.<name>"."""
    layers: Block
    """The layers, in order."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Stack:
        """The block for samples of `in_shape`; raises ShapeError naming the position within the block."""
        return build_sequence(self.layers, in_shape, in_dtype)
