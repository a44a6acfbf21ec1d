"""Rebuilds a gate's state from the log and compares it, wherever something else tells what it should be.

What else tells: newer snapshots, which gates wrote from their memory, and the hash of that memory, which they told with
their figures. The journal is read twice, first for the versions that its records name: so only those weights are kept
that a later record needs, however long the journal is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass

from akkafka.audit.told import Told, told_hashes
from akkafka.broker.base import Broker, Reader, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.reading import read_range, reading
from akkafka.errors import LogLostError, ReplayError
from akkafka.gate.beginning import initial_state_of
from akkafka.gate.fingerprint import fingerprint
from akkafka.gate.model import Model
from akkafka.gate.recovery import Folding, JournalEntry, MissingWeightsError, begin, fold, read_entry
from akkafka.gate.restore import counting_rule, read_shelf, ring
from akkafka.gate.snapshot import Shelf, Snapshot
from akkafka.gate.state import GateState

CHUNK_RECORDS = 512
CHUNK_BYTES = 64 << 20  # of journal records held at once, about


@dataclass(frozen=True, slots=True)
class Image:
    """What a state should be, without its arrays."""

    what: str  # who says so
    version: int
    hash: str
    chain: bytes | None = None  # None: not told
    applied: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison."""

    what: str
    version: int
    differs: tuple[str, ...]  # empty: equal


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """What a replay has found."""

    began: str  # "the definition" or "the snapshot of version …"
    first_version: int
    first_offset: int
    state: GateState
    checks: tuple[Check, ...]
    notes: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Something was compared, and all of it is equal."""
        return bool(self.checks) and not any(check.differs for check in self.checks)


def image_of(snapshot: Snapshot) -> Image:
    """What a snapshot says."""
    state = snapshot.state
    what = f"snapshot of version {state.version} by {snapshot.manifest.writer}"
    return Image(what, state.version, fingerprint(state), state.chain, state.applied)


def differences(state: GateState, image: Image) -> tuple[str, ...]:
    """In what a rebuilt state is not what it should be."""
    found = []
    if image.chain is not None and image.chain != state.chain:
        found.append(f"history: {state.chain.hex()} rebuilt, {image.chain.hex()} there")
    if image.applied is not None and image.applied != state.applied:
        found.append(f"applied batches by lane: {state.applied} rebuilt, {image.applied} there")
    hashed = fingerprint(state)
    if image.hash != hashed:
        found.append(f"weights and optimizer state: {hashed} rebuilt, {image.hash} there")
    return tuple(found)


async def replay(
    broker: Broker, network: Network, gate: int, *, to: int | None = None, from_zero: bool = False
) -> Replayed:
    """Fold the journal again, from the definition or a snapshot; raises ReplayError or LogLostError if it cannot be."""
    where = TopicPartition(network.topics.journal(gate), 0)
    async with reading(broker, f"replay-{gate}") as reader:
        told = await told_hashes(broker, network, gate)  # before the journal: what gates tell is in it by then
        low, high = (await broker.bounds([where]))[where]
        shelf = await read_shelf(broker, reader, network, gate)
        journal = _Journal(reader, network, where, low, high)
        model = Model(network.definition, gate, network.run, "")
        images = [*map(image_of, shelf.snapshots()), *map(_told_image, told)]
        initial = await initial_state_of(broker, network, gate, model) if low == 0 else None
        starts = _starts(shelf, initial, low, to=to, from_zero=from_zero, where=where)
        folding = Folding(counting_rule(network, gate), model.step, ring(network))
        return await _first_that_works(journal, starts, folding, images, shelf.faults, to)


def _told_image(told: Told) -> Image:
    return Image(f"memory of {told.process} at version {told.version}", told.version, told.hash)


def _starts(
    shelf: Shelf, initial: GateState | None, low: int, *, to: int | None, from_zero: bool, where: TopicPartition
) -> list[tuple[GateState, Mapping[int, GateState]]]:
    """Where to begin, the best first: with something behind it to compare, but with no more to fold than needed."""
    if from_zero:
        if initial is None:
            raise ReplayError(
                f"{where.topic} begins at offset {low}: the records before were trimmed behind verified snapshots",
                hint="Replay without --from-zero, or train with --keep-log next time: it keeps the whole log.",
            )
        return [(initial, {})]
    starts = [start for start in begin(shelf.snapshots(), initial, low) if to is None or start[0].version <= to]
    if not starts:
        faults = "; ".join(shelf.faults) or "nothing else is broken"
        wanted = "" if to is None else f" of version {to} or before"
        raise LogLostError(
            f"{where.topic} begins at offset {low}, and no whole snapshot{wanted} reaches that far ({faults})",
            hint="Ask for a later version. If none can be had, the broker has lost a part of its log.",
        )
    snapshots = [start for start in starts if start[0].version > 0]
    return [*reversed(snapshots)] if len(snapshots) > 1 else [*reversed(starts)]


async def _first_that_works(
    journal: _Journal,
    starts: Iterable[tuple[GateState, Mapping[int, GateState]]],
    folding: Folding,
    images: list[Image],
    faults: list[str],
    to: int | None,
) -> Replayed:
    problem: MissingWeightsError | None = None
    for start, older in starts:
        try:
            return await _replayed(journal, start, older, folding, images, faults, to)
        except MissingWeightsError as error:
            problem = error  # this snapshot lies too far back for some record: a newer one has what it needs
    assert problem is not None, "_starts gives at least one"
    raise problem


async def _replayed(
    journal: _Journal,
    start: GateState,
    older: Mapping[int, GateState],
    folding: Folding,
    images: list[Image],
    faults: list[str],
    to: int | None,
) -> Replayed:
    last_use = await journal.last_uses(start.next_offset)
    stops = sorted({image.version for image in images if image.version > start.version} | ({to} if to else set()))
    state, states = start, dict(older)
    checks = [_check(start, image) for image in images if image.version == start.version and image.chain is None]
    async for first, chunk in journal.chunks(start.next_offset):
        reach = range(state.version, state.version + len(chunk) + 1)
        keep = [v for v in (*states, *reach) if last_use.get(v, -1) >= first + len(chunk)]
        for stop in [*(s for s in stops if s > state.version), None]:
            state, states = fold(state, states, chunk[state.next_offset - first :], folding, keep, until=stop)
            if state.version == stop:
                checks += [_check(state, image) for image in images if image.version == stop]
            if state.version == to or state.next_offset >= first + len(chunk):
                break
        if state.version == to:
            break
    if to is not None and state.version < to:
        raise ReplayError(f"{journal.where.topic} holds {state.version} versions, --to {to} is beyond")
    notes = [f"{image.what}: beyond what was read" for image in images if image.version > state.version and to is None]
    began = f"the snapshot of version {start.version}" if start.version else "the definition"
    return Replayed(began, start.version, start.next_offset, state, tuple(checks), (*faults, *notes))


def _check(state: GateState, image: Image) -> Check:
    return Check(image.what, image.version, differences(state, image))


class _Journal:
    """A stretch of a journal that can be read again and again."""

    def __init__(self, reader: Reader, network: Network, where: TopicPartition, low: int, high: int) -> None:
        self._reader, self._network, self.where, self._low, self._high = reader, network, where, low, high

    async def last_uses(self, start: int) -> dict[int, int]:
        """Version -> offset of the last record from `start` on that names it."""
        found: dict[int, int] = {}
        async for offset, (record, _) in self._entries(start):
            if record is not None:
                found[record.hop.version] = offset
        return found

    async def chunks(self, start: int) -> AsyncIterator[tuple[int, list[JournalEntry]]]:
        """(offset of the first, entries), gapless."""
        chunk: list[JournalEntry] = []
        first, size = start, 0
        async for offset, entry in self._entries(start):
            chunk.append(entry)
            size += len(entry[1])
            if len(chunk) >= CHUNK_RECORDS or size >= CHUNK_BYTES:
                yield first, chunk
                chunk, first, size = [], offset + 1, 0
        if chunk:
            yield first, chunk

    async def _entries(self, start: int) -> AsyncIterator[tuple[int, JournalEntry]]:
        expected = start
        async for record in read_range(self._reader, self.where, start, self._high):
            if record.offset != expected:
                raise LogLostError(
                    f"{self.where.topic}: offset {record.offset} follows {expected - 1}",
                    hint="The broker has lost a part of its log. `akkafka audit` tells what is missing.",
                )
            expected += 1
            yield record.offset, read_entry(self._network.run, record.value)
