"""Gates of a configuration that become one."""

from __future__ import annotations

from typing import Any

import pytest

from akkafka.errors import ConfigError
from akkafka.protocol.config import load_config
from akkafka.protocol.merge import MAX_NAME, merged
from akkafka.protocol.ranges import each_once, gates_in


def gate(name: str, *layers: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "layers": [{"type": layer} for layer in layers], **more}


THREE = {"gate": [gate("a", "scale"), gate("b", "relu", "tanh"), gate("c", "softmax")], "seed": 3}


def names(document: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(one["name"], [layer["type"] for layer in one["layers"]]) for one in document["gate"]]


def test_neighbours_become_one_gate_with_all_their_layers() -> None:
    found = merged({**THREE, "merge": ["0-1", "2"]})
    assert names(found) == [("a-b", ["scale", "relu", "tanh"]), ("c", ["softmax"])]
    assert found.keys() == {"gate", "seed"}
    assert names(merged({**THREE, "merge": ["0-2"]})) == [("a-b-c", ["scale", "relu", "tanh", "softmax"])]
    assert merged({**THREE, "merge": ["0", "1", "2"]}) == THREE == merged(THREE)


def test_what_gates_have_in_common_stays_and_the_edge_is_that_behind_the_last() -> None:
    own = {"optimizer": {"type": "sgd", "lr": 0.1}, "trainable": False}
    pair = {"gate": [gate("a", "scale", wire="int8", **own), gate("b", "relu", wire="bfloat16", **own)]}
    (one,) = merged({**pair, "merge": ["0-1"]})["gate"]
    assert one == gate("a-b", "scale", "relu", wire="bfloat16", **own)


def test_a_long_name_is_cut_to_first_and_last() -> None:
    many = {"gate": [gate(f"layer-{k:03d}-of-many", "relu") for k in range(9)], "merge": ["0-8"]}
    (one,) = merged(many)["gate"]
    assert one["name"] == "layer-000-of-many-to-layer-008-of-many" and len(one["name"]) <= MAX_NAME


@pytest.mark.parametrize(
    ("more", "told", "words"),
    [
        ({"optimizer": {"type": "adam"}}, ["0-1", "2"], "gates 'a' and 'b' differ in optimizer"),
        ({"trainable": False}, ["0-1", "2"], "gates 'a' and 'b' differ in trainable"),
        ({"weights": "0" * 32}, ["0-1", "2"], "gate 'b' has weights of its own"),
        ({}, ["0-1"], r"names gates \[0, 1\], the network has 0 to 2"),
        ({}, ["0", "2", "1"], r"names gates \[0, 2, 1\]"),
        ({}, ["fc1"], "'fc1' is neither a gate nor a range"),
        ({}, "0-2", "takes a list of gates, got '0-2'"),
        ({}, [0, 1, 2], "takes a list of gates"),
    ],
)
def test_what_can_not_be_merged_is_told(more: dict[str, Any], told: Any, words: str) -> None:
    document = {"gate": [gate("a", "scale"), gate("b", "relu", **more), gate("c", "tanh")], "merge": told}
    with pytest.raises(ConfigError, match=words) as caught:
        merged(document)
    assert str(caught.value).startswith("merge") and caught.value.hint


@pytest.mark.parametrize("gates", [None, "fc1", [], ["fc1"], [{"name": "a"}], [{"name": 1, "layers": []}]])
def test_malformed_gates_are_left_for_others_to_tell(gates: Any) -> None:
    document = {"gate": gates, "merge": ["0"]}
    assert merged(document if gates != [] else {**document, "merge": []}) == {"gate": gates}
    with pytest.raises(ConfigError, match=r"digits\.toml"):
        load_config(None, ["gate=7", 'merge=["0"]'])


def test_a_merged_network_is_the_one_with_all_layers_in_one_gate_and_overrides_come_first() -> None:
    plain = load_config(None, ["gate.fc2.layers.0.out=25"]).definition
    one = load_config(None, ['merge=["0-2"]', "gate.fc2.layers.0.out=25"]).definition
    assert [g.name for g in one.gates] == ["fc1-fc2-fc3"]
    assert one.gates[0].layers == tuple(layer for g in plain.gates for layer in g.layers)
    assert one.gates[0].optimizer == plain.gates[0].optimizer
    assert (one.data, one.lanes, one.schedule) == (plain.data, plain.lanes, plain.schedule)


def test_a_fault_is_told_with_file_and_flag() -> None:
    with pytest.raises(ConfigError, match=r"^digits\.toml with --set merge=\[\"0\"\]: merge = \['0'\] names gates"):
        load_config(None, ['merge=["0"]'])
    with pytest.raises(ConfigError, match=r"gate\.fc1-fc2-fc3"):
        load_config(None, ['merge=["0-2"]', "gate.fc2.layers.0.out=none"])


def test_ranges_are_numbers_or_two_of_them() -> None:
    assert [list(gates_in(text)) for text in ("4", "1-3", "3-1", "fc1", "", "1-")] == [[4], [1, 2, 3], [], [], [], []]
    assert each_once("x", ["0", "1-2"], 3, "") == [range(1), range(1, 3)]
