"""A gate's state as records and back. A snapshot is what a manifest names: chunks first, manifest last, all hashed.

Chunk keys are never reused (version, writer, index), so a woken writer cannot tear what another has written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from akkafka.errors import ProtocolError
from akkafka.gate.caution import Direction, Key, Tried
from akkafka.gate.state import GateState
from akkafka.gate.sums import read_sums
from akkafka.protocol import wire
from akkafka.protocol.messages import Attempt, OlderWeights, Run, SnapshotChunk, SnapshotManifest, StateImage

CHUNK_BYTES: Final = 8 << 20  # far below the limit of a message, large enough to be few


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A verified snapshot, read back."""

    manifest: SnapshotManifest
    state: GateState
    older: Mapping[int, GateState]


def chunk_key(version: int, writer: str, index: int) -> bytes:
    """Key of a chunk in the compacted topic."""
    return f"{version:020d}/{writer}/{index:06d}".encode()


def manifest_key(version: int, writer: str) -> bytes:
    """Key of a manifest in the compacted topic."""
    return f"{version:020d}/{writer}/manifest".encode()


def to_records(
    run: Run, gate: int, writer: str, state: GateState, older: Mapping[int, GateState]
) -> list[tuple[bytes, bytes]]:
    """(key, value) of every record of a snapshot, in the order in which they have to be written."""
    image = wire.encode(StateImage(state.params, state.optimizer, tuple(_older(s) for s in older.values())))
    pieces = [image[at : at + CHUNK_BYTES] for at in range(0, len(image), CHUNK_BYTES)]
    records = [
        (
            chunk_key(state.version, writer, i),
            wire.encode(SnapshotChunk(run, gate, state.version, writer, i, piece)),
        )
        for i, piece in enumerate(pieces)
    ]
    manifest = SnapshotManifest(
        run=run,
        gate=gate,
        version=state.version,
        writer=writer,
        chain=state.chain,
        next_offset=state.next_offset,
        applied=dict(enumerate(state.applied)),
        sources=dict(enumerate(state.sources)),
        chunks=tuple(hashlib.sha256(piece).digest() for piece in pieces),
        size=len(image),
        sums=state.sums.rows,
        staleness=state.sums.staleness,
    )
    return [*records, (manifest_key(state.version, writer), wire.encode(manifest))]


def _older(state: GateState) -> OlderWeights:
    return OlderWeights(state.version, state.chain, state.params)


def attempt_key(lane: int, direction: Direction) -> bytes:
    """Key in the compacted topic of what a process began with: the last one counts."""
    return f"attempt/{direction}/{lane:04d}".encode()


class Shelf:
    """The snapshot topic as it is read: collects chunks and manifests, gives the newest that is whole; and attempts.

    `faults` tells what was found broken, for eyes and for `akkafka audit`.
    """

    def __init__(self, run: Run, gate: int, lanes: int) -> None:
        self._run, self._gate, self._lanes = run, gate, lanes
        self._chunks: dict[bytes, bytes] = {}
        self._versions: dict[bytes, int] = {}  # of the chunks
        self._manifests: dict[bytes, SnapshotManifest] = {}
        self.faults: list[str] = []
        self.tried: dict[Key, Tried] = {}

    def put(self, key: bytes | None, value: bytes | None) -> None:
        """Take a record of the topic, in order."""
        if key is None:
            return
        if value is None:
            self._chunks.pop(key, None)
            self._versions.pop(key, None)
            self._manifests.pop(key, None)
            return
        try:
            message = wire.decode(value)
        except ProtocolError as error:
            self.faults.append(f"record {key[:80]!r}: {error}")
            return
        if not isinstance(message, SnapshotChunk | SnapshotManifest | Attempt):
            self.faults.append(f"record {key[:80]!r}: a {type(message).__name__}")
        elif message.run != self._run or message.gate != self._gate:
            self.faults.append(f"record {key[:80]!r}: of run {message.run}, gate {message.gate}")
        elif isinstance(message, Attempt):
            self.tried[message.lane, "backward" if message.backward else "forward"] = Tried(message.seq, message.times)
        elif isinstance(message, SnapshotChunk):
            self._chunks[key] = message.data
            self._versions[key] = message.version
        else:
            self._manifests[key] = message

    def manifests(self) -> list[SnapshotManifest]:
        """Newest first; whole or not."""
        return sorted(self._manifests.values(), key=lambda m: (m.version, m.writer), reverse=True)

    def snapshots(self) -> Iterable[Snapshot]:
        """Whole snapshots, newest first; each is checked when it is its turn."""
        for manifest in self.manifests():
            try:
                yield self._open(manifest)
            except ProtocolError as error:
                self.faults.append(f"snapshot of version {manifest.version} by {manifest.writer}: {error}")

    def newest(self) -> Snapshot | None:
        """The newest whole snapshot, if there is one."""
        return next(iter(self.snapshots()), None)

    def orphans(self) -> list[tuple[int, bytes]]:
        """(version, key) of chunks that no manifest names: their writer was killed, or is about to finish."""
        named = {key for manifest in self._manifests.values() for key in self.keys(manifest)}
        return [(version, key) for key, version in self._versions.items() if key not in named]

    @staticmethod
    def keys(manifest: SnapshotManifest) -> list[bytes]:
        """Keys of all records of a snapshot, manifest first: the order in which to remove them."""
        chunks = [chunk_key(manifest.version, manifest.writer, i) for i in range(len(manifest.chunks))]
        return [manifest_key(manifest.version, manifest.writer), *chunks]

    def _open(self, manifest: SnapshotManifest) -> Snapshot:
        image = wire.decode(b"".join(self._piece(manifest, i) for i in range(len(manifest.chunks))))
        if not isinstance(image, StateImage):
            raise ProtocolError(f"holds a {type(image).__name__}")
        lanes = range(self._lanes)
        state = GateState(
            version=manifest.version,
            chain=manifest.chain,
            params=image.weights,
            optimizer=image.optimizer,
            applied=tuple(manifest.applied.get(lane, 0) for lane in lanes),
            sources=tuple(manifest.sources.get(lane, 0) for lane in lanes),
            next_offset=manifest.next_offset,
            sums=read_sums(manifest.sums, manifest.staleness),
        )
        return Snapshot(manifest, state, {o.version: _outdated(o) for o in image.older})

    def _piece(self, manifest: SnapshotManifest, index: int) -> bytes:
        piece = self._chunks.get(chunk_key(manifest.version, manifest.writer, index))
        if piece is None:
            raise ProtocolError(f"chunk {index} of {len(manifest.chunks)} is missing")
        if hashlib.sha256(piece).digest() != manifest.chunks[index]:
            raise ProtocolError(f"chunk {index} of {len(manifest.chunks)} has another hash than the manifest says")
        return piece


def _outdated(older: OlderWeights) -> GateState:
    """An older state: only weights, version and history of it are of use, nothing is ever folded onto it."""
    return GateState(older.version, older.chain, older.weights, {}, (), (), 0)
