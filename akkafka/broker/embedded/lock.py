"""Makes kafka.lock anew: resolves Kafka's jars and writes down their hashes.

`python -m akkafka.broker.embedded.lock [version]`. For whoever raises Kafka's version; users never run it.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from akkafka.broker.embedded.jars import LOCK_FILE, read_lock
from akkafka.errors import BrokerError

SCALA = "2.13"
LOGGING = "org.apache.logging.log4j"


def resolve(version: str, repository: Path) -> list[dict[str, str]]:
    """Entries of the lock for Kafka `version`, jars downloaded into `repository`. Raises BrokerError on a mixed set."""
    found = _closure("org.apache.kafka", f"kafka_{SCALA}", version, repository)
    log4j = next(jar["version"] for jar in found if jar["artifact"] == "log4j-core")
    # Kafka logs through slf4j, and its POM leaves the binding to whoever packages it. It is resolved by itself:
    # resolved together with Kafka, log4j's own dependency management can change the versions of Kafka's jars.
    found += _closure(LOGGING, "log4j-slf4j-impl", log4j, repository)[:1]
    _refuse_mixed(found, version)
    return found


def _closure(group: str, artifact: str, version: str, repository: Path) -> list[dict[str, str]]:
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=repository, timeout=60)
    root = context.create_dependency(f"{group}:{artifact}:{version}")
    _, behind = context.resolver.resolve([root])
    wanted = sorted(
        (one for one in behind if one.scope in (None, "compile", "runtime")),
        key=lambda one: (one.groupId, one.artifactId),
    )
    return [_entry(dependency) for dependency in [root, *wanted]]


def _entry(dependency: Any) -> dict[str, str]:
    path = Path(dependency.artifact.resolve())
    return {
        "group": dependency.groupId,
        "artifact": dependency.artifactId,
        "version": dependency.version,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _refuse_mixed(jars: list[dict[str, str]], version: str) -> None:
    """One version of Kafka and one of log4j throughout, no artifact twice. Raises BrokerError."""
    for group in ("org.apache.kafka", LOGGING):
        versions = {jar["version"] for jar in jars if jar["group"] == group}
        if len(versions) != 1 or (group == "org.apache.kafka" and versions != {version}):
            raise BrokerError(
                f"{group}: asked for {version}, resolved to {sorted(versions)}", hint="do not commit this lock"
            )
    names = [(jar["group"], jar["artifact"]) for jar in jars]
    if len(set(names)) != len(names):
        raise BrokerError("an artifact was resolved twice", hint="do not commit this lock")


def main(version: str | None = None) -> None:
    """Write kafka.lock for `version` (default: the version it has)."""
    version = version or read_lock().kafka_version
    with tempfile.TemporaryDirectory() as directory:
        jars = resolve(version, Path(directory))
    LOCK_FILE.write_text(json.dumps({"kafka_version": version, "jars": jars}, indent=1) + "\n", encoding="utf-8")
    print(f"{LOCK_FILE.name}: Kafka {version}, {len(jars)} jars")


if __name__ == "__main__":
    main(*sys.argv[1:2])
