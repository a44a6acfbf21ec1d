"""What a source of samples is: shapes known beforehand, and a loader that is told where files may lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import platformdirs
from numpy.typing import NDArray

from akkafka.errors import ConfigError

Split: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with (what is being fetched, bytes done, bytes in all)."""

Arrays: TypeAlias = tuple[NDArray[Any], NDArray[Any]]
"""x (N, *sample_shape) uint8 or float32, y (N, *target_shape) uint8, int32 or float32."""

SAMPLE_DTYPES = ("uint8", "float32")


def silent(what: str, done: int, total: int) -> None:
    """Progress for nobody."""


@dataclass(frozen=True, slots=True)
class LoadContext:
    """Where a loader may look for files, where it may keep some, and whom it tells how far it has come."""

    data_dir: Path | None  # named by the user; None: nothing but the cache and the mirrors
    cache_dir: Path  # ours to write to; may be missing, and may be read-only
    progress: Progress = silent


Loader: TypeAlias = Callable[[Split, LoadContext], Arrays]


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What is known of a data set before any file is opened; the network's definition is checked against it.

    `classes` is None for real-valued targets. `value_range` is the least and the largest value that x can
    hold. Raises ConfigError for a dtype or shape that a data set cannot have.
    """

    sample_shape: tuple[int, ...]  # of one sample, without the batch dimension
    dtype: np.dtype[Any]  # of x: uint8 or float32
    classes: int | None
    loader: Loader = field(repr=False, compare=False)
    value_range: tuple[float, float] | None = None
    samples: Mapping[Split, int] = field(default_factory=dict)  # empty: not known before loading
    about: str = ""  # one sentence for a list of data sets: what it is, where it comes from
    target_shape: tuple[int, ...] | None = None  # of one sample's targets, () for one number; None: not known before
    sha256: str | None = None  # in hex, of what samples are made from, where that differs between machines

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", np.dtype(self.dtype))
        object.__setattr__(self, "sample_shape", tuple(int(size) for size in self.sample_shape))
        if self.dtype.name not in SAMPLE_DTYPES:
            raise ConfigError(
                f"a data set's samples are {' or '.join(SAMPLE_DTYPES)}, got {self.dtype}",
                hint="let the loader cast them, and name the dtype after the cast",
            )
        if any(size < 1 for size in self.sample_shape):
            raise ConfigError(f"every size of a sample's shape must be at least 1, got {self.sample_shape}")
        if self.classes is not None and self.classes < 1:
            raise ConfigError(f"a data set has at least 1 class, got {self.classes}", hint="None: real targets")


def data_dir_from_env() -> Path | None:
    """The directory named by AKKAFKA_DATA_DIR, or None; the only look at the environment in this room."""
    value = os.environ.get("AKKAFKA_DATA_DIR", "").strip()
    return Path(value).expanduser() if value else None


def default_cache_dir() -> Path:
    """Where downloads and unpacked copies are kept: `data` in the user's cache directory of akkafka."""
    return platformdirs.user_cache_path("akkafka") / "data"
