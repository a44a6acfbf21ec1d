"""What a process tells of itself reaches the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from akkafka.broker.base import TopicPartition
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.network import define
from akkafka.broker.reading import reading
from akkafka.broker.side import SideChannel
from akkafka.protocol.figures import GateFigures

from ..conftest import Run
from ..pipeline.fleet import small_definition, versions_told


def at_version(version: int) -> GateFigures:
    return GateFigures(gate=1, name="last", state="working", version=version, pid=8, host="here")


@pytest.mark.kafka
def test_the_first_figures_are_not_lost_while_the_way_to_the_broker_opens(
    kafka_bootstrap: str, run: Run, unique: Callable[[], str]
) -> None:
    async def told() -> list[int]:
        broker = KafkaBroker(Connection(bootstrap_servers=kafka_bootstrap))
        try:
            network = await define(broker, small_definition(), unique())
            side = SideChannel(broker, network, "gate-1-a")
            side.tell(at_version(1))
            side.tell(at_version(2))
            await side.close()
            return await versions_told(broker, network)
        finally:
            await broker.close()

    assert run(told()) == [2]  # the newest of those nobody took


def test_what_figures_are_is_told_beside_them(run: Run) -> None:
    """Also of those that had to wait for a producer."""

    async def told() -> list[dict[str, bytes]]:
        broker = MemoryBroker()
        network = await define(broker, small_definition(), "net")
        side = SideChannel(broker, network, "gate-1-a")
        side.tell(at_version(1))
        for _ in range(100):  # turns of the loop: a producer is there then
            await asyncio.sleep(0)
        side.tell(at_version(2))
        await side.close()
        async with reading(broker, "look") as reader:
            reader.assign({TopicPartition(network.topics.metrics, 0): 0})
            return [dict(record.headers) for record in await reader.poll(timeout=1.0)]

    assert run(told()) == [{"kind": b"gate", "process": b"gate-1-a"}] * 2
