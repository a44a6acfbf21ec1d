"""Which gate begins with what of a file: all of its weights or none, and nothing is passed over in silence."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akkafka.errors import ConfigError, DataError, ShapeError
from akkafka.exchange.weights import Arrays
from akkafka.nn.layer import F32, Layer, Params
from akkafka.nn.registry import lookup
from akkafka.protocol.definition import Definition

SHOWN = 5  # names in an error


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Weights of some gates; the others draw theirs from the seed."""

    gates: dict[str, Params]
    drawn: tuple[str, ...]  # gates with weights that the file has nothing of


def fitted(definition: Definition, arrays: Arrays, only: Collection[str], source: str) -> Fitted:
    """What of `arrays` ("<gate>.<param>") the gates take, or those named in `only`.

    Raises ConfigError, ShapeError or DataError: a gate that is not there, weights that are missing, of another shape,
    no floats or not finite, or left over (those of gates that `only` does not name may be).
    """
    layers = {spec.name: layer for spec, layer in zip(definition.gates, definition.layers, strict=True)}
    for name in only:
        lookup("gate", name, layers)
    left = dict(arrays)
    found: dict[str, Params] = {}
    for name in only or layers:
        own = {full.removeprefix(f"{name}."): left.pop(full) for full in arrays if full.startswith(f"{name}.")}
        if own or name in only:
            found[name] = _taken(name, layers[name], own, source)
    if left and not only:
        raise ConfigError(
            f"{source} has {_some(left)}, which no gate takes: this network has {', '.join(layers)}",
            hint="Name the gates that shall begin with it by --gate, or, for a PyTorch model, try --by-order.",
        )
    if not found:
        raise ConfigError(f"{source} has nothing for the gates {', '.join(layers)}")
    return Fitted(found, tuple(name for name in layers if name not in found and layers[name].param_shapes))


def _taken(gate: str, layer: Layer, own: Arrays, source: str) -> Params:
    missing = [name for name in layer.param_shapes if name not in own]
    if missing:
        raise ConfigError(
            f"{source} has {_some(own)} of gate {gate!r}, but not {_some(missing)}",
            hint="A gate begins with all of its weights from a file, or with none: name those that it has by --gate.",
        )
    beyond = own.keys() - layer.param_shapes.keys()
    if beyond:
        raise ConfigError(f"{source}: gate {gate!r} has no {_some(sorted(beyond))}; it has {_some(layer.param_shapes)}")
    return {name: _checked(f"{gate}.{name}", own[name], shape, source) for name, shape in layer.param_shapes.items()}


def _checked(name: str, array: NDArray[Any], shape: tuple[int, ...], source: str) -> F32:
    if array.shape != shape:
        raise ShapeError(
            f"{source}: {name} is {array.shape}, this network takes {shape}",
            hint="To begin with some of the gates alone, name them by --gate; the others draw theirs from the seed.",
        )
    if array.dtype.kind != "f":
        raise DataError(f"{source}: {name} is {array.dtype}, weights are floats")
    with np.errstate(over="ignore"):
        weights: F32 = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(weights).all():
        raise DataError(f"{source}: {name} holds numbers that are not finite in float32")
    return weights


def _some(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown or "nothing"
