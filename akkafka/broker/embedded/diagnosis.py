"""Reads from the last lines of Kafka's logs why it ended, so that an error says the cause, not only the exit code."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from akkafka.broker.embedded.place import Place

TAIL_BYTES = 16 * 1024
SHOWN_LINES = 6
FULL_BYTES = 1024 * 1024

Kind = Literal["port", "disk", "memory", "data", "java", "unknown"]

# The first that is found wins; phrases as Java 17-25 and Kafka 4 print them.
_SIGNS: tuple[tuple[str, Kind, str], ...] = (
    ("Address already in use", "port", "its port is taken by another program"),
    ("No space left on device", "disk", "the disk is full"),
    ("Disk quota exceeded", "disk", "the disk quota is used up"),
    ("Read-only file system", "disk", "the state directory is read-only"),
    ("AccessDeniedException", "disk", "it may not write to its state directory"),
    ("Could not reserve enough space", "memory", "the machine has not enough memory for its heap"),
    ("Cannot allocate memory", "memory", "the machine has not enough memory"),
    ("java.lang.OutOfMemoryError", "memory", "its heap is too small (setting heap_mb)"),
    ("UnsupportedClassVersionError", "java", "the Java is too old for it"),
    ("Could not find or load main class", "java", "its jars are not where they were"),
    ("meta.properties", "data", "its data directory is incomplete or belongs to another node"),
    ("InconsistentClusterIdException", "data", "its data directory belongs to another cluster"),
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why the JVM ended: a kind for decisions, a text for people (cause, exit code, last lines)."""

    kind: Kind
    text: str


def diagnose(place: Place, exit_code: int, log_start: int = 0) -> Diagnosis:
    """Look at the console (it is new with each start) and at server.log from byte `log_start` on."""
    lines = [*tail(place.logs / "console.log"), *tail(place.logs / "server.log", start=log_start)]
    ending = f"killed by signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    if exit_code in (
        -9,
        -15,
        143,
        137,
    ):  # killed from outside: the log has no cause to tell, and old lines would mislead
        return Diagnosis("unknown", ending)
    text = "\n".join(lines)
    for sign, kind, meaning in _SIGNS:
        if sign in text:
            return Diagnosis(kind, f"{meaning} ({ending})")
    if disk_is_full(place):  # then the log could not be written either
        return Diagnosis("disk", f"the disk is full ({ending})")
    shown = [line for line in lines if not line.lstrip().startswith("at ")][-SHOWN_LINES:]
    return Diagnosis("unknown", f"{ending}; last lines of its log:\n  " + "\n  ".join(shown or ["(nothing)"]))


def disk_is_full(place: Place) -> bool:
    """True if less than 1 MiB is left for the state directory."""
    free = os.statvfs(place.root)
    return free.f_bavail * free.f_frsize < FULL_BYTES


def size_of(path: Path) -> int:
    """Bytes in a file; 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def tail(path: Path, count: int = 40, start: int = 0) -> list[str]:
    """The last lines of a file, at most `count`, none from before byte `start`; [] if there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            rolled_over = size < start
            file.seek(max(0 if rolled_over else start, size - TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace").splitlines()[-count:]
    except OSError:
        return []
