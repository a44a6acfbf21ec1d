"""How a core finds back to the journal, once it no longer knows at which offsets its records lie. Pure.

All speculation is thrown away, the journal is read and folded from the last certain state, and then records of ours
that are still due are folded on top again, to be appended once more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from akkafka.gate import events as e
from akkafka.gate.lane import Lane, Pending
from akkafka.gate.recovery import JournalEntry
from akkafka.gate.state import CountingRule, GateState, Params
from akkafka.gate.versions import Versions
from akkafka.protocol.messages import JournalRecord


class Refold:
    """`begin`, then ask for the `next` thing to do as often as it is answered, until the core is no longer `adrift`."""

    def __init__(
        self,
        rule: CountingRule,
        lanes: Sequence[Lane],
        versions: Versions,
        pending: deque[Pending],
        weights_of: Callable[[JournalRecord], Params | None],
    ) -> None:
        """`pending`: our records on their way. `weights_of` a record's forward; None: they are being looked for."""
        self.adrift = False
        self._rule, self._lanes, self._versions, self._pending = rule, lanes, versions, pending
        self._weights_of = weights_of
        self._reading = False
        self._entries: deque[JournalEntry] | None = None  # that are not folded yet; None: the journal is not read

    @property
    def named(self) -> set[int]:
        """Versions whose weights the journal's records may need."""
        return {record.hop.version for record, _ in self._entries or () if record is not None}

    def begin(self) -> None:
        """Throw speculation away."""
        self.adrift = True
        self._versions.roll_back()
        for pending in self._pending:
            pending.state = None

    def next(self) -> e.ReadJournal | e.Fold | None:
        """What has to be done next; None: an answer is awaited, or it is over, and nothing is adrift any more.

        No append may be unanswered: the journal has to be read behind it.
        """
        if self._reading:
            return None
        if self._entries is None:
            self._reading = True
            return e.ReadJournal(self._versions.certain.next_offset)
        while self._entries:
            record, value = self._entries[0]
            if record is not None and self._rule.counts(self._versions.certain, record):
                return self._fold(self._versions.certain, record, value)
            self._entries.popleft()
            self._versions.pass_over()
        return self._next_of_ours()

    def read(self, event: e.JournalRead) -> None:
        """Take the journal."""
        self._reading = False
        self._entries = deque(event.records)

    def folded(self, event: e.Folded) -> bool:
        """Take a state; True if it is certain, its record being one of the journal's, not one of ours on top."""
        self._versions.extend(event.state)
        if self._entries:
            self._entries.popleft()
            self._drop(event.job.record)
            return True
        pending = next(p for p in self._pending if p.computed.value is event.job.value)
        pending.state = event.state
        return False

    def _fold(self, base: GateState, record: JournalRecord, value: bytes) -> e.Fold | None:
        then = self._weights_of(record)
        return e.Fold(base, record, value, then) if then is not None else None

    def _drop(self, record: JournalRecord) -> None:
        """Somebody's record counts for this batch (ours or another's copy): nothing is due any more."""
        self._lanes[record.lane].stash.pop(record.seq, None)
        self._keep_pending(lambda own: (own.lane, own.seq) != (record.lane, record.seq))

    def _keep_pending(self, due: Callable[[JournalRecord], bool]) -> None:
        kept = [pending for pending in self._pending if due(pending.computed.record)]
        self._pending.clear()
        self._pending.extend(kept)

    def _due(self, record: JournalRecord) -> bool:
        """False if the journal counts this batch already."""
        return record.seq >= self._versions.certain.applied[record.lane]

    def _next_of_ours(self) -> e.Fold | None:
        """The journal is folded: our own due records on top again."""
        self._keep_pending(self._due)
        for pending in self._pending:
            pending.appended = False
            if pending.state is None:
                record = pending.computed.record
                if self._rule.counts(self._versions.newest, record):
                    return self._fold(self._versions.newest, record, pending.computed.value)
                self._give_back(pending)
                break
        self.adrift = False
        self._entries = None
        return None

    def _give_back(self, late: Pending) -> None:
        """Others' records have come before this one, and now it is out of reach: back among the inputs, to be zeroed.

        What waits behind it was made on top of it and goes back, too.
        """
        at = self._pending.index(late)
        while len(self._pending) > at:
            job = self._pending.pop().computed.job
            self._lanes[job.message.lane].backwards.appendleft((0, e.BackwardArrived(job.offset, job.message)))
