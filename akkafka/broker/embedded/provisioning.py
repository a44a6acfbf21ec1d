"""What must be on the machine before a broker can start: a Java, Kafka's jars, a place for their class data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from akkafka.broker.embedded.jars import cache_dir, fetch, read_lock
from akkafka.broker.embedded.java import find_java


@dataclass(frozen=True, slots=True)
class Provision:
    """What a start needs: the Java launcher, the class path (all jars), and which Kafka that is."""

    java: Path
    classpath: str
    kafka_version: str
    java_version: int
    archive: Path  # class data archive; may not exist yet


def provision(progress: Callable[[str], None]) -> Provision:
    """Make sure of Java and jars; offline when cached. Raises BrokerError: what is missing, and how to get it."""
    java = find_java()
    lock, cache = read_lock(), cache_dir()
    jars = fetch(lock, cache, progress)
    archive = cache / "class-data" / f"kafka-{lock.kafka_version}-java-{java.version}-{_key(java.path, jars)}.jsa"
    return Provision(java.path, ":".join(map(str, jars)), lock.kafka_version, java.version, archive)


def _key(java: Path, jars: tuple[Path, ...]) -> str:
    """Names an archive of class data by all it depends on: one that does not fit is passed over silently.

    Jars and Java count by path, size and time of change, as the JVM itself checks them.
    """
    home = java.resolve().parents[1]
    files = [path for path in (home / "lib" / "modules", home / "release", *jars) if path.exists()]
    stamps = [f"{path}|{path.stat().st_size}|{path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join(stamps).encode()).hexdigest()[:16]
