"""What a gate's counted journal records add up to: part of the fold, so the audit has it when the records are gone.

Every gate keeps them, from the tally that a batch carries (protocol/tally.py): at the journal nothing else is known of
its samples. They are of one size whatever the length of the training: of the epochs that a lane has left behind only
the total is kept, which is as good as one number each, as the epoch is hashed with every sample.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from akkafka.errors import ProtocolError
from akkafka.protocol.messages import JournalRecord
from akkafka.protocol.tally import TALLY_MASK

LATER: Final = 1  # last fields of LaneSums that an older akkafka has not written
EXACT: Final = 16  # staleness below is counted exactly, above by powers of two
BUCKETS: Final = EXACT + 20


class LaneSums(NamedTuple):
    """Of the counted records of one lane; how many they are says `GateState.applied`."""

    voided: int = 0
    told: int = 0  # records that carried a tally; others were written by an older akkafka, or by hand
    epoch: int = 0  # of the newest tally
    samples: int = 0  # of that epoch so far
    ids: int = 0
    past_samples: int = 0  # of all epochs before
    past_ids: int = 0
    first: int = 0  # rows of the newest tally
    beyond: int = 0
    zeroed: int = 0  # came later: manifests may lack it

    def after(self, record: JournalRecord) -> LaneSums:
        """With one more counted record; void ones bring their samples too: they were issued and dealt with."""
        voided, zeroed, tally = self.voided + bool(record.void), self.zeroed + bool(record.zeroed), record.tally
        if tally is None:
            return self._replace(voided=voided, zeroed=zeroed)
        new = tally.epoch != self.epoch
        return LaneSums(
            voided=voided,
            told=self.told + 1,
            epoch=tally.epoch,
            samples=tally.samples + (0 if new else self.samples),
            ids=(tally.ids + (0 if new else self.ids)) & TALLY_MASK,
            past_samples=self.past_samples + (self.samples if new else 0),
            past_ids=(self.past_ids + (self.ids if new else 0)) & TALLY_MASK,
            first=tally.first,
            beyond=tally.beyond,
            zeroed=zeroed,
        )


@dataclass(frozen=True, slots=True)
class Sums:
    """Of all lanes, and the staleness of the steps."""

    lanes: tuple[LaneSums, ...] = ()
    staleness: tuple[int, ...] = (0,) * BUCKETS

    def after(self, record: JournalRecord, version: int) -> Sums:
        """With a record that counts on top of `version`."""
        lanes = self.lanes + (LaneSums(),) * (record.lane + 1 - len(self.lanes))
        lanes = (*lanes[: record.lane], lanes[record.lane].after(record), *lanes[record.lane + 1 :])
        if record.void:
            return replace(self, lanes=lanes)
        at = bucket(version - record.hop.version)
        return Sums(lanes, (*self.staleness[:at], self.staleness[at] + 1, *self.staleness[at + 1 :]))

    def lane(self, lane: int) -> LaneSums:
        """Of one lane."""
        return self.lanes[lane] if lane < len(self.lanes) else LaneSums()

    @property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        """The lanes as a manifest holds them."""
        return tuple(tuple(lane) for lane in self.lanes)


def read_sums(rows: tuple[tuple[int, ...], ...], staleness: tuple[int, ...]) -> Sums:
    """From a manifest; a manifest of an older akkafka has none, and its records remain untold."""
    most = len(LaneSums._fields)
    if any(not most - LATER <= len(row) <= most for row in rows) or (staleness and len(staleness) != BUCKETS):
        raise ProtocolError(f"a manifest whose sums are not {most} numbers a lane")
    return Sums(tuple(LaneSums(*row) for row in rows), staleness or (0,) * BUCKETS)


def bucket(staleness: int) -> int:
    """Place in the histogram: 0 to 15 exactly, then 16 to 31, 32 to 63, …"""
    return staleness if staleness < EXACT else min(BUCKETS - 1, EXACT + staleness.bit_length() - EXACT.bit_length())


def bucket_name(at: int) -> str:
    """What a place in the histogram stands for."""
    if at < EXACT:
        return str(at)
    low = EXACT << (at - EXACT)
    return f"{low}-{2 * low - 1}" if at < BUCKETS - 1 else f"{low}+"
