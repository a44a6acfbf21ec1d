"""What a process tells of itself reaches the log."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from akkafka.broker.base import TopicPartition
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.network import Network, define
from akkafka.broker.reading import read_to_end, reading
from akkafka.broker.side import SideChannel
from akkafka.cli.training.tail import figures_of
from akkafka.protocol.figures import GateFigures

from ..conftest import Run
from ..pipeline.fleet import small_definition


def at_version(version: int) -> GateFigures:
    return GateFigures(gate=1, name="last", state="working", version=version, pid=8, host="here")


async def versions(broker: KafkaBroker, network: Network) -> list[int]:
    """Told so far, as the log has them."""
    async with reading(broker, "told") as reader:
        found = [
            figures_of(network, record)
            async for record in read_to_end(broker, reader, TopicPartition(network.topics.metrics, 0))
        ]
    return [body.version for _, _, body in filter(None, found) if isinstance(body, GateFigures)]


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
            return await versions(broker, network)
        finally:
            await broker.close()

    assert run(told()) == [2]  # the newest of those nobody took
