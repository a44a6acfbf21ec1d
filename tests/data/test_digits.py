"""The default data set: the same split for ever, with and without scikit-learn's file where it is today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits as sklearn_digits

from akkafka.data import Dataset, DataSpec, digits, load
from akkafka.data.source import SPLITS, Split
from akkafka.errors import DataError

FINGERPRINTS: dict[Split, str] = {
    "train": "d42167a6636a49a0563c99d4a8290d1588e865539e7db3f669ac6680e8c956ce",
    "validation": "2eb9611c08cd1c1e32fd96d404640b6ecefc46f8361cdbf730132b2de4bc57a1",
    "test": "aaff9641645d9d08951930c7648ab1997b35e3d90b08d67503df4354cbf09b38",
}


def splits() -> list[Dataset]:
    return [load(DataSpec(name="digits"), split) for split in SPLITS]


def test_the_splits_are_the_same_for_ever() -> None:
    assert {dataset.split: dataset.fingerprint for dataset in splits()} == FINGERPRINTS


def test_the_three_splits_are_scikit_learns_digits_each_once() -> None:
    reference = sklearn_digits()
    expected = sorted(map(tuple, np.column_stack([reference.data, reference.target]).astype(int).tolist()))
    got = [(*row, label) for dataset in splits() for row, label in zip(dataset.x, dataset.y, strict=True)]
    assert sorted(tuple(map(int, row)) for row in got) == expected


def test_shapes_sizes_and_range_are_as_promised() -> None:
    for dataset in splits():
        assert dataset.sample_shape == (64,) and dataset.classes == 10
        assert dataset.x.dtype.name == dataset.y.dtype.name == "uint8"
        assert len(dataset) == digits.DIGITS.samples[dataset.split]
        assert (int(dataset.x.min()), int(dataset.x.max())) == digits.DIGITS.value_range
    assert [len(dataset) for dataset in splits()] == [1437, 180, 180]


def test_every_class_is_in_every_split() -> None:
    for dataset in splits():
        assert set(dataset.y.tolist()) == set(range(10))


def test_held_out_digits_come_from_training() -> None:
    whole = load(DataSpec(), "train")
    spec = DataSpec(holdout=37)
    train, validation, test = (load(spec, split) for split in SPLITS)
    assert np.array_equal(np.concatenate([train.x, validation.x]), whole.x)
    assert len(validation) == 37
    assert test.fingerprint == FINGERPRINTS["test"]


def test_scikit_learn_is_not_imported_for_it() -> None:
    code = "import sys; from akkafka.data import *; load(DataSpec(), 'train'); print('sklearn' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"


def test_where_the_file_lies_elsewhere_the_public_function_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "_table_of_file", lambda: None)
    assert {dataset.split: dataset.fingerprint for dataset in splits()} == FINGERPRINTS


def test_a_file_of_another_form_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "sklearn"
    (package / "datasets" / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "datasets" / "data" / "digits.csv.gz").write_bytes(b"something else")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        patch.delitem(sys.modules, "sklearn")
        assert digits._table_of_file() is None


def test_other_digits_than_the_known_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = np.zeros((1797, 65), np.uint8)
    monkeypatch.setattr(digits, "_table_of_file", lambda: other)
    monkeypatch.setattr(digits, "_table_of_sklearn", lambda: other)
    with pytest.raises(DataError, match=r"have sha256 .*, expected 68aea062d35a"):
        load(DataSpec(), "train")
