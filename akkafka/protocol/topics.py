"""A topic's name and settings come from one function each, the reason beside the setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "akkafka"
MAX_MESSAGE_BYTES: Final = 64 << 20
_MIB: Final = 1 << 20
_SMALLEST_SEGMENT: Final = 16 * _MIB  # each new one costs files and a flush of the one before

_LIMIT: Final = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
# Stopped on Friday and restarted in a week must work: edges and journals are trimmed by need, never by time.
_FOREVER: Final = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic to be created: name, partitions, Kafka settings."""

    name: str
    partitions: int
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics of one network with `gates` gates (0…gates-1) and `lanes` lanes."""

    network: str
    gates: int = 0
    lanes: int = 0

    def _name(self, what: str) -> str:
        return f"{PREFIX}.{self.network}.{what}"

    @property
    def definition(self) -> str:
        """The network's definition and the claims of lanes, in one partition, so in one order."""
        return self._name("definition")

    def forward(self, gate: int) -> str:
        """Activations into `gate`; gate == gates is the open end that sentinels read."""
        return self._name(f"forward.{gate}")

    def backward(self, gate: int) -> str:
        """Gradients that leave `gate` downwards; written by the sentinel for gate == gates; 0 tells: home."""
        return self._name(f"backward.{gate}")

    def journal(self, gate: int) -> str:
        """Updates of `gate`, in one partition: their order is the weights' history."""
        return self._name(f"journal.{gate}")

    def snapshot(self, gate: int) -> str:
        """States of `gate`."""
        return self._name(f"snapshot.{gate}")

    @property
    def data(self) -> str:
        """Data sets that batches refer to: manifests in partition 0, their pieces in partition 1."""
        return self._name("data")

    @property
    def metrics(self) -> str:
        """Figures from every process."""
        return self._name("metrics")

    @property
    def dead(self) -> str:
        """Refused records with the reason."""
        return self._name("dead")

    def all(self, largest: int = MAX_MESSAGE_BYTES) -> list[Topic]:
        """Every topic of the network; the definition's first. `largest`: bytes of a batch or update, at most."""
        edge = edge_settings(largest)
        edges = [Topic(name, self.lanes, edge) for i in range(self.gates + 1) for name in self._edge(i)]
        gates = [topic for i in range(self.gates) for topic in self._gate(i, largest)]
        return [
            Topic(self.definition, 1, definition_settings()),
            *edges,
            *gates,
            Topic(self.data, 2, data_settings()),
            Topic(self.metrics, 1, passing_settings(32 * _MIB)),
            Topic(self.dead, 1, passing_settings(64 * _MIB)),
        ]

    def _edge(self, i: int) -> tuple[str, str]:
        return self.forward(i), self.backward(i)

    def _gate(self, i: int, largest: int) -> tuple[Topic, Topic]:
        return Topic(self.journal(i), 1, journal_settings(largest)), Topic(self.snapshot(i), 1, snapshot_settings())


def network_of(topic: str) -> str | None:
    """The network whose definition topic this is, or None; a network's name has no dots (definition.NAME)."""
    head, tail = f"{PREFIX}.", ".definition"
    inside = topic[len(head) : -len(tail)]
    return inside if topic == f"{head}{inside}{tail}" and inside and "." not in inside else None


def definition_settings() -> dict[str, str]:
    """Kept for ever: without it nothing else in the log can be read."""
    return {**_FOREVER, "segment.bytes": str(_MIB)}


def segment_bytes(largest: int) -> int:
    """Of topics that are trimmed by need: only whole segments free disk, so they are no larger than they have to be.

    What is deleted soon gives its pages of memory to what is written next. Where new ones have to be found for every
    byte, as they were with 64 MiB for all, a write costs several times as much: on a virtual machine that returns
    unused memory to its host 4 to 7 ms a MiB instead of 1. A record has to fit with what its batch may hold besides.
    """
    return min(max(_SMALLEST_SEGMENT, 4 * largest), MAX_MESSAGE_BYTES)


def edge_settings(largest: int = MAX_MESSAGE_BYTES) -> dict[str, str]:
    """Trimmed by need (delete_records)."""
    return {**_LIMIT, **_FOREVER, "segment.bytes": str(segment_bytes(largest))}


def journal_settings(largest: int = MAX_MESSAGE_BYTES) -> dict[str, str]:
    """Kept until two verified snapshots stand behind it."""
    return {**_LIMIT, **_FOREVER, "segment.bytes": str(segment_bytes(largest))}


def snapshot_settings() -> dict[str, str]:
    """Compacted: only the newest snapshots matter; short segments, as the active one is never compacted."""
    return {
        **_LIMIT,
        "cleanup.policy": "compact",
        "segment.bytes": str(16 * _MIB),
        "segment.ms": "60000",
        "min.cleanable.dirty.ratio": "0.3",
        "delete.retention.ms": "60000",  # a reader of the whole topic takes far less than a minute
    }


def data_settings() -> dict[str, str]:
    """Compacted: a data set that is published twice is kept once."""
    return {
        **_LIMIT,
        "cleanup.policy": "compact",
        "segment.bytes": str(16 * _MIB),
        "min.cleanable.dirty.ratio": "0.3",
    }


def passing_settings(size: int) -> dict[str, str]:
    """Figures and refused records: of use today; bounded by a day and by bytes (Kafka counts whole segments)."""
    return {
        **_LIMIT,
        "cleanup.policy": "delete",
        "retention.ms": str(24 * 3600 * 1000),
        "retention.bytes": str(size),
        "segment.bytes": str(4 * _MIB),
    }
