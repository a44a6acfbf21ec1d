"""A network's evaluation as an ONNX graph: what `predict` computes, for any runtime. Layers' own forms: onnx_layers.py.

Opset 20, which has all that is needed but RMS- and group-norm; those are put together from smaller parts.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from akkafka.errors import ConfigError
from akkafka.exchange.files import needed
from akkafka.exchange.onnx_layers import FORMS
from akkafka.exchange.weights import Facts, Weights
from akkafka.nn.layer import Layer, Params
from akkafka.protocol.definition import Definition

OPSET: Final = 20
IR_VERSION: Final = 9  # of the first release that had this opset
INPUT, OUTPUT, BATCH = "x", "y", "batch"


@dataclass(slots=True)
class Graph:
    """Nodes and weights as they are put down; names are unique."""

    onnx: Any
    nodes: list[Any] = field(default_factory=list)
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)
    place: str = ""  # gate and position of what is being put down
    _numbers: Any = field(default_factory=itertools.count)

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Put down a node; the name of its last output, the others being left away."""
        name = f"{self.place}{kind}.{next(self._numbers)}"
        outs = [*[""] * (outputs - 1), name]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), outs, name=name, **attributes))
        return name

    def constant(self, array: NDArray[Any], name: str = "") -> str:
        """A weight under its name in the network, or a number that the graph needs."""
        name = name or f"{self.place}constant.{next(self._numbers)}"
        self.weights[name] = array
        return name

    def reshaped(self, x: str, *shape: int) -> str:
        """(B, …) as (-1, *shape)."""
        return self.node("Reshape", x, self.constant(np.array([-1, *shape], np.int64)))

    def layer(self, layer: Layer, params: Params, x: str, place: str) -> str:
        """Put down a layer at `place` ("fc1.2."); raises ConfigError naming one that has no form in ONNX."""
        form = next((FORMS[kind] for kind in type(layer).__mro__ if kind in FORMS), None)
        if form is None:
            raise ConfigError(
                f"layer {place.rstrip('.')} ({type(layer).__name__}) has no form in ONNX",
                hint="Export the weights as safetensors, npz or torch instead.",
            )
        self.place = place
        return form(self, layer, params, x)

    def part(self, layer: Layer, params: Params, x: str, position: int | None = None) -> str:
        """Put down a layer inside of the one that is being put down, whose params have its position before them."""
        place = self.place
        prefix = "" if position is None else f"{position}."
        own = {name: params[f"{prefix}{name}"] for name in layer.param_shapes}
        y = self.layer(layer, own, x, f"{place}{prefix}")
        self.place = place
        return y


def onnx_model(definition: Definition, weights: Weights) -> Any:
    """An onnx.ModelProto from `x` (batch, *sample) to `y` (batch, *out_shape); the facts are its metadata.

    Raises ConfigError if the package onnx is not here, or naming a layer that has no form in ONNX.
    """
    onnx = needed("onnx", "export", "an ONNX file")
    graph = Graph(onnx)
    y = INPUT
    for spec, layer in zip(definition.gates, definition.layers, strict=True):
        y = graph.layer(layer, weights.gates[spec.name], y, f"{spec.name}.")
    graph.nodes.append(onnx.helper.make_node("Identity", [y], [OUTPUT], name=OUTPUT))
    first, last = definition.layers[0], definition.layers[-1]
    made = onnx.helper.make_graph(
        graph.nodes,
        definition.name,
        [_value(onnx, INPUT, first.in_dtype, first.in_shape)],
        [_value(onnx, OUTPUT, last.out_dtype, last.out_shape)],
        [onnx.numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in graph.weights.items()],
    )
    return _model(onnx, made, weights.facts)


def _value(onnx: Any, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    return onnx.helper.make_tensor_value_info(name, kind, [BATCH, *shape])


def _model(onnx: Any, graph: Any, facts: Facts) -> Any:
    opset = onnx.helper.make_opsetid("", OPSET)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="akkafka")
    onnx.helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model, full_check=True)
    return model
