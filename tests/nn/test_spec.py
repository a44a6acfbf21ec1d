"""Layers from plain data: what is right is built, what is wrong teaches."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import pytest

from akkafka.errors import ConfigError, ShapeError
from akkafka.nn.layer import Layer, Pass, Shape
from akkafka.nn.layers.scale import Scale
from akkafka.nn.spec import LAYERS, LayerSpec, build_sequence, layer_spec
from akkafka.sentences import sentence

from .cases import CASES, Case

F32, U8 = np.dtype(np.float32), np.dtype(np.uint8)


def specs(*tables: dict[str, Any]) -> list[LayerSpec]:
    return [layer_spec(table) for table in tables]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_spec_survives_the_way_through_json_with_all_that_is_nested(case: Case) -> None:
    for data in case.layers:
        spec = layer_spec(data)
        assert layer_spec(spec.model_dump()) == spec
        assert layer_spec(json.loads(spec.model_dump_json())) == spec
        told = {key: value for key, value in data.items() if key not in ("layers", "branches")}
        assert told.items() <= json.loads(spec.model_dump_json()).items()


def test_every_layer_of_the_table_has_a_row_in_the_table_of_cases() -> None:
    def kinds(layers: Any) -> set[str]:
        inner = [block for d in layers for block in (d.get("layers", ()), *d.get("branches", ()))]
        return {d["type"] for d in layers} | {kind for block in inner for kind in kinds(block)}

    assert set().union(*(kinds(case.layers) for case in CASES)) == set(LAYERS)


def test_the_table_names_each_layer_as_its_own_type_does_and_every_field_tells_what_it_is() -> None:
    for name, spec in LAYERS.items():
        assert spec.model_fields["type"].default == name
        assert all(sentence(spec, field) for field in spec.model_fields)


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    (
        ({"type": "liner", "out": 3}, "unknown layer 'liner'", "linear"),
        ({"type": "drop-connect"}, "unknown layer 'drop-connect'", "dropconnect"),
        ({"type": "zzz"}, "unknown layer 'zzz'", "dropconnect, dropconnect-weights, dropout, "),
        ({"type": ["linear"]}, "unknown layer", "linear"),
        ({"out": 3}, "the key 'type' is missing", "linear"),
        ("linear", "takes a table with the key 'type'", ""),
        ({"type": "linear", "out": 3, "baias": True}, "linear: unknown key 'baias'", "bias"),
        ({"type": "linear"}, "linear: out: field required", "Features"),
        ({"type": "linear", "out": 0}, "linear: out: .* greater than or equal to 1, got 0", "Features"),
        ({"type": "linear", "out": 2.5}, "linear: out: .* integer, got 2.5", "Features"),
        ({"type": "linear", "out": "3"}, "linear: out: .* integer, got '3'", "Features"),
        ({"type": "linear", "out": True}, "linear: out: .* integer, got True", "Features"),
        ({"type": "linear", "out": 3, "init": "hee"}, "linear: init: .* 'he', .*got 'hee'", "he suits relu"),
        ({"type": "dropout", "p": 1.0}, "dropout: p: .* less than 1", "Fraction dropped"),
        ({"type": "dropout", "p": float("nan")}, "dropout: p: ", "Fraction dropped"),
        ({"type": "dropconnect", "keep": 0.0}, "dropconnect: keep: .* greater than 0", "Fraction kept"),
        ({"type": "dropconnect-weights", "out": 3, "p": -0.1}, "p: .* greater than or equal to 0", "Fraction"),
        ({"type": "scale", "scale": 1e39}, "scale: scale: .* less than", "1/255"),
        ({"type": "sequential", "layers": []}, "sequential: layers: .* at least 1", "in order"),
        ({"type": "sequential", "layers": [{"type": "relo"}]}, "sequential: unknown layer 'relo'", "relu"),
        ({"type": "sequential", "layers": [3]}, r"sequential: layers\.0: .*got 3", "in order"),
        ({"type": "residual", "layers": []}, "residual: layers: .* at least 1", "give the shape"),
        ({"type": "parallel", "branches": [[{"type": "relo"}]]}, "parallel: unknown layer 'relo'", "relu"),
        ({"type": "parallel", "branches": []}, "parallel: branches: .* at least 1", "branches"),
        ({"type": "leaky-relu", "slope": 1}, "leaky-relu: slope: .* less than 1", "Slope"),
        ({"type": "conv2d", "out": 3}, "conv2d: kernel: field required", "window"),
        (
            {"type": "conv2d", "out": 3, "kernel": 0},
            r"conv2d: kernel: takes a whole number or \[height, width\], each at least 1, got 0",
            "window",
        ),
        ({"type": "conv2d", "out": 3, "kernel": [1, 2, 3]}, r"kernel: takes .*, got \[1, 2, 3\]", "window"),
        ({"type": "conv2d", "out": 3, "kernel": [3, 0]}, r"kernel: takes .* at least 1, got \[3, 0\]", "window"),
        ({"type": "conv2d", "out": 3, "kernel": 2, "padding": [0, -1]}, "padding: takes .* at least 0", "Rim"),
        ({"type": "max-pool2d", "kernel": 2, "stride": 2.5}, "stride: takes a whole number", "Steps"),
        ({"type": "conv2d", "out": 3, "kernel": 2, "paddding": 1}, "unknown key 'paddding'", "padding"),
        ({"type": "batch-norm", "momentum": 0.0}, "batch-norm: momentum: .* greater than 0", "Share"),
        ({"type": "sequential", "layers": "relu"}, "sequential: layers: .*got 'relu'", "in order"),
    ),
)
def test_a_mistake_is_told_with_its_key_and_what_to_do(data: Any, message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=message) as err:
        layer_spec(data)
    assert hint in err.value.hint


def test_a_spec_cannot_be_changed() -> None:
    spec: Any = layer_spec({"type": "linear", "out": 3})
    with pytest.raises(ValueError, match="frozen"):
        spec.out = 4


def test_a_sequence_of_no_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one layer"):
        build_sequence([], (3,), F32)


@pytest.mark.parametrize(
    ("tables", "shape", "dtype", "message", "hint"),
    (
        (
            [{"type": "linear", "out": 3}],
            (1, 28, 28),
            F32,
            r"layer 0 \(linear\): .*\(n,\), got \(1, 28, 28\)",
            "flatten",
        ),
        ([{"type": "linear", "out": 3}], (784,), U8, r"layer 0 \(linear\): .*float32, got uint8", "scale"),
        ([{"type": "dropconnect-weights", "out": 3}], (2, 2), F32, r"\(n,\), got \(2, 2\)", "flatten"),
        (
            [{"type": "flatten"}, {"type": "relu"}],
            (2, 2),
            U8,
            r"layer 1 \(relu\): .*float32, got \(4,\) uint8",
            "scale",
        ),
        ([{"type": "dropout"}], (2, 2), U8, r"\(dropout\): .*float32", "scale"),
        ([{"type": "dropconnect"}], (2, 2), U8, r"\(dropconnect\): .*float32", "scale"),
        ([{"type": "scale"}], (2, 2), np.dtype(np.float64), "float32 or uint8, got float64", "float32"),
        ([{"type": "flatten"}], (2, 2), np.dtype(np.int64), "float32 or uint8, got int64", "float32"),
        (
            [{"type": "scale"}, {"type": "sequential", "layers": [{"type": "relu"}, {"type": "linear", "out": 2}]}],
            (3, 3),
            U8,
            r"layer 1 \(sequential\): layer 1 \(linear\): .*got \(3, 3\)",
            "flatten",
        ),
        (
            [{"type": "residual", "layers": [{"type": "linear", "out": 3}]}],
            (4,),
            F32,
            r"makes \(3,\) .* of \(4,\)",
            "added",
        ),
        ([{"type": "residual", "layers": [{"type": "relu"}]}], (4,), U8, r"\(residual\): .*takes float32", "scale"),
        (
            [{"type": "parallel", "branches": [[{"type": "relu"}], [{"type": "linear", "out": 3}]]}],
            (2, 4),
            F32,
            r"layer 0 \(parallel\): branch 1: layer 0 \(linear\)",
            "flatten",
        ),
        (
            [{"type": "parallel", "join": "sum", "branches": [[{"type": "relu"}], [{"type": "flatten"}]]}],
            (2, 4),
            F32,
            r"branch 1 gives \(8,\), branch 0 \(2, 4\): takes equal shapes",
            "must match",
        ),
        (
            [{"type": "parallel", "axis": 1, "branches": [[{"type": "relu"}], [{"type": "reshape", "shape": [4, 2]}]]}],
            (2, 4),
            F32,
            r"branch 1 gives \(4, 2\), branch 0 \(2, 4\): takes shapes that differ in axis 1 alone",
            "must match",
        ),
        ([{"type": "parallel", "axis": 1, "branches": [[{"type": "relu"}]]}], (4,), F32, "no axis 1", ""),
        ([{"type": "parallel", "branches": [[{"type": "flatten"}]]}], (4,), U8, "branch 0 gives uint8", "scale"),
        ([{"type": "reshape", "shape": [3, -1]}], (4,), F32, r"reshape to \(3, -1\) .*3 numbers or a multiple", "-1"),
        ([{"type": "reshape", "shape": [3]}], (6,), F32, r"takes samples of 3 numbers, got \(6,\): 6", "-1"),
        ([{"type": "reshape", "shape": [-1, -1]}], (4,), F32, r"reshape to \(-1, -1\)", "one of them"),
        ([{"type": "each", "layers": [{"type": "relu"}], "axes": 2}], (4,), F32, r"2 axes or more, got \(4,\)", ""),
        ([{"type": "conv2d", "out": 3, "kernel": 3}], (4,), F32, r"images .*got \(4,\)", "reshape"),
        ([{"type": "conv2d", "out": 3, "kernel": 3}], (1, 4, 4), U8, "float32", "scale"),
        (
            [{"type": "conv2d", "out": 3, "kernel": [2, 6]}],
            (1, 4, 4),
            F32,
            r"window of \(2, 6\) .* into \(4, 4\)",
            "pad",
        ),
        (
            [{"type": "conv2d", "out": 3, "kernel": 1, "groups": 2}],
            (2, 4, 4),
            F32,
            "2 channels .* 3 .* 2 groups",
            "both",
        ),
        ([{"type": "conv-transpose2d", "out": 3, "kernel": 1, "padding": 2}], (2, 4, 4), F32, r"\(0, 0\)", "padding"),
        ([{"type": "conv-transpose2d", "out": 3, "kernel": 1, "output_padding": 1}], (2, 4, 4), F32, "less than", ""),
        ([{"type": "max-pool2d", "kernel": 3, "padding": 2}], (2, 4, 4), F32, "at most half", "rim"),
        ([{"type": "avg-pool2d", "kernel": 5}], (2, 4, 4), F32, "does not fit", "smaller"),
        ([{"type": "global-avg-pool"}], (4,), F32, r"\(channels, \.\.\.\), got \(4,\)", "convolution"),
        ([{"type": "embedding", "count": 9, "out": 2}], (4,), F32, "uint8 or int32, got float32", "whole"),
        ([{"type": "positional-embedding"}], (4,), F32, r"sequences \(T, n\), got \(4,\)", "embedding"),
        ([{"type": "lstm", "out": 3}], (4,), F32, r"lstm takes sequences \(T, n\), got \(4,\)", "reshape"),
        ([{"type": "gru", "out": 3}], (4, 2), U8, "gru takes float32", "scale"),
        ([{"type": "attention", "heads": 4}], (5, 6), F32, "6 numbers cannot be divided among 4 heads", ""),
        ([{"type": "batch-norm"}], (), F32, "single numbers", ""),
        ([{"type": "layer-norm"}], (), F32, "single numbers", ""),
        ([{"type": "group-norm", "groups": 3}], (4,), F32, r"3 groups, got \(4,\)", ""),
        ([{"type": "softmax"}], (), F32, "got single numbers", "linear"),
    ),
)
def test_a_layer_that_does_not_fit_is_named_by_position_with_both_sizes(
    tables: list[dict[str, Any]], shape: tuple[int, ...], dtype: np.dtype[Any], message: str, hint: str
) -> None:
    with pytest.raises(ShapeError, match=message) as err:
        build_sequence(specs(*tables), shape, dtype)
    assert hint in err.value.hint


class DoubledSpec(LayerSpec):
    type: Literal["doubled"] = "doubled"

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Layer:
        return Scale(in_shape, in_dtype, 2.0, 0.0)


def test_a_layer_of_ones_own_joins_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYERS, "doubled", DoubledSpec)
    block = {"type": "sequential", "layers": [{"type": "doubled"}, {"type": "doubled"}]}
    y, _ = build_sequence(specs(block), (2,), F32).forward({}, np.ones((1, 2), np.float32), Pass(True, 0))
    np.testing.assert_array_equal(y, [[4, 4]])
    with pytest.raises(ConfigError) as err:
        layer_spec({"type": "dubled"})
    assert "doubled" in err.value.hint
