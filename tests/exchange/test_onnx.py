"""ONNX graphs give what `predict` gives, for every row of the table of layers, in onnx's own reference evaluator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akkafka.errors import ConfigError
from akkafka.exchange.onnx_graph import onnx_model
from akkafka.exchange.onnx_layers import FORMS
from akkafka.exchange.torch_names import parts
from akkafka.exchange.weights import Weights
from akkafka.nn.layer import Unweighted
from akkafka.nn.spec import LAYERS
from akkafka.protocol.config import load_config
from akkafka.protocol.definition import Definition
from tests.nn.cases import CASES, EVALUATION, Case

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")

GROUPS = {"type": "conv-transpose2d", "out": 4, "kernel": 2, "groups": 2}
MORE = (
    Case(
        "conv-transpose2d in groups",
        (GROUPS,),
        (2, 3, 2),
        (4, 4, 3),
        {"0.weight": (2, 2, 2, 2), "0.bias": (4,)},
    ),
)
ALL = (*CASES, *MORE)


class One:
    """A definition as far as a graph needs it: one gate that is the case's layers."""

    name = "case"

    def __init__(self, case: Case) -> None:
        self.layers = (case.build(),)
        self.gates = (type("Spec", (), {"name": "gate"})(),)


def model_of(case: Case) -> Any:
    return onnx_model(One(case), Weights({"gate": case.weights()}, {"run": "r"}))  # type: ignore[arg-type]  # see One


def ran(model: Any, x: Any) -> Any:
    return reference.ReferenceEvaluator(model).run(None, {"x": x})[0]


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_the_graph_of_a_layer_computes_what_the_layer_does(case: Case, size: int) -> None:
    x = case.batch(size)
    expected, _ = case.build().forward(case.weights(), x, EVALUATION)
    y = ran(model_of(case), x)
    assert y.dtype == expected.dtype and y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(expected).max())))


def test_every_layer_of_the_package_has_a_form_and_stands_in_the_table_of_cases() -> None:
    assert {data["type"] for case in CASES for data in case.layers} >= LAYERS.keys() - {"sequential"}
    for case in ALL:
        for _, part in parts(case.build(), ""):
            assert any(kind in FORMS for kind in type(part).__mro__), part


class Nameless(Unweighted):
    """A layer of somebody's own."""

    in_shape = out_shape = (4,)
    in_dtype = out_dtype = np.dtype(np.float32)


def test_a_layer_without_a_form_is_named() -> None:
    case = One(ALL[0])
    case.layers = (Nameless(),)  # type: ignore[assignment]  # as far as it gets
    with pytest.raises(ConfigError, match=r"layer gate \(Nameless\) has no form in ONNX"):
        onnx_model(case, Weights({"gate": {}}))  # type: ignore[arg-type]  # see One


def test_a_whole_network_names_its_weights_and_tells_where_they_come_from(tmp_path: Path) -> None:
    definition = load_config(None).definition
    gates = {
        spec.name: layer.init(np.random.default_rng(number))
        for number, (spec, layer) in enumerate(zip(definition.gates, definition.layers, strict=True))
    }
    path = tmp_path / "digits.onnx"
    path.write_bytes(onnx_model(definition, Weights(gates, {"run": "a-b", "versions": "{}"})).SerializeToString())
    model = onnx.load(path)
    assert {prop.key: prop.value for prop in model.metadata_props} == {"run": "a-b", "versions": "{}"}
    assert {"fc1.1.weight", "fc1.1.bias", "fc3.0.weight"} <= {weight.name for weight in model.graph.initializer}
    x = np.random.default_rng(9).integers(0, 17, (5, *definition.layers[0].in_shape), dtype=np.uint8)
    np.testing.assert_allclose(ran(model, x), _through(definition, gates, x), rtol=1e-5, atol=1e-5)


def _through(definition: Definition, gates: Any, x: Any) -> Any:
    for spec, layer in zip(definition.gates, definition.layers, strict=True):
        x, _ = layer.forward(gates[spec.name], x, EVALUATION)
    return x
