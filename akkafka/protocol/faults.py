"""What is wrong with a user's settings, in the user's words: pydantic names models, we name keys and what they take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from akkafka.errors import ConfigError
from akkafka.nn.registry import nearest
from akkafka.sentences import sentence

Path = tuple[str | int, ...]

_TOLD = "told"  # type of the pydantic error that carries a ConfigError's words
_TAKES = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
    "literal_error": "takes {expected}",
    "too_short": "takes at least {min_length}",
    "too_long": "takes at most {max_length}",
    "string_too_short": "takes at least {min_length} letters",
    "string_too_long": "takes at most {max_length} letters",
    "finite_number": "must be finite",
}
_KINDS = {
    "int": "takes a whole number",
    "float": "takes a number",
    "bool": "takes true or false",
    "string": "takes a text in quotes",
    "tuple": "takes a list",
    "list": "takes a list",
    "model": "takes a table",
    "dict": "takes a table",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a file."""

    path: Path  # keys and positions that lead to it, e.g. ("schedule", "window"); empty: the whole
    text: str  # what is expected, and what came
    hint: str = ""

    def __str__(self) -> str:
        return f"{place(self.path)} {self.text}".replace(" : ", ": ", 1) if self.path else self.text


def place(path: Path) -> str:
    """`[schedule] window` for ("schedule", "window"), or `[gate.fc1] layers.2`: the table's head, then the key."""
    words = [str(part) for part in path]
    head = 2 if words[0] == "gate" else 1
    table, key = ".".join(words[:head]), ".".join(words[head:])
    return f"[{table}] {key}" if key else table


def faults_of(error: ValidationError, model: type[BaseModel], at: Path = ()) -> list[Fault]:
    """Every fault that pydantic found in the data of `model`, which lies at `at`."""
    details = error.errors(include_url=False)
    return [_fault(one, model, at) for one in details if not _echo(one, details)]


def _echo(one: ErrorDetails, others: Sequence[ErrorDetails]) -> bool:
    """True for a list that is called too short only because entries of it are wrong."""
    depth = len(one["loc"])
    return one["type"] == "too_short" and any(len(o["loc"]) > depth and o["loc"][:depth] == one["loc"] for o in others)


def listed(origin: str, faults: Sequence[Fault]) -> ConfigError:
    """One error that tells all the faults of a file; it takes at least one."""
    if len(faults) == 1:
        return ConfigError(f"{origin}: {faults[0]}", hint=faults[0].hint)
    lines = [f"  {fault}{f' ({fault.hint})' if fault.hint else ''}" for fault in faults]
    return ConfigError("\n".join([f"{origin}: {len(faults)} faults", *lines]))


def unknown(path: Path, known: Iterable[str]) -> Fault:
    """A key that nobody knows, with those most like it."""
    return Fault(path, "is no key that is known here", nearest(str(path[-1]), known))


T = TypeVar("T")


def told(read: Callable[[Any], T], data: Any) -> T:
    """`read(data)` for use in a validator: a ConfigError becomes one fault among others, and ends no search."""
    try:
        return read(data)
    except ConfigError as error:
        raise PydanticCustomError(_TOLD, "{said}", {"said": str(error), "hint": error.hint}) from error


def _fault(details: ErrorDetails, model: type[BaseModel], at: Path) -> Fault:
    path = (*at, *details["loc"])
    kind = details["type"]
    if kind == "extra_forbidden":
        inner = _inner(model, details["loc"][:-1])
        return unknown(path, _keys(inner) if inner else ())
    if kind == _TOLD:
        return Fault(path, f": {details['ctx']['said']}", details["ctx"]["hint"])
    if kind == "missing":
        return Fault(path, "is missing", _sentence(model, details["loc"]))
    return Fault(path, f"{_takes(details)}, got {_short(details['input'])}", _sentence(model, details["loc"]))


def _takes(details: ErrorDetails) -> str:
    kind, facts = details["type"], details.get("ctx", {})
    if kind in _TAKES:
        return _TAKES[kind].format(**facts)
    message = details["msg"]
    return _KINDS.get(kind.split("_")[0], message[:1].lower() + message[1:])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _sentence(model: type[BaseModel], path: Path) -> str:
    """The sentence that stands under the field at `path`."""
    inner = _inner(model, path[:-1])
    if not inner or not path:
        return ""
    found = next((name for name, field in inner.model_fields.items() if (field.alias or name) == path[-1]), None)
    return sentence(inner, found) if found else ""


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _inner(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model that lies at `path` in `model`: positions in lists are passed over."""
    for key in path:
        if isinstance(key, int):
            continue
        field = next((f for name, f in model.model_fields.items() if (f.alias or name) == key), None)
        found = _model_in(field.annotation) if field else None
        if found is None:
            return None
        model = found
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)
