"""Akkordeon's DropConnect: a mask on the activations, without scaling what is kept."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field

from akkafka.nn.layer import Shape
from akkafka.nn.layers.dropout import Masked
from akkafka.nn.layers.samewise import float32_only
from akkafka.nn.mask import Mask
from akkafka.nn.spec import LayerSpec


class DropConnectSpec(LayerSpec):
    """Settings of akkordeon's dropconnect layer."""

    type: Literal["dropconnect"] = "dropconnect"
    """As in akkordeon (botkop/scorch): masks activations, on any shape; see dropconnect-weights for the
    paper's."""
    keep: float = Field(default=0.5, gt=0, le=1)
    """Fraction kept; nothing is scaled to make good for the rest."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Masked:
        """A dropconnect layer for any shape of float32; raises ShapeError for uint8."""
        return Masked(float32_only("dropconnect", in_shape, in_dtype), Mask(keep=self.keep, scale=1.0))
