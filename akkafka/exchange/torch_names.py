"""Weights under PyTorch's names and in its layouts, and back: an nn.Sequential of gates by name, each an nn.Sequential.

A gate's layers keep their positions: layer 2 of gate fc1 is "fc1.2.weight", (out, in) as nn.Linear has it. What PyTorch
has no module for keeps its own names (a residual block "fc1.3.0.weight", a positional embedding "fc1.1.weight").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from akkafka.errors import ConfigError
from akkafka.exchange.weights import Arrays
from akkafka.nn.block import Around
from akkafka.nn.layer import Layer, Params
from akkafka.nn.layers.attention import Attention
from akkafka.nn.layers.batch_norm import BatchNorm
from akkafka.nn.layers.dropconnect_weights import DropConnectWeights
from akkafka.nn.layers.linear import Linear
from akkafka.nn.layers.parallel import Parallel
from akkafka.nn.layers.recurrent import Recurrent
from akkafka.nn.sequence import Stack
from akkafka.protocol.definition import Definition

Array = NDArray[Any]
UNUSED: Final = "num_batches_tracked"  # batch-norm's count: of use only where a momentum is None
_PARTS: Final = ("out_proj",)  # modules inside of a module that is one layer here


class Form(NamedTuple):
    """A layer's params in PyTorch's names and layouts, and back."""

    there: Callable[[Any, Params], dict[str, Array]]
    back: Callable[[Any, Arrays], dict[str, Array]]


def parts(layer: Layer, prefix: str) -> Iterator[tuple[str, Layer]]:
    """(prefix of its params, layer) of all layers that hold no others, in order."""
    if isinstance(layer, Stack):
        inside: Iterable[tuple[int, Layer]] = enumerate(layer.layers)
    elif isinstance(layer, Parallel):
        inside = enumerate(layer.branches)
    elif isinstance(layer, Around):
        yield from parts(layer.inner, prefix)
        return
    else:
        yield prefix, layer
        return
    for position, inner in inside:
        yield from parts(inner, f"{prefix}{position}.")


def to_torch(definition: Definition, gates: Mapping[str, Params]) -> dict[str, Array]:
    """The state dict of the gates' weights."""
    state: dict[str, Array] = {}
    for spec, layer in zip(definition.gates, definition.layers, strict=True):
        for prefix, part in parts(layer, ""):
            own = {name: gates[spec.name][f"{prefix}{name}"] for name in part.param_shapes}
            there = _form(part).there(part, own)
            state.update({f"{spec.name}.{prefix}{name}": array for name, array in there.items()})
    return state


def from_torch(definition: Definition, state: Arrays, *, by_order: bool = False) -> dict[str, Array]:
    """ "<gate>.<param>" to array of a state dict; names that belong to no gate stay as they are, to be told of.

    `by_order`: whatever its names, its modules that have weights are the layers that have some, in order.
    Raises ConfigError if their numbers differ, or if something of a layer is missing.
    """
    weighted = [
        (f"{spec.name}.{prefix}", part)
        for spec, layer in zip(definition.gates, definition.layers, strict=True)
        for prefix, part in parts(layer, "")
        if part.param_shapes
    ]
    left = {name: array for name, array in state.items() if name.rpartition(".")[2] != UNUSED}
    if by_order:
        left = _renamed(left, [prefix for prefix, _ in weighted])
    found: dict[str, Array] = {}
    for prefix, part in weighted:
        own = {name.removeprefix(prefix): left.pop(name) for name in list(left) if name.startswith(prefix)}
        if own:
            found.update({f"{prefix}{name}": array for name, array in _back(prefix, part, own).items()})
    return found | left


def _renamed(state: Arrays, prefixes: list[str]) -> dict[str, Array]:
    modules: dict[str, dict[str, Array]] = {}
    for name, array in state.items():
        module, _, param = name.rpartition(".")
        outer, _, inner = module.rpartition(".")
        if inner in _PARTS:
            module, param = outer, f"{inner}.{param}"
        modules.setdefault(module, {})[param] = array
    if len(modules) != len(prefixes):
        raise ConfigError(
            f"by order: the file has {len(modules)} modules with weights ({', '.join(modules)}), the network has "
            f"{len(prefixes)} layers with weights ({', '.join(prefix.rstrip('.') for prefix in prefixes)})",
            hint="Let the config have the file's layers, in its order.",
        )
    return {
        f"{prefix}{param}": array
        for prefix, module in zip(prefixes, modules.values(), strict=True)
        for param, array in module.items()
    }


def _back(prefix: str, part: Layer, own: Arrays) -> dict[str, Array]:
    try:
        return _form(part).back(part, own)
    except KeyError as error:
        raise ConfigError(
            f"the file has {', '.join(f'{prefix}{name}' for name in own)}, but no {prefix}{error.args[0]}",
            hint="Is it another kind of layer there? Compare the config with the model that was saved.",
        ) from error


def _form(layer: Layer) -> Form:
    return next((form for kind, form in _FORMS.items() if isinstance(layer, kind)), _AS_IT_IS)


def _turned(array: Array) -> Array:
    return np.ascontiguousarray(array.T)


def _linear(layer: Any, own: Arrays) -> dict[str, Array]:
    return {**own, "weight": _turned(own["weight"])}


_NORM: Final = {"weight": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def _norm_there(layer: BatchNorm, own: Params) -> dict[str, Array]:
    return {**{theirs: own[ours] for ours, theirs in _NORM.items()}, UNUSED: np.array(0, np.int64)}


def _norm_back(layer: BatchNorm, own: Arrays) -> dict[str, Array]:
    known = {ours: own[theirs] for ours, theirs in _NORM.items()}
    return known | {name: array for name, array in own.items() if name not in _NORM.values()}


def _attention_there(layer: Attention, own: Params) -> dict[str, Array]:
    state = {"in_proj_weight": _turned(own["weight_qkv"]), "out_proj.weight": _turned(own["weight_out"])}
    return {**state, "in_proj_bias": own["bias_qkv"], "out_proj.bias": own["bias_out"]} if layer.bias else state


def _attention_back(layer: Attention, own: Arrays) -> dict[str, Array]:
    found = {"weight_qkv": _turned(own["in_proj_weight"]), "weight_out": _turned(own["out_proj.weight"])}
    return {**found, "bias_qkv": own["in_proj_bias"], "bias_out": own["out_proj.bias"]} if layer.bias else found


def _recurrent_there(layer: Recurrent, own: Params) -> dict[str, Array]:
    """PyTorch has two biases; here they are one, but for the new state of a GRU."""
    second = np.zeros_like(own["bias"])
    if "bias_h" in own:
        second[2 * layer.units :] = own["bias_h"]
    return {
        "weight_ih_l0": _turned(own["weight_x"]),
        "weight_hh_l0": _turned(own["weight_h"]),
        "bias_ih_l0": own["bias"],
        "bias_hh_l0": second,
    }


def _recurrent_back(layer: Recurrent, own: Arrays) -> dict[str, Array]:
    found = {"weight_x": _turned(own["weight_ih_l0"]), "weight_h": _turned(own["weight_hh_l0"])}
    second = np.array(own["bias_hh_l0"])
    if "bias_h" in layer.param_shapes:
        found["bias_h"] = second[2 * layer.units :].copy()
        second[2 * layer.units :] = 0
    return {**found, "bias": own["bias_ih_l0"] + second}


_AS_IT_IS: Final = Form(lambda layer, own: dict(own), lambda layer, own: dict(own))
_FORMS: Final[Mapping[type, Form]] = {
    Linear: Form(_linear, _linear),
    DropConnectWeights: Form(_linear, _linear),
    BatchNorm: Form(_norm_there, _norm_back),
    Attention: Form(_attention_there, _attention_back),
    Recurrent: Form(_recurrent_there, _recurrent_back),
}
