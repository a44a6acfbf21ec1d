"""A data set in memory is whole, consistent and read-only, and its fingerprint tells it from every other."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from akkafka.data import Dataset, DataSpec, data_dir_from_env, load, take
from akkafka.errors import ConfigError, DataError

X = np.arange(12, dtype=np.uint8).reshape(4, 3)
Y = np.array([0, 1, 2, 1], dtype=np.uint8)


def made(x: NDArray[Any] = X, y: NDArray[Any] = Y, classes: int | None = 3) -> Dataset:
    return Dataset("some", "train", x, y, classes)


def test_length_and_shape_are_those_of_the_arrays() -> None:
    dataset = made()
    assert (len(dataset), dataset.sample_shape, dataset.classes) == (4, (3,), 3)


def test_arrays_cannot_be_written_to_and_the_callers_keep_their_flags() -> None:
    x, y = X.copy(), Y.copy()
    dataset = made(x, y)
    with pytest.raises(ValueError, match="read-only"):
        dataset.x[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        dataset.y[0] = 1
    assert x.flags.writeable and y.flags.writeable
    assert np.shares_memory(dataset.x, x)


@pytest.mark.parametrize(
    ("x", "y", "classes", "named"),
    [
        (X.astype(np.float64), Y, 3, r"x is float64 \(4, 3\), takes C-contiguous"),
        (np.asfortranarray(X), Y, 3, "takes C-contiguous"),
        (X[:0], Y[:0], 3, "has no samples"),
        (X, Y[:3], 3, r"4 samples, but targets of shape \(3,\)"),
        (X, np.uint8(3), 3, r"4 samples, but targets of shape \(\)"),
        (X, Y.astype(np.int64), 3, "targets are int64, take C-contiguous uint8, int32, float32"),
        (X, np.repeat(Y, 2)[::2], 3, "take C-contiguous"),
        (X, Y.astype(np.float32), 3, r"class numbers are \(N, ...\) integers, got float32"),
        (X, Y.reshape(4, 1)[:, :0], 3, r"class numbers are \(N, ...\) integers, got uint8 \(4, 0\)"),
        (X, Y, 2, "class numbers run from 0 to 2, expected 0 to 1"),
        (X, Y.astype(np.int32) - 1, 3, "class numbers run from -1 to 1, expected 0 to 2"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(
    x: NDArray[Any], y: NDArray[Any], classes: int | None, named: str
) -> None:
    with pytest.raises(DataError, match=f"^data set 'some', split 'train': .*{named}"):
        made(x, y, classes)


def test_each_position_of_a_sample_may_have_a_class_number_of_its_own() -> None:
    targets = np.array([[0, 1], [2, 2], [1, 0], [0, 0]], np.uint8)
    dataset = made(y=targets)
    assert (dataset.target_shape, made().target_shape) == ((2,), ())
    assert np.array_equal(take(dataset, np.array([1, 0]))[1], targets[[1, 0]])


def test_real_targets_may_be_vectors() -> None:
    targets = np.ones((4, 2), np.float32)
    assert made(y=targets, classes=None).y.shape == (4, 2)


def test_a_fingerprint_tells_every_difference_in_samples_targets_shapes_and_dtypes() -> None:
    changed_x, changed_y = X.copy(), Y.copy()
    changed_x[3, 2] ^= 1
    changed_y[3] = 0
    datasets = [
        made(),
        made(changed_x),
        made(y=changed_y),
        made(X.reshape(4, 3, 1)),
        made(X.reshape(3, 4).view(np.float32), Y[:3]),
        made(y=Y.astype(np.int32)),
        made(X[:3], Y[:3]),
    ]
    prints = [dataset.fingerprint for dataset in datasets]
    assert all(a != b for a, b in itertools.combinations(prints, 2))


def test_a_fingerprint_is_the_same_for_the_same_samples_whatever_they_are_called() -> None:
    other = Dataset("another", "test", X.copy(), Y.copy(), classes=None)
    assert other.fingerprint == made().fingerprint == made().fingerprint


def test_a_fingerprint_is_the_same_for_ever() -> None:
    assert made().fingerprint == "cde7f612c1e8dea6ff4c6d35bebe20aabad782ac464a5c76eeda2a34c97273b6"
    assert (
        made((X / 7).astype(np.float32), Y.astype(np.int32)).fingerprint
        == "07101fc67cf78c26c2b05af3c0270cfcbb27eeba8a7229aa939921123332aa3a"
    )


@pytest.mark.parametrize("holdout", [1437, 5000])
def test_a_holdout_that_leaves_nothing_to_train_on_is_refused(holdout: int) -> None:
    for split in ("train", "validation"):
        with pytest.raises(ConfigError, match=rf"holdout = {holdout} leaves no training sample: 'digits' has 1437"):
            load(DataSpec(holdout=holdout), split)


@pytest.mark.parametrize(
    "bad", [{"holdout": -1}, {"name": ""}, {"holduot": 3}, {"sample_shape": [0]}, {"dtype": "int8"}]
)
def test_a_spec_with_impossible_or_unknown_settings_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DataSpec.model_validate(bad)


def test_a_spec_is_frozen_and_names_need_not_be_known_where_it_is_only_read() -> None:
    spec = DataSpec(name="a-data-set-of-another-machine")
    with pytest.raises(ValidationError):
        spec.name = "mnist"  # type: ignore[misc]


@pytest.mark.parametrize(("value", "expected"), [("", None), ("  ", None), ("/some/where", Path("/some/where"))])
def test_the_data_directory_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: Path | None
) -> None:
    monkeypatch.setenv("AKKAFKA_DATA_DIR", value)
    assert data_dir_from_env() == expected
    monkeypatch.delenv("AKKAFKA_DATA_DIR")
    assert data_dir_from_env() is None


def test_a_tilde_in_the_environment_is_the_home_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AKKAFKA_DATA_DIR", "~/data")
    assert data_dir_from_env() == tmp_path / "data"
