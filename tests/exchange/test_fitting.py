"""All of a gate's weights or none of them; whatever does not fit is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from akkafka.errors import AkkafkaError, ConfigError, DataError, ShapeError
from akkafka.exchange.fitting import fitted
from akkafka.protocol.config import load_config

DEFINITION = load_config(None).definition
WHOLE: dict[str, Any] = {
    f"{spec.name}.{name}": array
    for spec, layer in zip(DEFINITION.gates, DEFINITION.layers, strict=True)
    for name, array in layer.init(np.random.default_rng(1)).items()
}


def without(*names: str) -> dict[str, Any]:
    return {name: array for name, array in WHOLE.items() if not name.startswith(names)}


def test_a_whole_file_is_taken_as_it_is() -> None:
    found = fitted(DEFINITION, WHOLE, (), "f")
    assert found.drawn == ()
    assert {f"{gate}.{n}": a.tobytes() for gate, own in found.gates.items() for n, a in own.items()} == {
        name: array.tobytes() for name, array in WHOLE.items()
    }


def test_gates_that_the_file_does_not_have_are_told_to_be_drawn() -> None:
    found = fitted(DEFINITION, without("fc2"), (), "f")
    assert (set(found.gates), found.drawn) == ({"fc1", "fc3"}, ("fc2",))


def test_gates_that_are_named_take_theirs_and_nothing_else_matters() -> None:
    odd = {**without("fc3"), "fc3.0.weight": np.zeros((2, 2)), "other": np.zeros(1)}
    found = fitted(DEFINITION, odd, ("fc1",), "f")
    assert (set(found.gates), found.drawn) == ({"fc1"}, ("fc2", "fc3"))


def test_doubles_and_halves_become_float32() -> None:
    for dtype in (np.float64, np.float16):
        changed = {name: array.astype(dtype) for name, array in WHOLE.items()}
        found = fitted(DEFINITION, changed, (), "f").gates["fc1"]["1.weight"]
        assert found.dtype == np.float32 and found.tobytes() == changed["fc1.1.weight"].astype(np.float32).tobytes()


@pytest.mark.parametrize(
    ("arrays", "only", "kind", "words"),
    [
        (without("fc1.1.bias"), (), ConfigError, r"f has 1\.weight of gate 'fc1', but not 1\.bias"),
        (without("fc1"), ("fc1",), ConfigError, "has nothing of gate 'fc1', but not 1.weight, 1.bias"),
        ({**WHOLE, "fc1.7.weight": WHOLE["fc1.1.bias"]}, (), ConfigError, r"'fc1' has no 7\.weight; it has 1\.weight"),
        ({**WHOLE, "fc9.0.bias": WHOLE["fc1.1.bias"]}, (), ConfigError, r"f has fc9\.0\.bias, which no gate takes"),
        ({}, (), ConfigError, "f has nothing for the gates fc1, fc2, fc3"),
        (WHOLE, ("fc",), ConfigError, "unknown gate 'fc'"),
        ({**WHOLE, "fc1.1.bias": np.zeros(7, np.float32)}, (), ShapeError, r"fc1\.1\.bias is \(7,\), this network"),
        ({**WHOLE, "fc1.1.bias": np.zeros(48, np.int64)}, (), DataError, r"fc1\.1\.bias is int64, weights are floats"),
        ({**WHOLE, "fc1.1.bias": np.full(48, 1e39)}, (), DataError, "not finite in float32"),
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_fit_is_named(arrays: Any, only: tuple[str, ...], kind: type[AkkafkaError], words: str) -> None:
    with pytest.raises(kind, match=words):
        fitted(DEFINITION, arrays, only, "f")
