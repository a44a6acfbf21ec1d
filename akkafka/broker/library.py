"""Data sets in the log: published once, so that batches can name rows instead of carrying samples (claim check).

Manifests stand in partition 0 of the `data` topic, the pieces that they name in partition 1. A data set's name
is a hash of what is in it, so nobody can put another one in its place, and publishing it twice changes nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import mmap
import os
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from akkafka.broker.base import Broker, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.process import give_back_memory
from akkafka.broker.reading import read_range, reading
from akkafka.errors import DataError, ProtocolError
from akkafka.protocol import wire
from akkafka.protocol.messages import SAMPLES_ID_BYTES, Samples, SamplesChunk, SamplesManifest
from akkafka.protocol.packing import DTYPES

PIECE_BYTES: Final = 1 << 20
_STRETCH_PIECES: Final = 8  # written at once
_STRETCH_BYTES: Final = 8 << 20  # of a data set that are mapped at once, while its batches are taken
_MOST_STRETCHES: Final = 32  # each costs some 20 us
_TRIALS: Final = 6  # takes of each way, before it is clear which is cheaper
_DEAR_S: Final = 0.0015  # of a take, for unmapping: single pages take 4 to 6 ms, large folios 0.1, or 0.8 on busy cores
_IN_FLIGHT: Final = 8  # pieces sent before the first of them is acknowledged


def samples_id(x: NDArray[Any]) -> bytes:
    """The name of a data set: 16 bytes of sha256 over dtype, shape and little-endian C-order bytes."""
    digest = _digest_of(x.dtype.str, x.shape)
    digest.update(np.ascontiguousarray(x).data.cast("B") if x.size else b"")
    return digest.digest()[:SAMPLES_ID_BYTES]


def _digest_of(dtype: str, shape: tuple[int, ...]) -> hashlib._Hash:
    """The hash of a data set, before its bytes."""
    return hashlib.sha256(f"{dtype} {shape}\n".encode())


async def publish(broker: Broker, network: Network, x: NDArray[Any], name: str, say: Callable[[str], None]) -> bytes:
    """Put `x` (N, *shape) into the log unless it is there; returns its name once all of it is acknowledged.

    Raises BrokerUnavailableError or DeliveryError if it cannot be written.
    """
    data = await asyncio.to_thread(samples_id, x)
    catalogue = Catalogue(broker, network, f"{name}-catalogue")
    if await catalogue.find(data) is not None:
        return data
    say(f"publishing {len(x)} samples, {x.nbytes / 1e6:.0f} MB: batches will name rows instead of carrying them")
    pieces = await asyncio.to_thread(_pieces, x)
    producer = await broker.producer(f"{name}-data")
    try:
        offsets: list[int] = []
        for first in range(0, len(pieces), _IN_FLIGHT):
            chunks = [
                producer.send(
                    _pieces_of(network),
                    wire.encode(SamplesChunk(network.run, data, index, pieces[index])),
                    key=_key(data, index),
                )
                for index in range(first, min(first + _IN_FLIGHT, len(pieces)))
            ]
            offsets += await asyncio.gather(*chunks)
        start, end = (offsets[0], offsets[-1] + 1) if offsets else (0, 0)
        hashes = tuple(hashlib.sha256(piece).digest() for piece in pieces)
        manifest = SamplesManifest(network.run, data, x.dtype.str, x.shape, start, end, hashes)
        await producer.send(_manifests_of(network), wire.encode(manifest), key=data)
    finally:
        await producer.close()
    return data


class Catalogue:
    """The manifests in the log, read on from where the last look ended."""

    def __init__(self, broker: Broker, network: Network, name: str) -> None:
        self._broker, self._network, self._name = broker, network, name
        self._known: dict[bytes, SamplesManifest] = {}
        self._next = 0

    async def find(self, data: bytes) -> SamplesManifest | None:
        """The newest manifest of a data set that is in the log now, if there is one."""
        await self._read_on()
        return self._known.get(data)

    async def all(self) -> list[bytes]:
        """Names of all data sets that are in the log now, in the order in which they came."""
        await self._read_on()
        return list(self._known)

    async def _read_on(self) -> None:
        where = _manifests_of(self._network)
        low, high = (await self._broker.bounds([where]))[where]
        async with reading(self._broker, self._name) as reader:
            async for record in read_range(reader, where, max(low, self._next), high):
                self._note(record.value)
        self._next = max(self._next, high)

    def _note(self, value: bytes | None) -> None:
        try:
            message = wire.decode(value)
        except ProtocolError:
            return
        if isinstance(message, SamplesManifest) and message.run == self._network.run:
            self._known[message.data] = message


class MappedSamples:
    """A data set in a file without a name: memory that the kernel may take back, gone with the process.

    What was read is unmapped again, so that the process does not grow by the data set; unless that is found to be dear:
    where the kernel keeps the file in single pages of 4 KiB (a tmpfs, most file systems before Linux 6.16), 1024 rows
    of MNIST are 5 ms of faults, otherwise 0.1.
    """

    def __init__(
        self,
        file: IO[bytes],
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """`clock`: seconds of CPU of this thread."""
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.array: NDArray[Any] = np.ndarray(shape, dtype, self._map)
        self._clock = clock
        self._tried = 0  # takes: half of the trials unmap, then half do not
        self._least = {True: math.inf, False: math.inf}  # seconds that a take took, with and without
        self.stays = False  # what was read stays mapped

    def take(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Rows as a new array.

        Read in the order of the file, a stretch at a time: the kernel maps up to 2 MiB around each row, so a batch in
        its own order would map all there is before anything can be unmapped.
        """
        trial = self._tried < 2 * _TRIALS
        unmaps = self._tried < _TRIALS if trial else not self.stays
        began = self._clock()
        x = np.empty((len(numbers), *self.array.shape[1:]), self.array.dtype)
        order = np.argsort(numbers)
        for part in np.array_split(order, min(-(-self.array.nbytes // _STRETCH_BYTES), _MOST_STRETCHES)):
            x[part] = self.array.take(numbers[part], axis=0)
            if unmaps:
                self.unmap()
        if trial:
            self._judge(unmaps, self._clock() - began)
        return x

    def unmap(self) -> None:
        """Let the pages go; they stay in the kernel's cache, and come back when they are touched."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def _judge(self, unmaps: bool, seconds: float) -> None:
        self._tried += 1
        self._least[unmaps] = min(self._least[unmaps], seconds)
        if self._tried == _TRIALS and self._least[True] <= _DEAR_S:
            self._tried = 2 * _TRIALS  # cheap enough: the other way, which makes the process larger, need not be tried
        elif self._tried == 2 * _TRIALS:
            self.stays = self._least[True] - self._least[False] > _DEAR_S


class Library:
    """Data sets at hand, fetched from the log when they are first asked for; the least used ones go first.

    Holds up to `limit` bytes, and always the one that was asked for last.
    """

    def __init__(self, broker: Broker, network: Network, name: str, limit: int) -> None:
        self._broker, self._network, self._name, self._limit = broker, network, name, limit
        self._catalogue = Catalogue(broker, network, f"{name}-catalogue")
        self._held: OrderedDict[bytes, MappedSamples] = OrderedDict()
        self._fetching = asyncio.Lock()

    def held(self, data: bytes) -> Samples | None:
        """The samples (N, *shape), read-only, if they are at hand."""
        samples = self._held.get(data)
        if samples is not None:
            self._held.move_to_end(data)
        return samples

    async def stock(self) -> bool:
        """Fetch what is published and fits, newest last: for who may need it any moment. True if anything is at hand.

        Raises BrokerUnavailableError.
        """
        weights = {gate.weights for gate in self._network.definition.gates}  # no samples (gate/beginning.py)
        for data in await self._catalogue.all():
            if data.hex() not in weights:
                await self.fetch(data)
        return bool(self._held)

    async def fetch(self, data: bytes) -> Samples | str:
        """The samples (N, *shape), read-only; or why they cannot be had. Raises BrokerUnavailableError."""
        async with self._fetching:  # who comes second finds them held
            return self.held(data) or await self._fetched(data)

    async def _fetched(self, data: bytes) -> Samples | str:
        manifest = await self._catalogue.find(data)
        if manifest is None:
            return f"data set {data.hex()} is not in topic {self._network.topics.data}"
        size = int(np.prod(manifest.shape, dtype=object)) * DTYPES[manifest.dtype].itemsize
        if size > self._limit:
            return f"data set {data.hex()} has {size} bytes, a gate holds {self._limit}"
        fetched = await self._assembled(manifest, size)
        give_back_memory()
        if isinstance(fetched, str):
            return fetched
        self._held[data] = fetched
        self._make_room()
        return fetched

    async def _assembled(self, manifest: SamplesManifest, size: int) -> MappedSamples | str:
        told = f"data set {manifest.data.hex()}"
        if not size or len(manifest.chunks) != -(-size // PIECE_BYTES):
            return f"{told}: {len(manifest.chunks)} pieces do not fill shape {manifest.shape}"
        try:
            with tempfile.TemporaryFile(prefix="akkafka-", buffering=0) as file:  # it lives on in the mapping
                filling = _Filling(file.fileno(), manifest)
                try:
                    await self._fill(filling, manifest)
                finally:
                    filling.end()
                if filling.missing:
                    return f"{told}: piece {min(filling.missing)} of {len(manifest.chunks)} is missing or broken"
                file.truncate(size)
                samples = MappedSamples(file, DTYPES[manifest.dtype], manifest.shape)
        except OSError as error:
            raise DataError(
                f"{told} ({size} bytes) cannot be kept in {tempfile.gettempdir()}: {error.strerror}",
                hint="Make room there, let TMPDIR name another directory, or define the network with "
                "[wire] samples = 'value'.",
            ) from error
        found = filling.samples_id or await asyncio.to_thread(samples_id, samples.array)
        if found != manifest.data:
            return f"{told} is another one than its name says"
        samples.unmap()
        return samples

    async def _fill(self, filling: _Filling, manifest: SamplesManifest) -> None:
        """Find the pieces where the manifest says, or where they lie by now."""
        await self._read(filling, manifest, manifest.start, manifest.end)
        if filling.missing:  # published again since, and compacted: they lie elsewhere now
            where = _pieces_of(self._network)
            await self._read(filling, manifest, *(await self._broker.bounds([where]))[where])

    async def _read(self, filling: _Filling, manifest: SamplesManifest, start: int, end: int) -> None:
        """Take what is found between two offsets; one stretch is written while the next one is read."""
        where = _pieces_of(self._network)
        low, high = (await self._broker.bounds([where]))[where]
        stretch: list[SamplesChunk] = []
        writing: asyncio.Task[None] | None = None
        try:
            async with reading(self._broker, f"{self._name}-data", ahead_bytes=2 * PIECE_BYTES) as reader:
                async for record in read_range(reader, where, max(start, low), min(end, high)):
                    chunk = _chunk(record.value, manifest)
                    if chunk is None:
                        continue
                    stretch.append(chunk)
                    if len(stretch) == _STRETCH_PIECES or (chunk.index + 1) % _STRETCH_PIECES == 0:
                        if writing is not None:
                            await writing
                        writing = asyncio.create_task(asyncio.to_thread(filling.take, stretch))
                        stretch = []
        finally:
            if writing is not None:
                await writing
        await asyncio.to_thread(filling.take, stretch)

    def _make_room(self) -> None:
        while len(self._held) > 1 and sum(samples.array.nbytes for samples in self._held.values()) > self._limit:
            self._held.popitem(last=False)


class _Filling:
    """A data set's file while its pieces come, on a thread that may still be at it when nobody waits any more."""

    def __init__(self, file: int, manifest: SamplesManifest) -> None:
        """`file`: an open descriptor; it may be closed once this was ended."""
        self._file, self._manifest = file, manifest
        self._lock = threading.Lock()
        self._ended = False
        self._digest = _digest_of(DTYPES[manifest.dtype].str, manifest.shape)
        self._hashed = 0  # pieces, from the first one on
        self.missing = set(range(len(manifest.chunks)))

    @property
    def samples_id(self) -> bytes | None:
        """What the samples' name has to be; None: not known, as the pieces did not come in their order."""
        whole = self._hashed == len(self._manifest.chunks)
        return self._digest.digest()[:SAMPLES_ID_BYTES] if whole else None

    def end(self) -> None:
        """Write nothing more; waits for what is being written: the descriptor's number is another file's soon."""
        with self._lock:
            self._ended = True

    def take(self, chunks: Sequence[SamplesChunk]) -> None:
        """Write those that are missing and just what the manifest says. Raises OSError.

        Neighbours are written in one go, as Linux then keeps them in large pieces (folios), which it maps at once: to
        take a batch of MNIST is twice as fast as where each piece was written by itself.
        """
        with self._lock:
            if not self._ended:
                self._take(chunks)

    def _take(self, chunks: Sequence[SamplesChunk]) -> None:
        run: list[bytes] = []
        first = 0
        for chunk in chunks:
            if chunk.index not in self.missing or not self._is_sound(chunk):
                continue
            self.missing.discard(chunk.index)
            if chunk.index == self._hashed:
                self._digest.update(chunk.piece)
                self._hashed += 1
            if chunk.index != first + len(run):
                self._write(first, run)
                first, run = chunk.index, []
            run.append(chunk.piece)
        self._write(first, run)

    def _is_sound(self, chunk: SamplesChunk) -> bool:
        return hashlib.sha256(chunk.piece).digest() == self._manifest.chunks[chunk.index]

    def _write(self, first: int, run: Sequence[bytes]) -> None:
        if not run:
            return
        os.lseek(self._file, first * PIECE_BYTES, os.SEEK_SET)
        written = os.writev(self._file, run)
        left = memoryview(b"".join(run))[written:] if written < sum(map(len, run)) else b""
        while left:  # as a full disk begins: the next one raises
            left = left[os.write(self._file, left) :]


def _chunk(value: bytes | None, manifest: SamplesManifest) -> SamplesChunk | None:
    """The chunk in a record, if it belongs to this data set."""
    try:
        message = wire.decode(value)
    except ProtocolError:
        return None
    if not isinstance(message, SamplesChunk) or message.data != manifest.data:
        return None
    return message if message.index < len(manifest.chunks) else None


def _pieces(x: NDArray[Any]) -> list[bytes]:
    whole = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
    return [whole[at : at + PIECE_BYTES].tobytes() for at in range(0, whole.size, PIECE_BYTES)]


def _manifests_of(network: Network) -> TopicPartition:
    return TopicPartition(network.topics.data, 0)


def _pieces_of(network: Network) -> TopicPartition:
    return TopicPartition(network.topics.data, 1)


def _key(data: bytes, index: int) -> bytes:
    return data + index.to_bytes(4, "big")
