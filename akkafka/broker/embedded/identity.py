"""Kafka's identity file (meta.properties): formats a data directory by it, and mends it when it was cut short.

`kafka-storage format` starts a JVM to write it, a second or more at each first start. With static voters it is the
only file that a single node needs: Kafka then takes its newest metadata version by itself, and leaves the optional
features that the tool would switch on (group.version, transaction.version) at 0; akkafka uses none of them. A copy
beside the data directory makes a lost or torn file no reason to lose the data.
"""

from __future__ import annotations

import base64
import re
import uuid
from pathlib import Path

from akkafka.broker.embedded.place import Place
from akkafka.errors import BrokerError

FILE = "meta.properties"
_LINE = re.compile(r"^(version|cluster\.id|node\.id|directory\.id)=(.*)$", re.MULTILINE)


def format_data(place: Place) -> str:
    """The cluster's id; formats the directory if it is new. Raises BrokerError if data have lost their identity."""
    place.data.mkdir(parents=True, exist_ok=True)
    file = place.data / FILE
    found, copy = _facts(_text(file)), _facts(_text(place.identity))
    if found is None:
        found = copy if copy is not None else _new(place)
        _write(place.data / FILE, found)
    if copy != found:
        _write(place.identity, found)
    return found["cluster.id"]


def _new(place: Place) -> dict[str, str]:
    data = [path.name for path in place.data.iterdir() if path.is_dir()]
    if data:
        raise BrokerError(
            f"{place.data} holds data ({', '.join(sorted(data)[:3])}, …), "
            f"but its identity file {FILE} is missing or cut short",
            hint="move the directory away to start empty, or choose another --state-dir",
        )
    return {"version": "1", "cluster.id": _random_id(), "node.id": "1", "directory.id": _random_id()}


def _random_id() -> str:
    """As Kafka prints an id: 16 bytes, URL-safe base64 without padding; none that starts with '-', like Kafka's own."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
        if not text.startswith("-"):
            return text


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _facts(text: str) -> dict[str, str] | None:
    """The four facts, or None if one is missing."""
    facts = dict(_LINE.findall(text))
    whole = len(facts) == 4 and facts["version"] == "1" and all(facts.values())
    return facts if whole else None


def _write(path: Path, facts: dict[str, str]) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text("".join(f"{key}={value}\n" for key, value in facts.items()), encoding="utf-8")
    temporary.replace(path)
