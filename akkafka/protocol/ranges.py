"""Gates by number, as users name them: "0", "1-2"; and lists of such that name each gate once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from akkafka.errors import ConfigError

_RANGE = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?")


def gates_in(layers: str) -> range:
    """The gates that are named; empty for what is neither a number nor a range."""
    match = _RANGE.fullmatch(layers)
    return range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)


def each_once(key: str, told: Sequence[str], gates: int, hint: str) -> list[range]:
    """The ranges in `told`; raises ConfigError unless they name each gate of the network once, in order."""
    ranges = [gates_in(text) for text in told]
    for text, named in zip(told, ranges, strict=True):
        if not named:
            raise ConfigError(f"{key}: {text!r} is neither a gate nor a range such as '1-2'", hint=hint)
    found = [gate for named in ranges for gate in named]
    if found != list(range(gates)):
        raise ConfigError(f"{key} = {list(told)} names gates {found}, the network has 0 to {gates - 1}", hint=hint)
    return ranges
