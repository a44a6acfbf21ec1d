"""Named things from plain data: finds a model by its "type" and turns every mistake into an error that
names the key.

Layers, losses, optimizers and schedules all come out of a configuration file or a definition in this way.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from akkafka.errors import ConfigError
from akkafka.sentences import sentence


class Frozen(BaseModel):
    """Settings of a named thing: frozen, strict, and no key is ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


T = TypeVar("T")
Model = TypeVar("Model", bound=Frozen)


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint: the names most like `name`, or all of them where none is."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(known)}"


def lookup(kind: str, name: object, table: Mapping[str, T]) -> T:
    """The entry of `table` under `name`; raises ConfigError with the nearest names if there is none."""
    if isinstance(name, str) and name in table:
        return table[name]
    raise ConfigError(f"unknown {kind} {name!r}", hint=nearest(str(name), table))


def from_table(kind: str, data: Mapping[str, Any], table: Mapping[str, type[Model]]) -> Model:
    """The model that `data["type"]` names, filled with the rest of `data`.

    Raises ConfigError: no type, unknown type or key (with the nearest names), value out of range (with the
    key).
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{kind}: got {data!r}, takes a table with the key 'type'")
    if "type" not in data:
        raise ConfigError(f"{kind}: the key 'type' is missing", hint=f"known: {', '.join(sorted(table))}")
    model = lookup(kind, data["type"], table)
    try:
        return model.model_validate(dict(data))
    except ConfigError as err:  # a model within, such as a layer of a block, has told its story
        raise ConfigError(f"{kind} {data['type']}: {err}", hint=err.hint) from err
    except ValidationError as err:
        raise _translated(kind, str(data["type"]), model, err) from err


def _translated(kind: str, name: str, model: type[Frozen], err: ValidationError) -> ConfigError:
    first = err.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "settings"
    if first["type"] == "extra_forbidden":
        return ConfigError(f"{kind} {name}: unknown key '{key}'", hint=nearest(key, model.model_fields))
    return ConfigError(f"{kind} {name}: {key}: {_told(first)}", hint=_description(model, first))


def _told(error: ErrorDetails) -> str:
    message = error["msg"][:1].lower() + error["msg"][1:]
    return message if error["type"] == "missing" else f"{message}, got {error['input']!r}"


def _description(model: type[Frozen], error: ErrorDetails) -> str:
    return sentence(model, str(error["loc"][0])) if error["loc"] else ""
