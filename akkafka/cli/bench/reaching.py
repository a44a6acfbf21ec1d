"""When akkafka's weights first had a target's accuracy: taken from the log once the clock has stopped, as peers' are.

Peers keep their weights every few updates and validate them when all is over. akkafka need not keep any: its log has
every version, and the time at which each gate wrote the record that made it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from akkafka.audit.past import past
from akkafka.broker.base import Broker, TopicPartition
from akkafka.broker.connection import Connection
from akkafka.broker.embedded import BrokerSettings, acquire
from akkafka.broker.network import Network, find
from akkafka.broker.reading import read_range, reading
from akkafka.cli.bench.peers.job import Job, Samples
from akkafka.cli.bench.peers.layers import Gate
from akkafka.cli.bench.peers.plain import first_reaching
from akkafka.cli.locating import broker_home, reached
from akkafka.cli.networks import missing
from akkafka.protocol.messages import Mode


def seconds_to_target(report: Mapping[str, Any], job: Job, state_dir: Path) -> float | None:
    """From the first batch of a training whose whole log is kept; None: it never got there.

    `report`: `akkafka train`'s, which names network and broker; its own broker's home is `state_dir`.
    Raises AkkafkaError.
    """
    with ExitStack() as stack:
        address = report["broker"]["bootstrap_servers"]
        if report["broker"]["kind"] == "embedded":  # it has ended with the training
            lease = acquire(BrokerSettings(broker_home(state_dir), linger_s=0.0))
            stack.callback(lease.release)
            address = lease.bootstrap
        return asyncio.run(_reached(Connection.load({"bootstrap_servers": address}), report["network"], job))


async def _reached(connection: Connection, name: str, job: Job) -> float | None:
    async with reached(connection) as broker:
        network = await find(broker, name)
        if network is None:
            raise missing(name)
        return await _seconds(broker, network, job)


async def _seconds(broker: Broker, network: Network, job: Job) -> float | None:
    gates = range(network.gate_count)
    kept = [await past(broker, network, gate, job.keep_every) for gate in gates]
    stages = [Gate(network.definition, gate, 0) for gate in gates]
    weights = [{version: dict(made.state.params) for version, made in own.items()} for own in kept]
    version = first_reaching(job, stages, weights, Samples.of(job))
    if not version:
        return None
    return (max(own[version].at_ms for own in kept) - await _begun_ms(broker, network)) / 1000


async def _begun_ms(broker: Broker, network: Network) -> int:
    """Wall clock of the first training batch."""
    (lane,) = network.definition.plan.of(Mode.TRAIN)
    where = TopicPartition(network.topics.forward(0), lane)
    async with reading(broker, "begun") as reader:
        async for record in read_range(reader, where, 0, 1):
            return record.timestamp_ms
    raise AssertionError("read_range gives what is asked for, or raises")
