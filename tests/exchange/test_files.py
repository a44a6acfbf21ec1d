"""Weights come back from every format bit for bit; what is no weights file is named, and runs no code."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akkafka.errors import ConfigError, DataError
from akkafka.exchange import files
from akkafka.exchange.files import needed, read, write_npz, write_safetensors, write_torch

ODD = np.array([[np.float32(1e-45), -0.0, 3.4e38], [1 / 3, -1e-20, 7]], np.float32)
ARRAYS = {"fc1.0.weight": ODD, "fc1.0.bias": ODD[:, 1].copy(), "fc2.1.weight": ODD[::-1, ::2]}
FACTS = {"run": "a-b", "versions": '{"fc1": 3}'}
WAYS: dict[str, Callable[..., None]] = {".npz": write_npz, ".safetensors": write_safetensors, ".pt": write_torch}
PACKAGE = {".safetensors": "safetensors", ".pt": "torch"}


@pytest.fixture(params=WAYS)
def suffix(request: pytest.FixtureRequest) -> str:
    """Each format whose package is here."""
    found: str = request.param
    if found in PACKAGE:
        pytest.importorskip(PACKAGE[found])
    return found


def test_arrays_and_facts_come_back_bit_for_bit(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    WAYS[suffix](path, ARRAYS, FACTS)
    found = read(path)
    assert found.facts == FACTS
    assert found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == np.float32
        assert found.arrays[name].tobytes() == array.tobytes() and found.arrays[name].shape == array.shape


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_file_that_would_run_code_is_refused(suffix: str, tmp_path: Path) -> None:
    path, mark = tmp_path / f"weights{suffix}", tmp_path / "mark"
    if suffix == ".npz":
        with path.open("wb") as file:
            np.savez(file, x=np.array([Trap(mark)], dtype=object))
    elif suffix == ".pt":
        pytest.importorskip("torch").save({"x": Trap(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(DataError, match=str(path)):
        read(path)
    assert not mark.exists()


def test_a_file_that_is_something_else_is_named(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=str(path)):
        read(path)
    path.unlink()
    with pytest.raises(DataError, match="there is no file"):
        read(path)


def test_a_pytorch_file_that_holds_a_whole_model_is_refused_with_advice(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.pt"
    torch.save(torch.nn.Linear(2, 3), path)
    with pytest.raises(DataError, match="without running code") as error:
        read(path)
    assert "state_dict" in error.value.hint
    torch.save([1, 2], path)
    with pytest.raises(DataError, match="something else than a state dict"):
        read(path)


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pt"
    torch.save({"a.0.weight": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)}, path)
    (array,) = read(path).arrays.values()
    assert array.dtype == np.float32 and array.tolist() == [1.5, -2.0]


def test_facts_that_are_no_json_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    for text in ("{", "[]"):
        with path.open("wb") as file:
            np.savez(file, **{files.FACTS: np.array(text)})  # type: ignore[arg-type]  # numpy's stub, as in files.py
        assert read(path).facts == {}


def test_a_suffix_unknown_and_a_package_missing_are_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be imported") as error:
        read(tmp_path / "weights.h5")
    assert ".safetensors" in error.value.hint and ".onnx" not in error.value.hint
    with pytest.raises(ConfigError, match="needs the package no_such_package") as error:
        needed("no_such_package.inside", "export", "a file")
    assert error.value.hint == "pip install 'akkafka[export]'"
