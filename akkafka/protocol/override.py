"""`--set key.path=value`: one setting of a file, changed from the command line and checked like the rest of the file.

The path goes by keys, positions in lists and names of gates: `schedule.window=3`, `lanes.train.0.lanes=2`,
`gate.fc1.optimizer.lr=0.1` or `gate.0.optimizer.lr=0.1`. The value is TOML; a bare word is a text, and `.1` is 0.1.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from dataclasses import dataclass
from typing import Any

from akkafka.errors import ConfigError
from akkafka.nn.registry import nearest
from akkafka.protocol.faults import Path

_DATES = (datetime.date, datetime.time)  # datetime is a date
# TOML wants digits on both sides of the point.
_SHORT_FLOAT = re.compile(r"[+-]?(\d+\.|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_OPENERS = ("[", "{", '"', "'")


@dataclass(frozen=True, slots=True)
class Override:
    """One `--set`, read but not yet applied."""

    text: str  # as the user gave it
    path: tuple[str, ...]
    value: Any

    def apply(self, document: dict[str, Any]) -> Path:
        """Change `document` in place; tables that are not there are made, and checked with the rest later.

        Returns the path as faults name it. Raises ConfigError where the path leads nowhere.
        """
        node: Any = document
        walked: list[str | int] = []
        for key in self.path[:-1]:
            step = self._step(node, key, walked)
            node = node.setdefault(step, {}) if isinstance(node, dict) else node[step]
            walked.append(_name(node, step, walked))
        last = self._step(node, self.path[-1], walked)
        node[last] = self.value
        return (*walked, last)

    def _step(self, node: Any, key: str, walked: list[str | int]) -> str | int:
        """What `node` calls `key`: the key itself in a table, a position in a list."""
        if isinstance(node, dict):
            return key
        here = ".".join(map(str, walked))
        if not isinstance(node, list):
            raise ConfigError(f"--set {self.text}: {here} is {node!r}, it has no key {key!r}")
        names = [entry.get("name") if isinstance(entry, dict) else None for entry in node]
        if key in names:
            return names.index(key)
        if key.isdecimal() and int(key) < len(node):
            return int(key)
        known = [name for name in names if isinstance(name, str)]
        takes = f"0 to {len(node) - 1}{' or a name' if known else ''}" if node else "nothing: it is empty"
        raise ConfigError(
            f"--set {self.text}: {here} has no entry {key!r}, takes {takes}", hint=nearest(key, known) if known else ""
        )


def parse_override(text: str) -> Override:
    """From `key.path=value`; raises ConfigError if it is not of that form."""
    left, equals, right = text.partition("=")
    path = tuple(part.strip() for part in left.split("."))
    if not equals or not all(path):
        raise ConfigError(f"--set {text}: takes key.path=value", hint="For instance --set schedule.window=3")
    return Override(text, path, _value(text, right.strip()))


def _value(text: str, word: str) -> Any:
    try:
        read = tomllib.loads(f"value = {word}")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        if _SHORT_FLOAT.fullmatch(word):
            return float(word)
        if word.startswith(_OPENERS):
            raise ConfigError(f"--set {text}: the value is no TOML: {error}") from error
        return word
    if len(read) > 1 or isinstance(read["value"], _DATES):  # a line feed inside, or a bare word like 2030-01-01
        return word
    return read["value"]


def _name(node: Any, step: str | int, walked: list[str | int]) -> str | int:
    """Faults name a gate by its name, wherever it stands."""
    if walked == ["gate"] and isinstance(node, dict):
        return str(node.get("name", step))
    return step
