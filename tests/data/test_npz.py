"""A user's own numpy file is read if it can be, and otherwise told apart from a good one by name."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from akkafka.data import DataSpec, info, load
from akkafka.data.source import Split
from akkafka.errors import DataError

X = np.arange(30, dtype=np.float32).reshape(5, 2, 3)
Y = np.array([0, 2, 1, 2, 0])


def saved(path: Path, **arrays: Any) -> DataSpec:
    np.savez(path, **arrays)
    return DataSpec(name=f"npz:{path}")


def test_samples_and_class_numbers_come_back(tmp_path: Path) -> None:
    spec = saved(tmp_path / "own.npz", x=X, y=Y)
    got = load(spec, "train")
    assert np.array_equal(got.x, X) and np.array_equal(got.y, Y)
    assert (got.x.dtype.name, got.y.dtype.name, got.classes, got.sample_shape) == ("float32", "uint8", 3, (2, 3))


def test_shapes_are_known_without_reading_the_samples(tmp_path: Path) -> None:
    # the samples' bytes are left out: whoever reads more than their header fails
    header, targets = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 28, 28)})
    np.save(targets, np.array([4, 0]))
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
        archive.writestr("y.npy", targets.getvalue())
    found = info(f"npz:{tmp_path / 'own.npz'}")
    assert (found.sample_shape, found.dtype.name, found.classes) == ((28, 28), "uint8", 5)
    assert found.samples == {"train": 10**6}


@pytest.mark.parametrize(
    ("given", "taken"),
    [("uint8", "uint8"), ("bool", "uint8"), ("float16", "float32"), ("float32", "float32"), ("float64", "float32")],
)
def test_samples_are_narrowed_to_what_gates_take(tmp_path: Path, given: str, taken: str) -> None:
    spec = saved(tmp_path / "own.npz", x=np.array([[0], [1]], dtype=given), y=np.array([0, 1]))
    assert info(spec.name).dtype.name == taken
    got = load(spec, "train").x
    assert got.dtype.name == taken and got.tolist() == [[0], [1]]


@pytest.mark.parametrize("y", [np.array([0.5, -1.5, 2.0, 0, 1]), np.ones((5, 4))], ids=["one", "several"])
def test_real_targets_have_no_classes(tmp_path: Path, y: NDArray[Any]) -> None:
    got = load(saved(tmp_path / "own.npz", x=X, y=y), "train")
    assert got.classes is None
    assert got.y.dtype.name == "float32" and np.array_equal(got.y, y)


def test_each_position_may_have_a_class_number_of_its_own(tmp_path: Path) -> None:
    y = np.array([[0, 1], [2, 1], [0, 0], [3, 1], [1, 1]])
    spec = saved(tmp_path / "own.npz", x=X, y=y)
    assert (info(spec.name).target_shape, info(spec.name).classes) == ((2,), 4)
    got = load(spec, "train").y
    assert got.dtype.name == "uint8" and np.array_equal(got, y)


def test_class_numbers_above_255_are_int32(tmp_path: Path) -> None:
    got = load(saved(tmp_path / "own.npz", x=X, y=np.array([0, 256, 1, 2, 3])), "train")
    assert (got.y.dtype.name, got.classes) == ("int32", 257)


def test_fortran_order_is_straightened(tmp_path: Path) -> None:
    got = load(saved(tmp_path / "own.npz", x=np.asfortranarray(X), y=Y), "train")
    assert got.x.flags.c_contiguous and np.array_equal(got.x, X)


@pytest.mark.parametrize(
    ("keys", "validation", "test"),
    [
        (("x_val", "y_val", "x_test", "y_test"), 1, 2),
        (("x_test", "y_test"), 2, 2),
        (("x_val", "y_val"), 1, None),
        ((), None, None),
    ],
)
def test_each_split_reads_its_own_arrays_and_validation_may_read_the_test_ones(
    tmp_path: Path, keys: tuple[str, ...], validation: int | None, test: int | None
) -> None:
    arrays = {"x_val": X[:1], "y_val": Y[:1], "x_test": X[1:3], "y_test": Y[1:3]}
    spec = saved(tmp_path / "own.npz", x=X, y=Y, **{key: arrays[key] for key in keys})
    splits: list[tuple[Split, int | None]] = [("validation", validation), ("test", test)]
    for split, expected in splits:
        if expected is None:
            with pytest.raises(DataError, match=f"has no {split} samples: expected .*, got x, y"):
                load(spec, split)
        else:
            assert len(load(spec, split)) == expected


def test_a_missing_validation_split_can_be_held_out_as_the_hint_says(tmp_path: Path) -> None:
    spec = saved(tmp_path / "own.npz", x=X, y=Y)
    with pytest.raises(DataError) as caught:
        load(spec, "validation")
    assert "set holdout" in caught.value.hint
    held_out = DataSpec(name=spec.name, holdout=2)
    assert np.array_equal(load(held_out, "validation").x, X[3:])


def test_the_names_that_keras_uses_are_understood(tmp_path: Path) -> None:
    spec = saved(tmp_path / "mnist.npz", x_train=X, y_train=Y, x_test=X[:1], y_test=Y[:1])
    assert len(load(spec, "train")) == 5
    assert len(load(spec, "test")) == 1


def test_a_relative_path_is_looked_for_in_the_data_directory_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "own.npz", x=X, y=Y)
    spec = DataSpec(name="npz:own.npz")
    assert len(load(spec, "train", data_dir=tmp_path / "data")) == 5
    saved(tmp_path / "data" / "own.npz", x=X[:2], y=Y[:2])
    assert len(load(spec, "train", data_dir=tmp_path / "data")) == 2
    assert len(load(spec, "train")) == 5


def test_a_file_that_is_not_there_names_the_places_looked_at(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'npz:own\.npz': there is no file .*own\.npz or own\.npz"):
        info("npz:own.npz", data_dir=tmp_path)
    with pytest.raises(DataError, match="there is no file"):
        info("npz:")
    with pytest.raises(DataError, match="there is no file"):
        info(f"npz:{tmp_path}")


NAN = X.copy()
NAN[3, 1, 2] = np.nan
INFINITE = X.copy()
INFINITE[1, 0, 0], INFINITE[2, 0, 0] = np.inf, -np.inf


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"x": X, "labels": Y}, "has no train samples: expected x and y or x_train and y_train, got x, labels"),
        ({"x": X.astype(np.int64), "y": Y}, "x is int64 .* takes native uint8, bool, float16"),
        ({"x": X.astype(">f4"), "y": Y}, r"x is float32 \(>f4\), takes native"),
        ({"x": np.array(["a", "b"]), "y": Y[:2]}, "x is str"),
        ({"x": np.float32(3), "y": Y}, r"x has shape \(\), expected"),
        ({"x": X, "y": Y[:4]}, r"5 samples, but targets of shape \(4,\)"),
        ({"x": X, "y": Y - 1}, "class numbers in y run from -1 to 1, expected 0"),
        ({"x": X, "y": Y + 2**40}, "class numbers in y run from 1099511627776"),
        ({"x": X, "y": Y.reshape(5, 1)}, r"y is int64 \(5, 1\), expected class numbers \(N,\)"),
        ({"x": X, "y": np.array(list("abcde"))}, "y is <U1"),
        ({"x": NAN, "y": Y}, "1 rows of x hold NaN or infinity, the first is row 3"),
        ({"x": INFINITE, "y": Y}, "2 rows of x hold NaN or infinity, the first is row 1"),
        ({"x": np.full((2, 1), 1e300), "y": Y[:2]}, "2 rows of x hold NaN or infinity, the first is row 0"),
        ({"x": X, "y": np.array([0, 1, np.nan, 0, 0])}, "1 rows of y hold NaN or infinity, the first is row 2"),
        ({"x": X[:0], "y": Y[:0]}, r"x has shape \(0, 2, 3\), expected \(N, ...\) with no size 0"),
        ({"x": np.array([{}, []], dtype=object), "y": Y[:2]}, "x is object"),
        ({"x": X, "y": np.array([{}] * 5, dtype=object)}, "cannot be read: ValueError: Object arrays cannot be loaded"),
        ({"x": np.zeros((3, 0, 2), np.uint8), "y": Y[:3]}, r"x has shape \(3, 0, 2\), expected"),
    ],
)
def test_arrays_that_are_no_data_set_are_refused_by_name(tmp_path: Path, arrays: dict[str, Any], named: str) -> None:
    spec = saved(tmp_path / "own.npz", **arrays)
    with pytest.raises(DataError, match=named):
        load(spec, "train")


def test_class_numbers_that_training_has_not_are_refused(tmp_path: Path) -> None:
    spec = saved(tmp_path / "own.npz", x=X, y=Y, x_test=X, y_test=Y + 1)
    with pytest.raises(DataError, match="split 'test': class numbers run from 1 to 3, expected 0 to 2"):
        load(spec, "test")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 and then nothing"])
def test_bytes_that_are_no_archive_are_refused_with_the_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"own\.npz cannot be read") as caught:
        info(f"npz:{tmp_path / 'own.npz'}")
    assert "np.savez" in caught.value.hint


def test_a_damaged_archive_is_refused_with_the_path(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    np.savez_compressed(path, x=X, y=Y)
    whole = path.read_bytes()
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            load(DataSpec(name=f"npz:{path}"), "train")
        except DataError as error:
            assert str(path) in str(error)


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", X)
    with pytest.raises(DataError, match="is a single array"):
        info(f"npz:{tmp_path / 'own.npy'}")
