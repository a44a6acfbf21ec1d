"""A package's source files as one hash: the same on every machine for the same sources, however they came there."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from akkafka.errors import ConfigError


class PackageError(ConfigError):
    """A layer or data set comes from a package that is not here, is another one here, or has no sources to compare."""


def package_name(module: str) -> str:
    """The outermost package around `module` that is not a mere namespace shared by several; or `module` itself."""
    parts = module.split(".")
    outer = (".".join(parts[:n]) for n in range(1, len(parts)))
    return next((name for name in outer if (spec := _spec(name)) is not None and spec.origin is not None), module)


def sources_hash(name: str) -> str:
    """sha256 in hex over the .py files of package `name`, in order of their paths: path, size and bytes of each.

    A module of one file is hashed alike. Nothing is imported (a namespace around it apart), and what the package takes
    from others is not in the hash. Raises PackageError if there are no files, as for what was typed into a prompt.
    """
    files = _files(_spec(name))
    if not files:
        raise PackageError(
            f"package {name} has no source files that other processes could compare theirs with",
            hint="Put the layer or data set into a package of .py files, and name it by --allow or an entry point.",
        )
    return _hash(name, files)


def package_version(name: str) -> str:
    """What the loaded package says, so that it is the same however it came here; else what was installed; else ""."""
    said = getattr(sys.modules.get(name), "__version__", None)
    if isinstance(said, str):
        return said
    installed = packages_distributions().get(name.split(".")[0], [])
    return version(installed[0]) if installed else ""


def _spec(name: str) -> ModuleSpec | None:
    if name == "__main__":  # another one in every process
        return None
    try:
        return find_spec(name)
    except (ImportError, ValueError):  # ValueError: a module that was made by hand, without a spec
        return None


def _files(spec: ModuleSpec | None) -> tuple[tuple[str, Path], ...]:
    """(path inside the package, file), in order of the paths."""
    if spec is None:
        return ()
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    found = {file.relative_to(folder).as_posix(): file for folder in folders for file in folder.rglob("*.py")}
    if not folders and spec.origin is not None and spec.origin.endswith(".py"):
        found = {Path(spec.origin).name: Path(spec.origin)}
    return tuple(sorted(found.items()))


@cache  # what this process runs are the sources as they were: files that change under it must not stop it
def _hash(name: str, files: tuple[tuple[str, Path], ...]) -> str:
    digest = hashlib.sha256()
    for path, file in files:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise PackageError(f"package {name}: {file.name} cannot be read: {error.strerror}") from error
        digest.update(f"{path}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
