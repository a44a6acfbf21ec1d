"""What a supervisor and its fork server say to each other: lines of JSON over a socket."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Load:
    """The first order: what every child will need."""

    modules: list[str]


@dataclass(frozen=True, slots=True)
class Fork:
    """An order: become this program, in a session of its own."""

    number: int  # by which answers and signals name it
    command: list[str]  # behind the interpreter: -m MODULE … or -c CODE …
    log: str  # where it says what it has to say, behind what is there
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Signal:
    """An order: send a signal; nothing to one that has ended."""

    number: int
    signal: int


@dataclass(frozen=True, slots=True)
class Forked:
    """An answer: it runs."""

    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class Over:
    """An answer: it has ended; `code` as subprocess has it: negative for a signal."""

    number: int
    code: int


Line = Load | Fork | Signal | Forked | Over
_KINDS: Final[dict[str, type[Line]]] = {kind.__name__: kind for kind in (Load, Fork, Signal, Forked, Over)}


def encoded(line: Line) -> bytes:
    """As it goes over the socket."""
    return json.dumps([type(line).__name__, asdict(line)]).encode() + b"\n"


@dataclass(slots=True)
class Lines:
    """Cuts a stream into what was encoded."""

    _rest: bytes = b""

    def of(self, data: bytes) -> list[Line]:
        """The lines that are whole by now."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [_decoded(line) for line in whole]


def _decoded(line: bytes) -> Line:
    kind, fields = json.loads(line)
    return _KINDS[kind](**fields)
