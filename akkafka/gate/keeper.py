"""Writes snapshots, verifies them by reading back, and only then lets older ones go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from akkafka.broker.base import Broker, Producer, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.reading import read_range, reading
from akkafka.errors import AkkafkaError
from akkafka.gate.fingerprint import fingerprint
from akkafka.gate.snapshot import Shelf, to_records
from akkafka.gate.state import GateState
from akkafka.protocol.messages import SnapshotManifest

log = logging.getLogger("akkafka.gate")
KEPT = 2  # a torn newest one leaves one that is whole


class SnapshotKeeper:
    """The snapshot topic of one gate, as its writer sees it."""

    def __init__(
        self, broker: Broker, network: Network, gate: int, writer: str, manifests: list[SnapshotManifest]
    ) -> None:
        self._broker, self._network, self._gate, self._writer = broker, network, gate, writer
        self._where = TopicPartition(network.topics.snapshot(gate), 0)
        self._manifests = manifests  # newest first
        self.saved = (0, "")  # version of the newest verified snapshot, fingerprint of the state in memory

    async def take(self, state: GateState, older: Mapping[int, GateState]) -> bool:
        """True once the snapshot has been read back whole; False if anything went wrong: the older ones stay."""
        try:
            records = await asyncio.to_thread(
                to_records, self._network.run, self._gate, self._writer, state, dict(older)
            )
            manifest = await self._written(records, state)
        except AkkafkaError as error:
            log.warning("gate %d: no snapshot of version %d: %s", self._gate, state.version, error)
            return False
        if manifest is None:
            log.warning("gate %d: the snapshot of version %d cannot be read back", self._gate, state.version)
            return False
        self._manifests.insert(0, manifest)
        self.saved = (state.version, await asyncio.to_thread(fingerprint, state))
        return True

    async def _written(self, records: list[tuple[bytes, bytes]], state: GateState) -> SnapshotManifest | None:
        producer = await self._broker.producer(f"{self._writer}-snapshot")
        try:
            offsets = [await producer.send(self._where, value, key=key) for key, value in records]
            manifest = await self._read_back(offsets[0], offsets[-1] + 1, state)
            if manifest is not None:
                await self._remove_old(producer)
        finally:
            await producer.close()
        return manifest

    async def _read_back(self, start: int, end: int, state: GateState) -> SnapshotManifest | None:
        shelf = Shelf(self._network.run, self._gate, self._network.lane_count)
        async with reading(self._broker, f"{self._writer}-verify") as reader:
            async for record in read_range(reader, self._where, start, end):
                shelf.put(record.key, record.value)
        found = await asyncio.to_thread(shelf.newest)
        if found is None or found.state.version != state.version or found.manifest.writer != self._writer:
            return None
        return found.manifest

    async def _remove_old(self, producer: Producer) -> None:
        """Tombstones for all but the newest two; manifests first, so that none ever names what is gone."""
        shelf = Shelf(self._network.run, self._gate, self._network.lane_count)
        for manifest in self._manifests[KEPT - 1 :]:
            for key in shelf.keys(manifest):
                await producer.send(self._where, None, key=key)
        del self._manifests[KEPT - 1 :]
