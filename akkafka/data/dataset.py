"""A data set in memory and how a definition names it: every sentinel reads its samples through `load`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from akkafka.data.registry import BUILT_IN, DATASETS, info, register
from akkafka.data.source import (
    SAMPLE_DTYPES,
    Arrays,
    DatasetInfo,
    LoadContext,
    Progress,
    Split,
    default_cache_dir,
    silent,
)
from akkafka.errors import AkkafkaError, ConfigError, DataError

__all__ = [
    "DATASETS",
    "DataSpec",
    "Dataset",
    "DatasetInfo",
    "Split",
    "completed",
    "info",
    "load",
    "register",
    "shapes",
]

TARGET_DTYPES = ("uint8", "int32", "float32")


class DataSpec(BaseModel):
    """Which samples a network is trained on; part of the network's definition.

    The name is looked up when data are loaded, not when the model is made: a gate reads the definition too,
    and need not have the data set's package.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="digits", min_length=1, max_length=1024)
    """`digits`, `mnist`, `fashion-mnist`, `diabetes`, `topics:<length>` (text), `npz:<path>` (relative to the data
    directory), or one's own."""

    holdout: int = Field(default=0, ge=0, lt=2**32)
    """If above 0: so many training samples, the last ones, are the validation split and not trained on."""

    sample_shape: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """Shape of one sample, for data that not every machine has; filled in by `completed`."""

    dtype: Literal["uint8", "float32"] | None = None
    """dtype of the samples, filled in likewise."""

    classes: int | None = Field(default=None, ge=1)
    """Number of classes, filled in likewise; None for real-valued targets."""

    # Later than the first definitions, whose hashes stay: left out of those that have no use for them.
    target_shape: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(None, exclude_if=lambda shape: shape is None)
    """Shape of one sample's targets, filled in likewise for real ones and where it is not (); None: not known."""

    sha256: str | None = Field(None, max_length=64, exclude_if=lambda digest: digest is None)
    """Of what samples are made from, in hex, for data that differ between machines; filled in likewise."""

    @property
    def complete(self) -> bool:
        """Whether shape and dtype are told here, so that nobody needs the data to build the layers."""
        return self.sample_shape is not None and self.dtype is not None


@dataclass(frozen=True, eq=False, slots=True)
class Dataset:
    """One split, whole in memory (or memory-mapped), read-only.

    `x` (N, *sample_shape) uint8 or float32, C-contiguous; `y` (N, *target_shape) uint8 or int32 class numbers
    below `classes`, one a sample or one for each of its positions, or float32 targets when `classes` is None.
    Raises DataError when x and y are anything else.
    """

    name: str
    split: Split
    x: NDArray[Any]
    y: NDArray[Any]
    classes: int | None = None
    _fingerprint: list[str] = field(default_factory=list, init=False, repr=False)  # filled at first use

    def __post_init__(self) -> None:
        where = f"data set {self.name!r}, split {self.split!r}"
        _check_arrays(self.x, self.y, where)
        _check_targets(self.y, self.classes, where)
        object.__setattr__(self, "x", _read_only(self.x))
        object.__setattr__(self, "y", _read_only(self.y))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch dimension."""
        return self.x.shape[1:]

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of one sample's targets; () for one number."""
        return self.y.shape[1:]

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of dtype, shape and little-endian bytes of x, then y; equal only for equal samples.

        Computed once, at first use: 26 ms for MNIST's 47 MB.
        """
        if not self._fingerprint:
            self._fingerprint.append(_digest(self.x, self.y))
        return self._fingerprint[0]


def completed(spec: DataSpec, *, data_dir: Path | None = None) -> DataSpec:
    """The spec as it belongs into a published definition: own data with their shapes, built-in data as they are.

    Gates build their layers from it without having the data; `load` refuses data of other shapes.
    Raises what `info` raises.
    """
    if spec.complete or spec.name in BUILT_IN:
        return spec
    found = info(spec.name, data_dir=data_dir)
    told: dict[str, Any] = {"sample_shape": found.sample_shape, "dtype": found.dtype.name, "classes": found.classes}
    if found.target_shape or found.classes is None:
        told["target_shape"] = found.target_shape
    return spec.model_copy(update={**told, "sha256": found.sha256})


def shapes(spec: DataSpec, *, data_dir: Path | None = None) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a sample: from the spec if it is complete, else from `info`, which may need the data."""
    if spec.sample_shape is not None and spec.dtype is not None:
        return spec.sample_shape, np.dtype(spec.dtype)
    found = info(spec.name, data_dir=data_dir)
    return found.sample_shape, found.dtype


def load(
    spec: DataSpec,
    split: Split,
    *,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    cache_dir: Path | None = None,
) -> Dataset:
    """The samples of one split, checked against what `info(spec.name)` promised.

    `data_dir`: where the user's files lie (`data_dir_from_env()` gives the environment's). `cache_dir`: where
    downloads and unpacked copies are kept, by default in the user's cache directory. `progress` hears of
    downloads. Raises ConfigError for an unknown name or a holdout that leaves nothing, DataError for files
    that are missing or bad.
    """
    found = info(spec.name, data_dir=data_dir)
    _check_told(spec, found)
    context = LoadContext(data_dir, cache_dir or default_cache_dir(), progress or silent)
    if spec.holdout and split != "test":
        x, y = _held_out(_read(spec.name, found, "train", context), spec, split)
    else:
        x, y = _read(spec.name, found, split, context)
    return Dataset(spec.name, split, x, y, found.classes)


def _check_told(spec: DataSpec, found: DatasetInfo) -> None:
    """A definition that tells its data's shapes means those data and no others of the same name."""
    if not spec.complete:
        return
    told = (spec.sample_shape, spec.dtype, spec.classes)
    here = (found.sample_shape, found.dtype.name, found.classes)
    if told != here:
        raise DataError(
            f"data set {spec.name!r} is not the one of the definition: "
            f"shape, dtype and classes are {here} here, {told} there",
            hint="get the data that the network was defined with, or define a network for these",
        )
    if spec.target_shape is not None and spec.target_shape != found.target_shape:
        raise DataError(
            f"data set {spec.name!r} is not the one of the definition: "
            f"a sample's targets have shape {found.target_shape} here, {spec.target_shape} there",
            hint="get the data that the network was defined with, or define a network for these",
        )
    if spec.sha256 is not None and spec.sha256 != found.sha256:
        raise DataError(
            f"data set {spec.name!r} is not the one of the definition: what it is made from has sha256 {found.sha256} "
            f"here, {spec.sha256} there",
            hint=f"use the Python that the network was defined with, or define it anew with this one: {found.about}",
        )


def _held_out(arrays: Arrays, spec: DataSpec, split: Split) -> Arrays:
    x, y = arrays
    cut = len(x) - spec.holdout
    if cut < 1:
        raise ConfigError(
            f"[data] holdout = {spec.holdout} leaves no training sample: {spec.name!r} has {len(x)}",
            hint=f"choose a holdout between 0 and {len(x) - 1}",
        )
    part = slice(cut) if split == "train" else slice(cut, None)
    return x[part], y[part]


def _read(name: str, found: DatasetInfo, split: Split, context: LoadContext) -> Arrays:
    """What the loader gives; whatever an own loader raises is told as that data set's fault."""
    try:
        x, y = map(np.asarray, found.loader(split, context))
    except AkkafkaError:
        raise
    except Exception as error:
        raise DataError(
            f"data set {name!r}: its loader failed on split {split!r}: {type(error).__name__}: {error}",
            hint="a loader takes (split, context) and returns the arrays (x, y), or raises DataError",
        ) from error
    _check_promise(name, found, x, y)
    return x, y


def _check_promise(name: str, found: DatasetInfo, x: NDArray[Any], y: NDArray[Any]) -> None:
    if found.target_shape is not None and y.shape[1:] != found.target_shape:
        raise DataError(
            f"data set {name!r}: a sample's targets have shape {y.shape[1:]}, registered as {found.target_shape}",
            hint="mend the shape in the loader or where the data set is registered",
        )
    got, expected = f"{x.dtype} {x.shape[1:]}", f"{found.dtype} {found.sample_shape}"
    if got != expected:
        raise DataError(
            f"data set {name!r}: samples are {got}, registered as {expected}",
            hint="mend the shape and dtype in the loader or where the data set is registered",
        )


def _check_arrays(x: NDArray[Any], y: NDArray[Any], where: str) -> None:
    if x.dtype.name not in SAMPLE_DTYPES or not x.flags.c_contiguous or x.ndim < 1:
        raise DataError(
            f"{where}: x is {x.dtype} {x.shape}, takes C-contiguous (N, ...) of {' or '.join(SAMPLE_DTYPES)}",
            hint="cast with np.ascontiguousarray(x, dtype)",
        )
    if len(x) == 0:
        raise DataError(f"{where}: has no samples", hint="check the file that it was read from")
    if y.ndim < 1 or len(y) != len(x):
        raise DataError(f"{where}: {len(x)} samples, but targets of shape {y.shape}", hint="one target a sample")


def _check_targets(y: NDArray[Any], classes: int | None, where: str) -> None:
    if y.dtype.name not in TARGET_DTYPES or not y.flags.c_contiguous:
        raise DataError(
            f"{where}: targets are {y.dtype}, take C-contiguous {', '.join(TARGET_DTYPES)}",
            hint="class numbers as uint8 or int32, real targets as float32",
        )
    if classes is None:
        return
    if y.dtype.kind == "f" or y.size == 0:
        raise DataError(f"{where}: class numbers are (N, ...) integers, got {y.dtype} {y.shape}")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"{where}: class numbers run from {low} to {high}, expected 0 to {classes - 1}",
            hint="the file may belong to another data set",
        )


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written to; the caller's own array keeps its flags."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def _digest(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)  # the same on a big-endian machine
        digest.update(f"{array.dtype.name} {'x'.join(map(str, array.shape))}\n".encode())
        digest.update(little.data)
    return digest.hexdigest()
