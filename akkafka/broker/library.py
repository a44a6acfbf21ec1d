"""Data sets in the log: published once, so that batches can name rows instead of carrying samples (claim check).

Manifests stand in partition 0 of the `data` topic, the pieces that they name in partition 1. A data set's name
is a hash of what is in it, so nobody can put another one in its place, and publishing it twice changes nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import tempfile
from collections import OrderedDict
from collections.abc import Callable
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
_STRETCH_BYTES: Final = 8 << 20  # of a data set that are mapped at once, while its batches are taken
_MOST_STRETCHES: Final = 32  # each costs some 20 us
_IN_FLIGHT: Final = 8  # pieces sent before the first of them is acknowledged


def samples_id(x: NDArray[Any]) -> bytes:
    """The name of a data set: 16 bytes of sha256 over dtype, shape and little-endian C-order bytes."""
    digest = hashlib.sha256(f"{x.dtype.str} {x.shape}\n".encode())
    digest.update(np.ascontiguousarray(x).data.cast("B") if x.size else b"")
    return digest.digest()[:SAMPLES_ID_BYTES]


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
    """A data set in a file without a name: memory that the kernel may take back, gone with the process."""

    def __init__(self, file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.array: NDArray[Any] = np.ndarray(shape, dtype, self._map)

    def take(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Rows as a new array.

        Read in the order of the file, a stretch at a time, and unmapped behind it: the kernel maps up to 2 MiB around
        each row, so a batch in its own order would map all there is, and the process would be that much larger.
        """
        x = np.empty((len(numbers), *self.array.shape[1:]), self.array.dtype)
        order = np.argsort(numbers)
        for part in np.array_split(order, min(-(-self.array.nbytes // _STRETCH_BYTES), _MOST_STRETCHES)):
            x[part] = self.array.take(numbers[part], axis=0)
            self.unmap()
        return x

    def unmap(self) -> None:
        """Let the pages go; they stay in the kernel's cache, and come back when they are touched."""
        self._map.madvise(mmap.MADV_DONTNEED)


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
            with tempfile.TemporaryFile(prefix="akkafka-") as file:  # it lives on in the mapping
                missing = await self._fill(file, manifest)
                if missing:
                    return f"{told}: piece {min(missing)} of {len(manifest.chunks)} is missing or broken"
                file.truncate(size)
                file.flush()
                samples = MappedSamples(file, DTYPES[manifest.dtype], manifest.shape)
        except OSError as error:
            raise DataError(
                f"{told} ({size} bytes) cannot be kept in {tempfile.gettempdir()}: {error.strerror}",
                hint="Make room there, let TMPDIR name another directory, or define the network with "
                "[wire] samples = 'value'.",
            ) from error
        if await asyncio.to_thread(samples_id, samples.array) != manifest.data:
            return f"{told} is another one than its name says"
        samples.unmap()
        return samples

    async def _fill(self, file: IO[bytes], manifest: SamplesManifest) -> set[int]:
        """Write all pieces to their places; returns the numbers of those that are not to be had."""
        missing = set(range(len(manifest.chunks)))
        await self._read(file, manifest, missing, manifest.start, manifest.end)
        if missing:  # published again since, and compacted: they lie elsewhere now
            where = _pieces_of(self._network)
            await self._read(file, manifest, missing, *(await self._broker.bounds([where]))[where])
        return missing

    async def _read(self, file: IO[bytes], manifest: SamplesManifest, missing: set[int], start: int, end: int) -> None:
        """Write what is found between two offsets and is just what the manifest says."""
        where = _pieces_of(self._network)
        low, high = (await self._broker.bounds([where]))[where]
        async with reading(self._broker, f"{self._name}-data", ahead_bytes=2 * PIECE_BYTES) as reader:
            async for record in read_range(reader, where, max(start, low), min(end, high)):
                chunk = _chunk(record.value, manifest)
                if chunk is not None and chunk.index in missing:
                    missing.discard(chunk.index)
                    file.seek(chunk.index * PIECE_BYTES)
                    file.write(chunk.piece)

    def _make_room(self) -> None:
        while len(self._held) > 1 and sum(samples.array.nbytes for samples in self._held.values()) > self._limit:
            self._held.popitem(last=False)


def _chunk(value: bytes | None, manifest: SamplesManifest) -> SamplesChunk | None:
    """The chunk in a record, if it is one that the manifest names."""
    try:
        message = wire.decode(value)
    except ProtocolError:
        return None
    if not isinstance(message, SamplesChunk) or message.data != manifest.data:
        return None
    if message.index >= len(manifest.chunks):
        return None
    return message if hashlib.sha256(message.piece).digest() == manifest.chunks[message.index] else None


def _pieces(x: NDArray[Any]) -> list[bytes]:
    whole = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
    return [whole[at : at + PIECE_BYTES].tobytes() for at in range(0, whole.size, PIECE_BYTES)]


def _manifests_of(network: Network) -> TopicPartition:
    return TopicPartition(network.topics.data, 0)


def _pieces_of(network: Network) -> TopicPartition:
    return TopicPartition(network.topics.data, 1)


def _key(data: bytes, index: int) -> bytes:
    return data + index.to_bytes(4, "big")
