"""What gates told of the weights in their memory, from the figures that the metrics topic still holds."""

from __future__ import annotations

from dataclasses import dataclass

from akkafka.broker.base import Broker, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.reading import read_to_end, reading
from akkafka.errors import ProtocolError
from akkafka.protocol import wire
from akkafka.protocol.messages import Figures, Run


@dataclass(frozen=True, slots=True)
class Told:
    """A process had these arrays in memory at that version."""

    process: str
    version: int
    hash: str  # gate/fingerprint.py


async def told_hashes(broker: Broker, network: Network, gate: int) -> list[Told]:
    """Each once, in order of version."""
    where = TopicPartition(network.topics.metrics, 0)
    found: set[Told] = set()
    async with reading(broker, f"told-{gate}") as reader:
        async for record in read_to_end(broker, reader, where):
            told = told_in(network.run, gate, record.value)
            if told is not None:
                found.add(told)
    return sorted(found, key=lambda told: (told.version, told.process))


def told_in(run: Run, gate: int, value: bytes | None) -> Told | None:
    """What one record of the metrics topic tells of a gate's memory."""
    try:
        message = wire.decode(value)
    except ProtocolError:
        return None
    if not isinstance(message, Figures) or message.kind != "gate" or message.run != run:
        return None
    version, hashed = message.body.get("saved_version"), message.body.get("saved_hash")
    if message.body.get("gate") != gate or not isinstance(version, int) or not isinstance(hashed, str) or not hashed:
        return None
    return Told(message.process, version, hashed)
