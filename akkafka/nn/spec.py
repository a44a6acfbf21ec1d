"""Layers as data: what a configuration file or a definition says about a network, and how it is built from
that."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from akkafka.errors import ConfigError, ShapeError
from akkafka.nn.layer import Layer, Shape
from akkafka.nn.registry import Frozen, from_table
from akkafka.nn.sequence import Stack


class LayerSpec(Frozen):
    """One layer's settings, without its sizes: those come from the layer before it."""

    type: str
    """Which layer: a key of LAYERS."""

    @abstractmethod
    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Layer:
        """The layer for samples of `in_shape` and `in_dtype`; raises ShapeError naming what came and what
        it takes."""


LAYERS: dict[str, type[LayerSpec]] = {}
"""The table that a new layer is added to; `akkafka.nn.layers` fills in the package's own."""


def layer_spec(data: Mapping[str, Any]) -> LayerSpec:
    """The layer that `data` describes, such as {"type": "linear", "out": 50}.

    Raises ConfigError: unknown type or key (with the nearest names), value out of range (naming the key).
    """
    return from_table("layer", data, LAYERS)


def build_sequence(specs: Sequence[LayerSpec], in_shape: Shape, in_dtype: np.dtype[Any]) -> Stack:
    """The layers of `specs` in a row, for samples of `in_shape` and `in_dtype`.

    Raises ConfigError if there are none, ShapeError naming the position, what came and what the layer takes.
    """
    if not specs:
        raise ConfigError("a sequence needs at least one layer", hint='for example layers = [{type = "relu"}]')
    layers: list[Layer] = []
    shape, dtype = tuple(in_shape), np.dtype(in_dtype)
    for position, spec in enumerate(specs):
        try:
            layer = spec.build(shape, dtype)
        except ShapeError as err:
            raise ShapeError(f"layer {position} ({spec.type}): {err}", hint=err.hint) from err
        layers.append(layer)
        shape, dtype = layer.out_shape, layer.out_dtype
    return Stack(tuple(layers))
