"""What an audit finds, by place: gate, lane, batch, offset."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

SHOWN = 20  # faults of one kind that are told one by one: a lost record makes hundreds of others look wrong


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    kind: str  # a word for programs: "missing", "history", …
    message: str
    gate: int | None = None
    lane: int | None = None
    seq: int | None = None
    offset: int | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """Plain JSON values, without what is not known."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        places = (("gate", self.gate), ("lane", self.lane), ("batch", self.seq), ("offset", self.offset))
        told = ", ".join(f"{name} {value}" for name, value in places if value is not None)
        return f"{told}: {self.message}" if told else self.message


@dataclass(slots=True)
class Findings:
    """Collects them; counts what is not told."""

    told: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        kind: str,
        message: str,
        *,
        gate: int | None = None,
        lane: int | None = None,
        seq: int | None = None,
        offset: int | None = None,
    ) -> None:
        """One more; beyond `SHOWN` of a kind it is only counted."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= SHOWN:
            self.told.append(Finding(kind, message, gate, lane, seq, offset))

    @property
    def untold(self) -> dict[str, int]:
        """Kind -> how many more there are."""
        return {kind: count - SHOWN for kind, count in self.counts.items() if count > SHOWN}
