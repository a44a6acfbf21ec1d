"""Which snapshots a gate's process knows of, and what may go once newer ones stand: pure, so the simulation runs it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from akkafka.gate.snapshot import Shelf, Snapshot
from akkafka.protocol.messages import SnapshotManifest

Named = tuple[int, int]
"""(version that a counted record made, version of the weights that it names); void and zeroed records name none."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A whole snapshot, without its arrays."""

    version: int
    next_offset: int  # of the journal: first record that is not in it
    older: frozenset[int]  # versions of the older weights that it holds besides
    keys: tuple[bytes, ...]  # of its records, the manifest's first


@dataclass(frozen=True, slots=True)
class LetGo:
    """What nobody needs any more."""

    keys: tuple[bytes, ...]  # tombstones, in this order: manifests first, so that none ever names what is gone
    journal: int  # records before this offset (0: none yet); only after the tombstones are in the log


def kept_of(manifest: SnapshotManifest, older: Iterable[int]) -> Kept:
    """What to remember of a snapshot that was found whole."""
    return Kept(manifest.version, manifest.next_offset, frozenset(older), tuple(Shelf.keys(manifest)))


def oldest_needed(kept: Sequence[Kept], version: int, reach: int, named: Sequence[Named]) -> Kept | None:
    """The snapshot before which snapshots and journal may go; None: everything is still needed.

    `kept`: newest first. Never the newest: it may be torn tomorrow. And only one from which every version can be
    rebuilt that a batch may still name, now or later: those are at most `reach` updates older than the newest version
    (state.py, CountingRule). For that it has to lie that far back itself, and to hold all older weights that the
    records behind it name. What open batches name needs no look: it is within reach, or will be zeroed.
    """
    for snapshot in kept[1:]:
        if snapshot.version > version - reach:
            continue
        if all(v >= snapshot.version or v in snapshot.older for made, v in named if made > snapshot.version):
            return snapshot
    return None


@dataclass(slots=True)
class Ledger:
    """See the module's docstring."""

    kept: list[Kept] = field(default_factory=list)  # newest first; records behind the last one are all in `named`
    leftovers: list[Kept] = field(default_factory=list)  # of processes before: whole, torn, or without a manifest

    def verified(self, snapshot: Kept) -> None:
        """One more stands."""
        self.kept.insert(0, snapshot)

    def let_go(self, version: int, reach: int, named: Sequence[Named]) -> LetGo | None:
        """What may go now, if anything; it is forgotten here. `named`: from the oldest kept snapshot on."""
        oldest = oldest_needed(self.kept, version, reach, named)
        low = oldest.version if oldest is not None else -1
        behind = [kept for kept in self.kept if kept.version >= low]
        # The newest two, the oldest needed, and the one that will take its place; those between are of no use.
        stays = [*behind[:2], *(behind[2:][-2:] if oldest is not None else behind[2:][-1:])]
        gone = [kept for kept in self.kept if kept not in stays]
        gone += [kept for kept in self.leftovers if kept.version < low]
        self.kept = stays
        self.leftovers = [kept for kept in self.leftovers if kept.version >= low]
        if not gone and oldest is None:
            return None
        first = tuple(kept.keys[0] for kept in gone)
        keys = (*first, *(key for kept in gone for key in kept.keys[1:]))
        return LetGo(keys, oldest.next_offset if oldest is not None else 0)


def ledger_of(shelf: Shelf, start: Snapshot | None) -> Ledger:
    """For a process that has begun its fold with `start` (None: with the definition)."""
    begun = None if start is None else start.manifest
    leftovers = [kept_of(manifest, ()) for manifest in shelf.manifests() if manifest is not begun]
    leftovers += [Kept(version, 0, frozenset(), (key,)) for version, key in shelf.orphans()]
    return Ledger([kept_of(start.manifest, start.older)] if start is not None else [], leftovers)
