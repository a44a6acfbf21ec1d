"""The regression's table: the same rows for ever, standardised by what may be known of them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_diabetes as sklearn_diabetes

from akkafka.data import SPLITS, Dataset, DataSpec, diabetes, load
from akkafka.data.source import Split
from akkafka.errors import DataError

FINGERPRINTS: dict[Split, str] = {
    "train": "a01f70ff4f2dfbef815d40dbf38ad6b16a3a7b730489ad9c39edb0df6f53924b",
    "validation": "d2d463502918accd265503d56689a6f8bae9cb2c1d61193a03e0f7ca60f6a471",
    "test": "dc53f564fef857e4468c7dbc77c7c0fccd814fece9755afb58bb35b1a0d4d4b7",
}


def splits() -> list[Dataset]:
    return [load(DataSpec(name="diabetes"), split) for split in SPLITS]


def test_the_splits_are_the_same_for_ever() -> None:
    assert {dataset.split: dataset.fingerprint for dataset in splits()} == FINGERPRINTS


def test_the_three_splits_are_scikit_learns_table_each_row_once() -> None:
    reference = sklearn_diabetes(scaled=False)
    table = np.column_stack([reference.data, reference.target])
    got = np.concatenate([np.column_stack([dataset.x, dataset.y]) for dataset in splits()])
    scaled = (table - table.mean(axis=0)) / table.std(axis=0)
    got = (got - got.mean(axis=0)) / got.std(axis=0)  # whichever rows it was standardised by
    order, reference_order = np.lexsort(got.round(3).T), np.lexsort(scaled.round(3).T)
    assert np.allclose(got[order], scaled[reference_order], atol=1e-4)


def test_training_rows_have_mean_0_and_deviation_1_and_others_are_measured_by_them() -> None:
    train, validation, _ = splits()
    for array in (train.x, train.y):
        assert np.allclose(array.mean(axis=0, dtype=np.float64), 0, atol=1e-6)
        assert np.allclose(array.std(axis=0, dtype=np.float64), 1, atol=1e-6)
    assert abs(validation.x.mean(axis=0)).max() > 0.01


def test_shapes_and_sizes_are_as_promised() -> None:
    for dataset in splits():
        assert (dataset.sample_shape, dataset.target_shape, dataset.classes) == ((10,), (), None)
        assert dataset.x.dtype.name == dataset.y.dtype.name == "float32"
        assert len(dataset) == diabetes.DIABETES.samples[dataset.split]
    assert [len(dataset) for dataset in splits()] == [309, 66, 67]


def test_scikit_learn_is_not_imported_for_it() -> None:
    load_it = "from akkafka.data import *; load(DataSpec(name='diabetes'), 'train')"
    code = f"import sys; {load_it}; print('sklearn' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"


def test_where_the_files_lie_elsewhere_the_public_function_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diabetes, "_table_of_files", lambda: None)
    assert {dataset.split: dataset.fingerprint for dataset in splits()} == FINGERPRINTS


def test_another_table_than_the_known_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = np.zeros((442, 11))
    monkeypatch.setattr(diabetes, "_table_of_files", lambda: other)
    monkeypatch.setattr(diabetes, "_table_of_sklearn", lambda: other)
    with pytest.raises(DataError, match=r"has sha256 .*, expected 839c546b0b4a"):
        load(DataSpec(name="diabetes"), "train")
