"""The digits data set: small, bundled with scikit-learn, and so the default that works without any download.

1797 handwritten digits of 8 x 8 pixels with values 0 to 16; the test part of "Optical Recognition of
Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998, UCI Machine Learning Repository, CC BY 4.0).

x uint8 (N, 64), values 0 to 16; y uint8 (N,), 0 to 9. The set has no split of its own, so here is one for
ever: the rows are taken in the order `permutation(1797, seed=1998, epoch=0)`, the first 1437 train, the next
180 validate, the last 180 test.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akkafka.data.keys import permutation
from akkafka.data.source import Arrays, DatasetInfo, LoadContext, Split
from akkafka.errors import DataError

ROWS, PIXELS = 1797, 64
SHA256 = "68aea062d35a127749050fa0e52dca09d6569ac08092c925610e0954e172dde2"  # of `_table`
SPLIT_SEED = 1998
PARTS: dict[Split, slice] = {
    "train": slice(0, 1437),
    "validation": slice(1437, 1617),
    "test": slice(1617, ROWS),
}


def load_digits(split: Split, context: LoadContext) -> Arrays:
    """The rows of a split; nothing is read from or written to `context`.

    Raises DataError when scikit-learn is missing or carries other digits.
    """
    table = _table()
    rows = permutation(ROWS, SPLIT_SEED, 0)[PARTS[split]]
    return np.ascontiguousarray(table[rows, :PIXELS]), np.ascontiguousarray(table[rows, PIXELS])


def _table() -> NDArray[np.uint8]:
    """All rows, uint8 (1797, 65): 64 pixels and the digit, in scikit-learn's order.

    Reading the file takes 10 ms, importing scikit-learn for it 1 s (measured): every sentinel would pay that
    at its start.
    """
    table = _table_of_file()
    if table is None or _hash(table) != SHA256:
        table = _table_of_sklearn()
    if _hash(table) != SHA256:
        raise DataError(
            f"digits: scikit-learn's digits have sha256 {_hash(table)}, expected {SHA256}",
            hint="install a release of scikit-learn; the data set has not changed since 2010",
        )
    return table


def _table_of_file() -> NDArray[np.uint8] | None:
    spec = importlib.util.find_spec("sklearn")  # does not import it
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    try:
        with gzip.open(path, "rt", encoding="ascii") as lines:
            return np.loadtxt(lines, delimiter=",", dtype=np.uint8, ndmin=2)
    except (OSError, EOFError, ValueError, zlib.error):
        return None  # laid out differently in this release: the public function knows


def _table_of_sklearn() -> NDArray[np.uint8]:
    try:
        from sklearn.datasets import load_digits as sklearn_digits
    except ImportError as error:
        raise DataError(
            f"digits: they come with scikit-learn, which cannot be imported: {error}",
            hint="pip install scikit-learn, or choose another data set",
        ) from error
    bunch: Any = sklearn_digits()
    return np.column_stack([bunch.data, bunch.target]).astype(np.uint8)


def _hash(table: NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(table).data).hexdigest()


DIGITS = DatasetInfo(
    sample_shape=(PIXELS,),
    dtype=np.dtype(np.uint8),
    classes=10,
    loader=load_digits,
    value_range=(0.0, 16.0),
    samples={split: part.stop - part.start for split, part in PARTS.items()},
    about="1797 handwritten digits of 8 x 8 pixels, bundled with scikit-learn (Alpaydin and Kaynak 1998)",
    target_shape=(),
)
