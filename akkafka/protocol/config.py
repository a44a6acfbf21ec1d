"""From a TOML file and `--set` flags to a checked definition; all that is wrong is told at once, by table and key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from akkafka.data.dataset import DatasetInfo, DataSpec, completed, info
from akkafka.errors import ConfigError, ShapeError
from akkafka.nn.layers.embedding import EmbeddingSpec
from akkafka.protocol.definition import Definition
from akkafka.protocol.faults import Fault, faults_of, listed, unknown
from akkafka.protocol.faults import Path as KeyPath
from akkafka.protocol.merge import KEY as MERGE
from akkafka.protocol.merge import merged
from akkafka.protocol.override import parse_override

DEFAULT = "digits"
_TABLES = (
    "name",
    "seed",
    "batch_size",
    "loss",
    "loss_settings",
    "data",
    "optimizer",
    "lanes",
    "schedule",
    "snapshots",
    "wire",
    "gate",
    "merge",
    "run",
)


class RunSettings(BaseModel):
    """What one go at training takes; no part of the definition, so it may differ from go to go on the same network."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    epochs: int = Field(10, ge=1)
    """Training ends when each lane's source has been read so many times."""
    sentinels: int = Field(1, ge=1, le=64)
    """Training sentinels to be started; they share the training lanes."""
    validate_every: float = Field(20.0, gt=0)
    """Seconds between the starts of two passes over the validation set."""
    processes: tuple[str, ...] | None = Field(None, strict=False)
    """Which gates share a process, e.g. ["0", "1-2"]; by default each has its own. `akkafka plan` proposes some."""


@dataclass(frozen=True, slots=True)
class Config:
    """All that a configuration file says."""

    definition: Definition
    run: RunSettings


def load_config(path: Path | None, overrides: Sequence[str] = (), *, data_dir: Path | None = None) -> Config:
    """The network and run settings in the TOML file at `path`, or in the bundled one for digits if that is None.

    A bare word that is no file names a bundled file: `mnist` is configs/mnist.toml. `overrides` are `key.path=value`,
    applied in order (see override.py). `data_dir`: where an `npz:` data set is looked for.
    Raises ConfigError that lists all faults of the file, ShapeError if the layers do not fit each other.
    """
    file, shown = _find(path)
    document = _read(file, shown)
    changed = {text: parse_override(text).apply(document) for text in overrides}
    source = _Source(shown, changed)
    try:
        document = merged(document)
    except ConfigError as error:
        raise ConfigError(f"{source.name([Fault((MERGE,), '')])}: {error}", hint=error.hint) from error
    return _checked(source, document, data_dir)


def bundled() -> dict[str, Path]:
    """Name to path of the configuration files that come with akkafka, from an installed wheel or a checkout."""
    package = Path(__file__).resolve().parents[1]
    # A wheel carries them inside the package (pyproject.toml, force-include); in a checkout they lie beside it.
    found = next(
        (d for d in (package / "configs", package.parent / "configs") if (d / f"{DEFAULT}.toml").is_file()), None
    )
    return {file.stem: file for file in sorted(found.glob("*.toml"))} if found else {}


@dataclass(frozen=True, slots=True)
class _Source:
    """Where settings came from, to be named in errors."""

    file: str
    changed: Mapping[str, KeyPath]  # text of a --set flag -> what it changed

    def name(self, faults: Sequence[Fault]) -> str:
        """The file, and those flags that may have to do with one of the faults."""
        flags = [text for text, path in self.changed.items() if any(_touch(path, fault.path) for fault in faults)]
        return " with ".join([self.file, *(f"--set {text}" for text in flags)])


def _touch(one: KeyPath, other: KeyPath) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _find(path: Path | None) -> tuple[Path, str]:
    """The file, and how errors shall name it."""
    ours = bundled()
    name = DEFAULT if path is None else str(path)
    if path is not None and (path.exists() or name not in ours):
        return path, name
    if name not in ours:
        raise ConfigError("the configuration files that come with akkafka are missing", hint="Install akkafka anew.")
    return ours[name], ours[name].name


def _read(file: Path, shown: str) -> dict[str, Any]:
    try:
        text = file.read_bytes().decode()
    except OSError as error:
        known = ", ".join(bundled())
        raise ConfigError(
            f"{shown}: cannot be read: {error.strerror}", hint=f"Name a TOML file, or one of the bundled: {known}."
        ) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{shown}: line {line}: not UTF-8", hint="Save the file as UTF-8.") from error
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(
            f"{shown}: {_syntax(str(error), text)}", hint="See https://toml.io for the syntax."
        ) from error


def _syntax(said: str, text: str) -> str:
    """`line 3, column 7: invalid value` from what tomllib says."""
    what = re.sub(r" \(at [^)]*\)$", "", said)
    at = re.search(r"\(at line (\d+), column (\d+)\)$", said)
    lines = text.split("\n")
    line, column = (at[1], at[2]) if at else (str(len(lines)), str(len(lines[-1]) + 1))
    return f"line {line}, column {column}: {what[:1].lower()}{what[1:]}"


def _checked(source: _Source, document: Mapping[str, Any], data_dir: Path | None) -> Config:
    run, run_faults = _run(document.get("run", {}))
    faults = [*(unknown((key,), _TABLES) for key in document if key not in _TABLES), *run_faults]
    definition = None
    try:
        definition = Definition.model_validate({**_fields(document), **_data(document.get("data"), data_dir)})
        known = info(definition.data.name, data_dir=data_dir)
        _check_shards(definition, known)
        _check_tokens(definition, known)
    except ValidationError as error:
        faults.extend(dict.fromkeys(_located(fault, document) for fault in faults_of(error, Definition)))
    except ConfigError as error:  # between sections: names, lanes, shapes of neighbours
        if not faults:
            raise type(error)(f"{source.name([Fault((), '')])}: {error}", hint=error.hint) from error
        faults.append(Fault((), str(error), error.hint))
    if definition is None or run is None or faults:
        raise listed(source.name(faults), faults)
    return Config(definition, run)


def _run(table: Any) -> tuple[RunSettings | None, list[Fault]]:
    try:
        return RunSettings.model_validate(table), []
    except ValidationError as error:
        return None, faults_of(error, RunSettings, ("run",))


def _data(table: Any, data_dir: Path | None) -> dict[str, DataSpec]:
    """The data set with the shapes that it has under `data_dir`; nothing if Definition has faults of it to tell."""
    try:
        return {"data": completed(DataSpec.model_validate(table), data_dir=data_dir)}
    except (ValidationError, ConfigError):
        return {}


def _fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """The file's tables as the fields of a Definition; what is malformed stays so, for pydantic to tell."""
    fields = {key: value for key, value in document.items() if key in _TABLES}
    fields.pop("run", None)
    default = fields.pop("optimizer", None)
    if isinstance(fields.get("gate"), list):
        fields["gate"] = [_gate(gate, default) for gate in fields["gate"]]
    if "gate" in fields:
        fields["gates"] = fields.pop("gate")
    if isinstance(fields.get("lanes"), dict):
        fields["lanes"] = _lanes(fields["lanes"])
    return fields


def _gate(gate: Any, default: Any) -> Any:
    """The gate with its own optimizer, or the network's; one without a type is the network's with some keys changed."""
    if not isinstance(gate, dict) or default is None:
        return gate
    own = gate.get("optimizer", {})
    partial = isinstance(own, dict) and isinstance(default, dict) and "type" not in own
    return {**gate, "optimizer": {**default, **own} if partial else own or default}


def _lanes(lanes: dict[str, Any]) -> dict[str, Any]:
    """`train = 2` is short for one source with two lanes."""
    train = lanes.get("train")
    if isinstance(train, int) and not isinstance(train, bool):
        return {**lanes, "train": [{"lanes": train}]}
    return {**lanes, "train": [train]} if isinstance(train, dict) else lanes


def _located(fault: Fault, document: Mapping[str, Any]) -> Fault:
    """The fault at its place in the file: gates by name, an optimizer that is not a gate's own where it stands."""
    if fault.path[:1] != ("gates",):
        return fault
    if len(fault.path) < 2 or not isinstance(fault.path[1], int):
        return replace(fault, path=("gate", *fault.path[1:]))
    gate = document["gate"][fault.path[1]]
    table = gate if isinstance(gate, dict) else {}
    if fault.path[2:3] == ("optimizer",) and "optimizer" not in table:
        return replace(fault, path=fault.path[2:])
    return replace(fault, path=("gate", str(table.get("name", fault.path[1])), *fault.path[2:]))


def _check_shards(definition: Definition, known: DatasetInfo) -> None:
    """Shards lie inside the training samples, where their number is known without loading them."""
    samples = known.samples.get("train")
    for source in definition.plan.sources:
        if source.shard and samples:
            source.shard.check(samples - definition.data.holdout)


def _check_tokens(definition: Definition, known: DatasetInfo) -> None:
    """An embedding at the very front has a vector for every token, where it is known what tokens there are."""
    gate = definition.gates[0]
    first = gate.layers[0]
    if isinstance(first, EmbeddingSpec) and known.value_range and first.count <= known.value_range[1]:
        raise ShapeError(
            f"gate {gate.name!r} does not fit data {definition.data.name!r}, whose tokens run up to "
            f"{known.value_range[1]:.0f}: layer 0 (embedding): takes 0 to {first.count - 1}",
            hint=f"Let count = {known.value_range[1] + 1:.0f}.",
        )
