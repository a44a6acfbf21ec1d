"""Which packages besides akkafka a network comes from: every process must run the sources it was defined with.

Names on the wire are compared and printed, never imported: what is here was named on the command line or installed with
an entry point (akkafka.nn.allow, akkafka.data.registry).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from akkafka.data.registry import made_in, origin
from akkafka.nn.losses import LOSSES
from akkafka.nn.registry import Frozen
from akkafka.nn.spec import LAYERS, LayerSpec
from akkafka.optim.optimizer import OPTIMIZERS, OptimizerSpec
from akkafka.optim.schedule import SCHEDULES, ScheduleSpec
from akkafka.protocol.sources import PackageError, package_name, package_version, sources_hash

MAX_PACKAGES = 64
# Names are printed, also in hints to be typed, so they hold nothing that a terminal or a shell would act on.
_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}(\.[A-Za-z_][A-Za-z0-9_]{0,63}){0,7}"
_THING = r"(?s)^(layer|optimizer|schedule|loss|data) .+$"
_NOT_IN_VERSIONS = r"[^A-Za-z0-9.+!_-]"
_TABLES: Mapping[str, Mapping[str, Any]] = {
    "layer": LAYERS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "loss": LOSSES,
}
_BASES: Mapping[str, type[Frozen]] = {"layer": LayerSpec, "optimizer": OptimizerSpec, "schedule": ScheduleSpec}


class PackageSpec(BaseModel):
    """A package that is not akkafka's own, and what the network uses of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=f"^{_NAME}$")
    """Import name, as `--allow` takes it."""
    version: str = Field("", pattern=r"^[A-Za-z0-9.+!_-]{0,64}$")
    """For people; empty if it tells none. Whether two are the same package is decided by their sources."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of its source files (see sources.py)."""
    provides: tuple[Annotated[str, Field(pattern=_THING)], ...] = Field(strict=False, min_length=1, max_length=1024)
    """What is used of it, as kind and name, sorted: "data noisy-digits", "layer folded-relu"."""

    def __str__(self) -> str:
        return f"{f'{self.name} {self.version}'.strip()} (sha256 {self.sha256[:12]})"


Packages = tuple[PackageSpec, ...]
_ADAPTER: TypeAdapter[Packages] = TypeAdapter(Packages)


def packages_in_use(gates: Iterable[BaseModel], loss: str, data: str) -> Packages:
    """The packages besides akkafka that layers, optimizers, loss and data come from, by name.

    Data that this process does not have are passed over. Raises PackageError for one without sources to compare.
    """
    things = {**_in_use(gates, loss), f"data {data}": origin(data)}
    by_package: dict[str, list[str]] = {}
    for thing, module in sorted(things.items()):
        if module is not None and not _ours(module):
            by_package.setdefault(package_name(module), []).append(thing)
    return tuple(_described(name, by_package[name]) for name in sorted(by_package))


def read_packages(data: object) -> Packages:
    """The packages in a definition's JSON; none if they are malformed: that is told with the definition's other faults.

    Looked at before the definition is checked as a whole, since a layer of a package that is missing here is unknown.
    """
    try:
        return _ADAPTER.validate_python(data, strict=False)
    except ValidationError:
        return ()


def check_here(packages: Packages) -> None:
    """Raise PackageError unless what these provide comes from the same sources here.

    Data alone may be missing: only who loads them needs them.
    """
    for package in packages:
        for thing in package.provides:
            module = _module(thing)
            if module is not None:
                _check_same(thing, package, module)
            elif not thing.startswith("data "):
                raise _missing(thing, package)


def check_named(packages: Packages, gates: Iterable[BaseModel], loss: str) -> None:
    """Raise PackageError if a layer, an optimizer or the loss is akkafka's own in the definition, but not here."""
    named = {thing for package in packages for thing in package.provides}
    for thing, module in _in_use(gates, loss).items():
        if not _ours(module) and thing not in named:
            raise PackageError(
                f"{_quoted(thing)} is akkafka's own in the definition, here it comes from module {module}",
                hint=f"Leave --allow {package_name(module)} away, or define another network with it.",
            )


def _missing(thing: str, package: PackageSpec) -> PackageError:
    return PackageError(
        f"{_quoted(thing)} comes from package {package}, which this process does not have",
        hint=f"Install {package.name} here or put it on PYTHONPATH, and start again with --allow {package.name}.",
    )


def _check_same(thing: str, expected: PackageSpec, module: str) -> None:
    found = None if _ours(module) else _described(package_name(module), [thing])
    if found is None or (found.name, found.sha256) != (expected.name, expected.sha256):
        raise PackageError(
            f"{_quoted(thing)} is another one here: expected package {expected}, found {found or 'it in akkafka'}",
            hint=f"Bring {expected.name} as it was when the network was defined, or define another network with what "
            "is here: the weights of this one follow from the sources it was defined with.",
        )


def _described(name: str, things: list[str]) -> PackageSpec:
    if not re.fullmatch(_NAME, name):
        raise PackageError(f"package {name!r}: its import name takes {_NAME}", hint="Give it a name in plain ASCII.")
    said = re.sub(_NOT_IN_VERSIONS, "_", package_version(name))[:64]
    return PackageSpec(name=name, version=said, sha256=sources_hash(name), provides=tuple(things))


def _in_use(gates: Iterable[BaseModel], loss: str) -> dict[str, str]:
    """ "layer linear" -> the module it comes from; of layers, optimizers, their schedules and the loss."""
    found = {f"{kind} {spec.type}": type(spec).__module__ for gate in gates for kind, spec in _specs(gate)}
    return {**found, f"loss {loss}": made_in(LOSSES[loss])}


def _specs(value: Any) -> Iterator[tuple[str, Any]]:
    """(kind, spec) of every spec in a model, in blocks of blocks too."""
    if isinstance(value, BaseModel):
        yield from ((kind, value) for kind, base in _BASES.items() if isinstance(value, base))
        for name in type(value).model_fields:
            yield from _specs(getattr(value, name))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _specs(one)


def _module(thing: str) -> str | None:
    """The module that "layer linear" comes from here, or None if it is not here."""
    kind, _, name = thing.partition(" ")
    if kind == "data":
        return origin(name)
    found = _TABLES.get(kind, {}).get(name)
    return None if found is None else made_in(found)


def _ours(module: str) -> bool:
    return module.split(".")[0] == "akkafka"


def _quoted(thing: str) -> str:
    kind, _, name = thing.partition(" ")
    return f"{kind} {name!r}"
