"""Data sets from a numpy file of one's own: `npz:<path>`, the shortest way to train on something else.

Arrays in the file: `x` and `y` (or `x_train`, `y_train`), and if there are any `x_val`, `y_val`, `x_test`,
`y_test`. x (N, ...) uint8 or float32 of any range; float64 and float16 are read as float32, bool as uint8. y
(N,) class numbers from 0, (N, T) of them for T positions of each sample, or real targets. Validation without
`x_val` reads `x_test`, as it does for MNIST.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from akkafka.data.source import Arrays, DatasetInfo, LoadContext, Split
from akkafka.errors import AkkafkaError, DataError

PREFIX = "npz:"
KEYS: dict[Split, tuple[tuple[str, str], ...]] = {
    "train": (("x", "y"), ("x_train", "y_train")),
    "validation": (("x_val", "y_val"), ("x_test", "y_test")),
    "test": (("x_test", "y_test"),),
}
_SAMPLES_AS = {
    "uint8": "uint8",
    "bool": "uint8",
    "float16": "float32",
    "float32": "float32",
    "float64": "float32",
}
_HINT = "write it by np.savez(path, x=…, y=…), numbers only"
_MAX_CLASS = 2**31 - 1


def npz_info(name: str, data_dir: Path | None) -> DatasetInfo:
    """Shapes from the header of the training samples; classes: the greatest training class number plus one.

    The path is relative to `data_dir`, if the file is there, or else to the working directory.
    Raises DataError if there is no such file, or no use in it.
    """
    path = _resolve(name.removeprefix(PREFIX), data_dir)
    with _opened(path) as archive:
        x_key, y_key = _keys_of(archive, "train", path)
        shape, dtype = _member_header(archive, x_key, path)
        y = _targets(_array(archive, y_key), y_key, path)
    _check_samples_dtype(dtype, x_key, path)
    if not shape or 0 in shape:
        raise DataError(f"{path}: {x_key} has shape {shape}, expected (N, ...) with no size 0", hint=_HINT)
    return DatasetInfo(
        sample_shape=shape[1:],
        dtype=np.dtype(_SAMPLES_AS[dtype.name]),
        classes=None if y.dtype.kind == "f" else int(y.max(initial=0)) + 1,
        loader=partial(_load, path),
        samples={"train": shape[0]},
        about=f"arrays of {path}",
        target_shape=y.shape[1:],
    )


def _load(path: Path, split: Split, context: LoadContext) -> Arrays:
    with _opened(path) as archive:
        x_key, y_key = _keys_of(archive, split, path)
        x, y = _array(archive, x_key), _array(archive, y_key)
    _check_samples_dtype(x.dtype, x_key, path)
    pixels = _SAMPLES_AS[x.dtype.name] == "uint8"
    samples = np.ascontiguousarray(x, dtype=np.uint8) if pixels else _as_float32(x, x_key, path)
    return samples, _targets(y, y_key, path)


def _resolve(text: str, data_dir: Path | None) -> Path:
    path = Path(text).expanduser()
    beside = path if data_dir is None else data_dir / path
    found = next((place for place in (beside, path) if place.is_file()), None)
    if found is None or not text:
        places = " or ".join(dict.fromkeys([str(beside), str(path)]))
        raise DataError(
            f"data set '{PREFIX}{text}': there is no file {places}",
            hint="a path is relative to the data directory (--data-dir, AKKAFKA_DATA_DIR) or the working one",
        )
    return found


@contextmanager
def _opened(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """The archive; whatever is found wrong with it while it is open is told as the file's fault."""
    try:
        with path.open("rb") as file:  # np.load(path) would leave it open if it is no good
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise DataError(f"{path} is a single array (.npy), expected an archive with x and y", hint=_HINT)
            with loaded:
                yield loaded
    except AkkafkaError:
        raise
    except Exception as error:  # damaged bytes make zipfile, zlib, ast and numpy raise a dozen different ones
        raise DataError(f"{path} cannot be read: {type(error).__name__}: {error}", hint=_HINT) from error


def _keys_of(archive: np.lib.npyio.NpzFile, split: Split, path: Path) -> tuple[str, str]:
    for pair in KEYS[split]:
        if all(key in archive.files for key in pair):
            return pair
    wanted = " or ".join(f"{x} and {y}" for x, y in KEYS[split])
    extra = ", or set holdout to take validation samples from training" if split == "validation" else ""
    raise DataError(
        f"{path} has no {split} samples: expected {wanted}, got {', '.join(archive.files) or 'nothing'}",
        hint=f"add the arrays to the file{extra}",
    )


def _member_header(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    assert archive.zip is not None  # so for a file that was opened by its path
    with archive.zip.open(f"{key}.npy") as member:
        shape, _, dtype = _read_header(member)
    return shape, dtype


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(member)
    return np.lib.format.read_array_header_2_0(member)


def _array(archive: np.lib.npyio.NpzFile, key: str) -> NDArray[Any]:
    array: NDArray[Any] = archive[key]
    return array


def _check_samples_dtype(dtype: np.dtype[Any], key: str, path: Path) -> None:
    if dtype.name not in _SAMPLES_AS or not dtype.isnative:
        raise DataError(
            f"{path}: {key} is {dtype.name} ({dtype.str}), takes native {', '.join(_SAMPLES_AS)}",
            hint="cast it before saving: pixels 0 to 255 as uint8, all else as float32",
        )


def _as_float32(array: NDArray[Any], key: str, path: Path) -> NDArray[np.float32]:
    """Narrowed, C-contiguous and free of NaN and infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = np.ascontiguousarray(array, dtype=np.float32)
        total = narrow.sum(dtype=np.float64)  # finite if and only if every term is; needs no temporary array
    if not np.isfinite(total):
        bad = np.flatnonzero(~np.isfinite(narrow.reshape(len(narrow), -1)).all(axis=1))
        raise DataError(
            f"{path}: {len(bad)} rows of {key} hold NaN or infinity, the first is row {bad[0]}",
            hint="drop or mend these rows; float64 values above 3.4e38 do not fit into float32",
        )
    return narrow


def _targets(y: NDArray[Any], key: str, path: Path) -> NDArray[Any]:
    """Class numbers as uint8 or, above 255, int32; real targets as float32."""
    if y.dtype.kind == "f":
        return _as_float32(y, key, path)
    # (N, 1) is what a table's column looks like, and would ask for a network that gives sequences
    if y.dtype.kind not in "iub" or y.ndim < 1 or (y.ndim > 1 and y[:1].size == 1):
        expected = "class numbers (N,), or (N, T) for T positions of each sample, or floats"
        raise DataError(f"{path}: {key} is {y.dtype} {y.shape}, expected {expected}", hint=_HINT)
    low, high = (int(y.min()), int(y.max())) if y.size else (0, 0)
    if low < 0 or high >= _MAX_CLASS:
        raise DataError(
            f"{path}: class numbers in {key} run from {low} to {high}, expected 0 to fewer than {_MAX_CLASS}",
            hint="number the classes from 0",
        )
    return np.ascontiguousarray(y, dtype=np.uint8 if high < 256 else np.int32)
