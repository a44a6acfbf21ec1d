"""Writes snapshots, verifies them by reading back, and only then lets older ones and the journal before them go."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping

from akkafka.broker.base import Broker, Producer, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.reading import read_range, reading
from akkafka.errors import AkkafkaError
from akkafka.gate.fingerprint import fingerprint
from akkafka.gate.ledger import Ledger, LetGo, Named, kept_of
from akkafka.gate.snapshot import Shelf, to_records
from akkafka.gate.state import GateState
from akkafka.protocol.messages import SnapshotManifest

log = logging.getLogger("akkafka.gate")


class SnapshotKeeper:
    """The snapshot topic of one gate, as its writer sees it."""

    def __init__(self, broker: Broker, network: Network, gate: int, writer: str, ledger: Ledger) -> None:
        self._broker, self._network, self._gate, self._writer = broker, network, gate, writer
        self._where = TopicPartition(network.topics.snapshot(gate), 0)
        self._journal = TopicPartition(network.topics.journal(gate), 0)
        self._ledger = ledger
        self.saved = (0, "")  # version of the newest verified snapshot, fingerprint of the state in memory

    async def take(self, state: GateState, older: Mapping[int, GateState], named: deque[Named]) -> bool:
        """True once the snapshot has been read back whole; False if anything went wrong: the older ones stay.

        `named`: by all records since the oldest snapshot in the ledger; what the ledger needs no more is taken out.
        """
        try:
            records = await asyncio.to_thread(
                to_records, self._network.run, self._gate, self._writer, state, dict(older)
            )
            whole = await self._written(records, state, older, named)
        except AkkafkaError as error:
            log.warning("gate %d: no snapshot of version %d: %s", self._gate, state.version, error)
            return False
        if not whole:
            log.warning("gate %d: the snapshot of version %d cannot be read back", self._gate, state.version)
            return False
        self.saved = (state.version, await asyncio.to_thread(fingerprint, state))
        return True

    async def _written(
        self,
        records: list[tuple[bytes, bytes]],
        state: GateState,
        older: Mapping[int, GateState],
        named: deque[Named],
    ) -> bool:
        producer = await self._broker.producer(f"{self._writer}-snapshot")
        try:
            offsets = [await producer.send(self._where, value, key=key) for key, value in records]
            manifest = await self._read_back(offsets[0], offsets[-1] + 1, state)
            if manifest is not None:
                self._ledger.verified(kept_of(manifest, older))
                await self._let_go(producer, state.version, named)
        finally:
            await producer.close()
        return manifest is not None

    async def _read_back(self, start: int, end: int, state: GateState) -> SnapshotManifest | None:
        shelf = Shelf(self._network.run, self._gate, self._network.lane_count)
        async with reading(self._broker, f"{self._writer}-verify") as reader:
            async for record in read_range(reader, self._where, start, end):
                shelf.put(record.key, record.value)
        return await asyncio.to_thread(self._own, shelf, state.version)

    def _own(self, shelf: Shelf, version: int) -> SnapshotManifest | None:
        """Ours, if it is whole: another process may have put one of the same version between our records."""
        manifests = (snapshot.manifest for snapshot in shelf.snapshots())
        return next((m for m in manifests if (m.version, m.writer) == (version, self._writer)), None)

    async def _let_go(self, producer: Producer, version: int, named: deque[Named]) -> None:
        """Old snapshots first, the journal behind them last: a snapshot that is there can always be folded on."""
        gone = self._ledger.let_go(version, self._network.definition.reach, named)
        if gone is None:
            return
        while named and named[0][0] <= self._ledger.kept[-1].version:
            named.popleft()
        await self._remove(producer, gone)

    async def _remove(self, producer: Producer, gone: LetGo) -> None:
        for key in gone.keys:
            await producer.send(self._where, None, key=key)
        if gone.journal and not self._network.keep_log:
            await self._broker.trim({self._journal: gone.journal})
