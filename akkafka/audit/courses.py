"""What every batch of a training lane has to bring, by the definition alone: no data are needed for that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from akkafka.broker.network import Network
from akkafka.data.epochs import Cursor, Plan, Shard
from akkafka.errors import ConfigError
from akkafka.gate.sums import LaneSums
from akkafka.protocol.messages import LaneClaim, Mode
from akkafka.protocol.tally import TALLY_MASK, Tally, planned


@dataclass(frozen=True, slots=True)
class Way:
    """How a lane goes through its rows."""

    source: str  # lanes of one source share rows
    shard: str | None  # None: all rows, however many the data set has
    first: int
    stride: int
    batch_size: int
    seed: int


@dataclass(slots=True)
class Courses:
    """See the module's docstring. How many rows there are is told by the tallies: they must all tell the same."""

    ways: Mapping[int, Way]
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)  # source -> rows, as its first tally tells
    _plans: dict[tuple[int, int, int, int], Plan] = field(default_factory=dict)

    def tally(self, lane: int, seq: int, told: Tally) -> Tally | None:
        """What batch `seq` of a lane has to bring; None if nothing is known of the lane.

        Raises ConfigError if the rows that `told` names cannot be the lane's.
        """
        found = self._plan(lane, told)
        return planned(found[0], self._cursor(*found, seq)) if found is not None else None

    def cursor(self, lane: int, seq: int, told: Tally) -> Cursor | None:
        """Where batch `seq` lies. Raises as `tally` does."""
        found = self._plan(lane, told)
        return self._cursor(*found, seq) if found is not None else None

    def sums(self, lane: int, count: int, sums: LaneSums) -> LaneSums | None:
        """What the first `count` batches of a lane have to add up to; voids are as in `sums`. Raises as `tally`."""
        if count == 0:
            return LaneSums(voided=sums.voided, zeroed=sums.zeroed)
        told = Tally(sums.epoch, 0, 0, sums.first, sums.beyond)
        found = self._plan(lane, told)
        if found is None:
            return None
        plan, way = found
        parts: dict[int, tuple[int, int]] = {}
        for seq in range(count):
            tally = planned(plan, self._cursor(plan, way, seq))
            samples, ids = parts.get(tally.epoch, (0, 0))
            parts[tally.epoch] = samples + tally.samples, (ids + tally.ids) & TALLY_MASK
        epoch = max(parts)
        samples, ids = parts.pop(epoch)
        past_samples, past_ids = sum(s for s, _ in parts.values()), sum(i for _, i in parts.values()) & TALLY_MASK
        return LaneSums(
            sums.voided, count, epoch, samples, ids, past_samples, past_ids, sums.first, sums.beyond, sums.zeroed
        )

    def _plan(self, lane: int, told: Tally) -> tuple[Plan, Way] | None:
        way = self.ways.get(lane)
        if way is None:
            return None
        rows = (told.first, told.beyond)
        known = self.rows.setdefault(way.source, rows)
        shard = Shard.parse(way.shard) if way.shard is not None else None
        if rows != known or (shard is not None and rows != (shard.start, shard.stop)) or (shard is None and rows[0]):
            wanted = way.shard or f"{known[0]}:{known[1]}"
            raise ConfigError(f"it is of rows {rows[0]}:{rows[1]}, the lane's are {wanted}")
        key = (*rows, way.batch_size, way.seed)
        if key not in self._plans:
            self._plans[key] = Plan(rows[1], Shard(*rows), way.batch_size, way.seed)
        return self._plans[key], way

    @staticmethod
    def _cursor(plan: Plan, way: Way, seq: int) -> Cursor:
        return plan.cursor_of(way.first + seq * way.stride)


def courses_of(network: Network) -> Courses:
    """Of the definition's lanes and of those that were claimed."""
    definition = network.definition
    ways = {
        source.lane: Way(
            f"defined/{source.shard}",
            str(source.shard) if source.shard is not None else None,
            source.first,
            source.stride,
            definition.batch_size,
            definition.seed,
        )
        for source in definition.plan.sources
    }
    return Courses({**ways, **_claimed(network.claims)})


def _claimed(claims: Mapping[int, LaneClaim]) -> dict[int, Way]:
    """Claimed lanes go through their own data from the beginning (sentinel/source.py: claim_source)."""
    found: dict[int, Way] = {}
    for lane, claim in claims.items():
        try:
            source = json.loads(claim.source)
            way = Way(claim.source, source["shard"], 0, 1, int(source["batch_size"]), int(source["seed"]))
        except (ValueError, TypeError, KeyError):
            continue
        if claim.mode is Mode.TRAIN:
            found[lane] = way
    return found
