"""Which data sets there are, by name: built-in ones, files of one's own, and those of installed packages."""

from __future__ import annotations

import difflib
import re
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np

from akkafka.data.diabetes import DIABETES
from akkafka.data.digits import DIGITS
from akkafka.data.fashion_mnist import FASHION_MNIST
from akkafka.data.mnist import MNIST
from akkafka.data.npz import PREFIX as NPZ_PREFIX
from akkafka.data.npz import npz_info
from akkafka.data.source import DatasetInfo, Loader
from akkafka.data.topics import NAME as TOPICS
from akkafka.data.topics import PREFIX as TOPICS_PREFIX
from akkafka.data.topics import is_topics, topics_info
from akkafka.errors import ConfigError

ENTRY_POINT_GROUP = "akkafka.datasets"

BUILT_IN = ("digits", "mnist", "fashion-mnist", "diabetes")
DATASETS: dict[str, DatasetInfo] = dict(zip(BUILT_IN, (DIGITS, MNIST, FASHION_MNIST, DIABETES), strict=True))
"""What is known of each; a built-in data set is added here, one's own by `register` or entry point."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def register(
    name: str,
    loader: Loader,
    *,
    sample_shape: tuple[int, ...],
    dtype: np.dtype[Any] | str = "float32",
    classes: int | None = None,
    value_range: tuple[float, float] | None = None,
    about: str = "",
    target_shape: tuple[int, ...] | None = None,
) -> DatasetInfo:
    """Make `loader(split, context) -> (x, y)` known as `name` in this process.

    Shapes are told here, as a definition needs them before any data are there. A package does the same for
    all processes by an entry point of group `akkafka.datasets` that names a `DatasetInfo`. Raises ConfigError
    for a name that is taken or is not lower-case letters, digits, `.`, `_`, `-`.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"data set name {name!r} is not of the form {_NAME.pattern}",
            hint="lower-case letters, digits, '.', '_' and '-', at most 64",
        )
    if name in DATASETS or is_topics(name):
        raise ConfigError(
            f"there is a data set {name!r} already",
            hint="choose another name: a definition must mean one thing",
        )
    made = DatasetInfo(
        sample_shape, np.dtype(dtype), classes, loader, value_range, about=about, target_shape=target_shape
    )
    DATASETS[name] = made
    return made


def info(name: str, *, data_dir: Path | None = None) -> DatasetInfo:
    """Shapes of a data set without loading it; for `npz:<path>` the headers (and the class numbers) are read, for
    `topics` the text.

    Raises ConfigError for an unknown name, saying which come near; DataError for an npz file that cannot be
    used.
    """
    if name.startswith(NPZ_PREFIX):
        return npz_info(name, data_dir)
    if is_topics(name):
        return topics_info(name)
    if name in DATASETS:
        return DATASETS[name]
    installed = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in installed:
        raise _unknown(name, [*DATASETS, TOPICS, *installed])
    return DATASETS.setdefault(name, _from_package(installed[name]))


def origin(name: str) -> str | None:
    """The module that a data set comes from, or None if there is none of that name here; nothing is imported."""
    if name in BUILT_IN or name.startswith(NPZ_PREFIX) or is_topics(name):
        return __name__
    offered = [point.module for point in entry_points(group=ENTRY_POINT_GROUP, name=name)]
    if offered:  # whether or not it has been loaded yet
        return offered[0]
    return made_in(DATASETS[name].loader) if name in DATASETS else None


def made_in(thing: Any) -> str:
    """The module that a class or callable was written in; a `partial` comes from where its function does."""
    while isinstance(thing, partial):
        thing = thing.func
    return str(getattr(thing, "__module__", ""))


def _from_package(point: EntryPoint) -> DatasetInfo:
    """A name from a definition can import what the user has installed under this group, and nothing else."""
    try:
        found = point.load()
    except Exception as error:
        raise ConfigError(
            f"data set {point.name!r}: {point.value} cannot be imported: {type(error).__name__}: {error}",
            hint="install the package anew, or take its data set out of the definition",
        ) from error
    if not isinstance(found, DatasetInfo):
        raise ConfigError(
            f"data set {point.name!r}: {point.value} is a {type(found).__name__}, expected a DatasetInfo",
            hint=f"an entry point of group {ENTRY_POINT_GROUP} names an akkafka.data.DatasetInfo",
        )
    return found


def _unknown(name: str, known: list[str]) -> ConfigError:
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(other) for other in near)}?" if near else ""
    known_names = ", ".join(sorted(known))
    own = (
        f"a numpy file is named {NPZ_PREFIX}<path>, text {TOPICS_PREFIX}<length of a window>; "
        "one of a package of your own needs --allow or an entry point"
    )
    return ConfigError(f"[data] there is no data set {name!r}; known are {known_names}", hint=f"{hint} {own}".strip())
