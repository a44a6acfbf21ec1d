"""Weights go out of a trained network and into another one, over a real broker and real processes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from akkafka.exchange.files import read, write_npz
from akkafka.protocol.config import load_config
from tests.cli.conftest import Akkafka

pytestmark = pytest.mark.kafka


@pytest.fixture
def at(kafka_bootstrap: str) -> tuple[str, str]:
    """The broker, for every command."""
    return "--bootstrap-servers", kafka_bootstrap


def test_what_was_trained_is_exported_in_every_format_and_trains_on_elsewhere_with_a_frozen_gate(
    akkafka: Akkafka, at: tuple[str, str], unique: Callable[[], str], small_config: Path, tmp_path: Path
) -> None:
    pytest.importorskip("safetensors")
    first, second, out = unique(), unique(), tmp_path / "trained.npz"
    config, report = str(small_config), tmp_path / "report.json"
    assert akkafka("train", config, "--network", first, "--out", str(out), "--report", str(report), *at).code == 0
    trained = read(out).arrays
    versions = {gate["name"]: gate["version"] for gate in json.loads(report.read_text())["gates"]}

    for suffix in ("npz", "safetensors"):
        path = tmp_path / f"weights.{suffix}"
        ran = akkafka("export", "--network", first, "--out", str(path), *at)
        assert (ran.code, ran.out.splitlines()[0]) == (0, str(path))
        found = read(path)
        assert {name: array.tobytes() for name, array in found.arrays.items()} == {
            name: array.tobytes() for name, array in trained.items()
        }
        assert json.loads(found.facts["versions"]) == versions
        assert found.facts["network"] == first
        assert found.facts["definition_hash"] == load_config(small_config).definition.hash

    if importlib.util.find_spec("torch") is not None:  # a state dict is what trains on
        path = tmp_path / "weights.pt"
        assert akkafka("export", "--network", first, "--format", "torch", "--out", str(path), *at).code == 0
    frozen = ("--set", "gate.first.trainable=false", "--network", second)
    imported = akkafka("import", str(path), config, *frozen, *at)
    assert (imported.code, imported.out.splitlines()[0]) == (0, second), imported.err
    assert "weights for first, last" in imported.err and "frozen: first" in imported.err
    went_on = akkafka("train", config, *frozen, "--weights", str(path), "--out", str(out), *at)
    assert went_on.code == 0, went_on.err
    after = read(out).arrays
    assert all(np.array_equal(after[name], trained[name]) for name in trained if name.startswith("first."))
    assert not all(np.array_equal(after[name], trained[name]) for name in trained if name.startswith("last."))
    audit = json.loads(akkafka("audit", "--network", second, "--json", *at).out)
    assert audit["holds"] is True
    for name in (first, second):
        assert akkafka("reset", "--network", name, "--yes", *at).code == 0


def test_mistakes_are_told_before_anything_is_defined(
    akkafka: Akkafka, at: tuple[str, str], unique: Callable[[], str], small_config: Path, tmp_path: Path
) -> None:
    name, weights = unique(), tmp_path / "weights.npz"
    write_npz(weights, {"first.1.weight": np.zeros((2, 2), np.float32)}, {})
    for words, code, said in (
        (("import", str(weights), str(small_config)), 2, "first"),
        (("import", str(tmp_path / "none.npz"), str(small_config)), 3, "there is no file"),
        (("train", str(small_config), "--weights", str(tmp_path / "w.h5")), 2, ".safetensors"),
        (("import", str(weights), str(small_config), "--gate", "frist"), 2, "did you mean first?"),
        (("export", "--format", "onxx"), 2, "did you mean onnx?"),
        (("export", "--out", "weights.h5"), 2, "which format?"),
        (("export",), 7, f"there is no network {name!r}"),
    ):
        ran = akkafka(*words, "--network", name, *at)
        assert ran.code == code, ran.err
        assert said in ran.err and "Traceback" not in ran.err
    assert f'"{name}"' not in akkafka("networks", "--json", *at).out
