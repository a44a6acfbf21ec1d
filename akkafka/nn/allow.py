"""Own layers come by entry point or by a package that the command line names, never by a name on the wire."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from akkafka.errors import ConfigError

GROUP = "akkafka.layers"


def allow_packages(names: Iterable[str]) -> None:
    """Import what entry points of the group `akkafka.layers` and the command line name; they register themselves.

    Raises ConfigError for a package that is not there or fails.
    """
    for point in entry_points(group=GROUP):
        _load_installed(point)
    for name in names:
        _import_named(name)


def _load_installed(point: EntryPoint) -> None:
    try:
        point.load()
    except Exception as error:
        raise ConfigError(
            f"the installed package {point.module.split('.')[0]}, which offers layers as entry point {point.name!r}, "
            f"cannot be imported ({type(error).__name__}: {error})",
            hint="Mend or uninstall it: its layers may be some that a network needs.",
        ) from error


def _import_named(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:
        raise ConfigError(
            f"--allow {name}: cannot be imported ({type(error).__name__}: {error})",
            hint="Give the import name of a package that is installed here or lies on PYTHONPATH.",
        ) from error
