"""Keeps unpacked arrays in the cache as mapped files: gunzip would take 0.2 to 0.4 s at every start.

All processes of a machine then share one copy in the page cache. A file is named by the sha256 of the content
that it was made from, written under another name and renamed when whole, so it is right or absent. A cache
that cannot be used costs time and nothing else: every failure here is silent.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from akkafka.data.only_one import only_one

_PARTIAL = ".part"


def open_unpacked(cache_dir: Path, sha256: str, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The array kept for this content, read-only and mapped, uint8 of `shape`; None if none fits."""
    path = _path(cache_dir, sha256)
    try:
        size = path.stat().st_size
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if mapped.shape != shape or mapped.dtype != np.uint8 or not mapped.flags.c_contiguous:
        return None
    return np.asarray(mapped) if size == mapped.offset + mapped.nbytes else None


def keep_unpacked(cache_dir: Path, sha256: str, array: NDArray[np.uint8]) -> None:
    """Keep `array` (uint8, C-contiguous) for the next start, unless somebody else is at it already."""
    path = _path(cache_dir, sha256)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with only_one(path.with_suffix(".lock")) as alone:
            if alone:
                _write(path, array)


def _write(path: Path, array: NDArray[np.uint8]) -> None:
    for left_behind in path.parent.glob(f"{path.stem}.*{_PARTIAL}"):  # by a writer that was killed
        left_behind.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(_PARTIAL, f"{path.stem}.", path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            np.lib.format.write_array(out, array, allow_pickle=False)
            out.flush()
            os.fsync(out.fileno())  # else a power cut may leave the name without the bytes
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)  # a disk that is full must not stay full because of us
        raise


def _path(cache_dir: Path, sha256: str) -> Path:
    return cache_dir / "unpacked" / f"{sha256}.npy"
