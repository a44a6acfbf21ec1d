"""A regression that needs no download: how far diabetes had gone a year after ten measurements of a patient.

442 patients, bundled with scikit-learn (Efron, Hastie, Johnstone, Tibshirani 2004, "Least Angle Regression", Annals
of Statistics 32). x float32 (N, 10): age, sex, body mass index, blood pressure, six of blood serum; y float32 (N,).
All are standardised, (value - mean) / deviation over the training rows, so y is in units of 76.6 of the published
score, and whoever always says 0 has a mean squared error near 1.

The set has no split of its own, so here is one for ever: the rows are taken in the order `permutation(442, seed=2004,
epoch=0)`, the first 309 train, the next 66 validate, the last 67 test.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akkafka.data.keys import permutation
from akkafka.data.source import Arrays, DatasetInfo, LoadContext, Split
from akkafka.errors import DataError

ROWS, FEATURES = 442, 10
SHA256 = "839c546b0b4ac02c2e6cbe5e5c92313cefa993446c9733e9b49477cc3f96e104"  # of `_table`
SPLIT_SEED = 2004
PARTS: dict[Split, slice] = {
    "train": slice(0, 309),
    "validation": slice(309, 375),
    "test": slice(375, ROWS),
}


def load_diabetes(split: Split, context: LoadContext) -> Arrays:
    """The rows of a split; nothing is read from or written to `context`.

    Raises DataError when scikit-learn is missing or carries another table.
    """
    table = _standardised(_table()[permutation(ROWS, SPLIT_SEED, 0)])[PARTS[split]]
    return np.ascontiguousarray(table[:, :FEATURES]), np.ascontiguousarray(table[:, FEATURES])


def _standardised(table: NDArray[np.float64]) -> NDArray[np.float32]:
    """Columns by mean and deviation of the training rows; exact sums, so the same bits on every machine."""
    columns = []
    for column in table.T:
        known = column[PARTS["train"]].tolist()
        mean = math.fsum(known) / len(known)
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / len(known))
        columns.append(((column - mean) / deviation).astype(np.float32))
    return np.column_stack(columns)


def _table() -> NDArray[np.float64]:
    """All rows, float64 (442, 11): the measurements and the score, as published, in scikit-learn's order.

    From the files if they lie where they do today: importing scikit-learn takes 1 s (as for digits).
    """
    table = _table_of_files()
    if table is None or _hash(table) != SHA256:
        table = _table_of_sklearn()
    if _hash(table) != SHA256:
        raise DataError(
            f"diabetes: scikit-learn's table has sha256 {_hash(table)}, expected {SHA256}",
            hint="install a release of scikit-learn from 1.6 on",
        )
    return table


def _table_of_files() -> NDArray[np.float64] | None:
    spec = importlib.util.find_spec("sklearn")  # does not import it
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0], "datasets", "data")
    try:
        return np.column_stack([_read(folder / f"diabetes_{part}.csv.gz") for part in ("data_raw", "target")])
    except (OSError, EOFError, ValueError, zlib.error):
        return None  # laid out differently in this release: the public function knows


def _read(path: Path) -> NDArray[np.float64]:
    with gzip.open(path, "rt", encoding="ascii") as lines:
        return np.loadtxt(lines, dtype=np.float64)


def _table_of_sklearn() -> NDArray[np.float64]:
    try:
        from sklearn.datasets import load_diabetes as sklearn_diabetes
    except ImportError as error:
        raise DataError(
            f"diabetes: the table comes with scikit-learn, which cannot be imported: {error}",
            hint="pip install scikit-learn, or choose another data set",
        ) from error
    bunch: Any = sklearn_diabetes(scaled=False)
    return np.column_stack([bunch.data, bunch.target]).astype(np.float64)


def _hash(table: NDArray[np.float64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(table, "<f8").data).hexdigest()


DIABETES = DatasetInfo(
    sample_shape=(FEATURES,),
    dtype=np.dtype(np.float32),
    classes=None,
    loader=load_diabetes,
    samples={split: part.stop - part.start for split, part in PARTS.items()},
    about="ten measurements of 442 patients and their diabetes a year later, with scikit-learn (Efron et al. 2004)",
    target_shape=(),
)
