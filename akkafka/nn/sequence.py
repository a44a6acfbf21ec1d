"""Layers in a row as one layer, so that a gate may host a whole block of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from akkafka.nn.layer import F32, Array, Layer, Params, Pass, Shape, Tape, check_batch, check_gradient


@runtime_checkable
class Fusible(Protocol):
    """A layer that can do the work of the one behind it as well, in fewer sweeps over memory."""

    def followed_by(self, following: Layer) -> Layer | None:
        """One layer that gives what both in a row give; None where there is none. One of them at most has params."""


class Part(NamedTuple):
    """One stretch of work: a layer, or several fused into one, at the position of the first."""

    position: int
    layer: Layer
    names: tuple[tuple[str, str], ...]
    """(name in the layer, name in the sequence) of each param."""


class StackTape(NamedTuple):
    """The tapes of the parts, and how many samples the batch had."""

    batch: int
    tapes: list[Tape]


class Stack:
    """Layers in a row. Params are named "<position>.<name>"; chance at a position follows from
    `Pass.at(position)`.

    Checks what comes in (ShapeError), as the kernels behind it read memory without asking.
    """

    __slots__ = ("_first_weighted", "_parts", "buffers", "layers", "param_shapes")

    layers: tuple[Layer, ...]
    """As defined, one for each position."""
    param_shapes: Mapping[str, Shape]
    """"<position>.<name>" to shape."""
    buffers: Mapping[str, float]
    """"<position>.<name>" to momentum; see Layer."""

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        self.layers = layers
        self.param_shapes = {f"{i}.{n}": s for i, one in enumerate(layers) for n, s in one.param_shapes.items()}
        self.buffers = {f"{i}.{n}": m for i, one in enumerate(layers) for n, m in one.buffers.items()}
        self._parts = _fused(layers)
        weighted = [k for k, part in enumerate(self._parts) if part.names]
        self._first_weighted = weighted[0] if weighted else len(self._parts)

    @property
    def in_shape(self) -> Shape:
        """Of the first layer."""
        return self.layers[0].in_shape

    @property
    def out_shape(self) -> Shape:
        """Of the last layer."""
        return self.layers[-1].out_shape

    @property
    def in_dtype(self) -> np.dtype[Any]:
        """Of the first layer."""
        return self.layers[0].in_dtype

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """Of the last layer."""
        return self.layers[-1].out_dtype

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """Params of all layers, drawn in order of position."""
        return {f"{i}.{n}": w for i, one in enumerate(self.layers) for n, w in one.init(rng).items()}

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[Array, Tape]:
        """See Layer; raises ShapeError for a batch that the first layer does not take."""
        check_batch(self, x)
        tapes: list[Tape] = []
        y = x
        for part in self._parts:
            y, tape = part.layer.forward(_inner(part, params), y, run.at(part.position))
            tapes.append(tape)
        return y, StackTape(len(x), tapes)

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer; without `need_dx` it stops at the first layer that has weights. Raises ShapeError for
        `dy`."""
        check_gradient(self, dy, tape.batch)
        grads: dict[str, F32] = {}
        last = 0 if need_dx else self._first_weighted
        dx: F32 | None = dy if need_dx else None
        for k in range(len(self._parts) - 1, last - 1, -1):
            part = self._parts[k]
            dx, inner = part.layer.backward(_inner(part, params), tape.tapes[k], dy, need_dx=need_dx or k > last)
            grads.update({full: inner[name] for name, full in part.names})
            if dx is not None:
                dy = dx
        return dx, {name: grads[name] for name in self.param_shapes}


def _inner(part: Part, params: Params) -> dict[str, F32]:
    return {name: params[full] for name, full in part.names}


def _fused(layers: tuple[Layer, ...]) -> tuple[Part, ...]:
    parts: list[Part] = []
    position = 0
    while position < len(layers):
        layer, width = layers[position], 1
        while position + width < len(layers) and isinstance(layer, Fusible):
            both = layer.followed_by(layers[position + width])
            if both is None:
                break
            layer, width = both, width + 1
        fused = range(position, position + width)
        names = tuple((name, f"{i}.{name}") for i in fused for name in layers[i].param_shapes)
        parts.append(Part(position, layer, names))
        position += width
    return tuple(parts)
