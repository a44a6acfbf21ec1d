"""Where a bench trains: over the broker that the environment names, else over one of its own for all its trainings.

A broker that is new compiles for its first 8 to 20 seconds, and a batch costs it three times as much meanwhile. What is
measured is the steady state, so the first training is given that time before it is looked at.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from akkafka.broker.connection import Connection
from akkafka.broker.embedded import BrokerSettings, acquire
from akkafka.broker.network import reset
from akkafka.cli.bench.watch import wait_until_gone
from akkafka.cli.chaos.trainer import environment
from akkafka.cli.locating import answering, embedded, named, reached
from akkafka.cli.options import Where
from akkafka.errors import AkkafkaError

COLD_S: Final = 20.0  # behind the first batch over a broker that may be new
WARM_S: Final = 4.0  # behind the first batch of a later training
WARM_BATCHES: Final = 200  # and at least so many: windows are full, memory is used again
WARM_AT_MOST_S: Final = 40.0

Say = Callable[[str], None]


@dataclass(slots=True)
class Ground:
    """A broker, and a folder for what trainings leave."""

    connection: Connection
    folder: Path
    environment: Mapping[str, str]  # of a training
    java: psutil.Process | None  # the broker's process; None: it runs elsewhere, or is not ours to see
    say: Say
    trainings: int = 0

    def next_network(self) -> str:
        """A name that nobody else has on this broker."""
        self.trainings += 1
        return f"bench-{os.getpid()}-{self.trainings}"

    @property
    def settle_s(self) -> float:
        """How long the newest training has to run before it is in its steady state."""
        return COLD_S if self.trainings == 1 else WARM_S

    def drop(self, network: str) -> None:
        """Delete a network whose training has ended; tells if it is left, as what ended the training may be worse."""
        try:
            asyncio.run(self._drop(network))
        except AkkafkaError as error:
            self.say(f"network {network!r} is left on the broker, {error}: `akkafka reset --network {network}`")

    async def _drop(self, network: str) -> None:
        async with reached(self.connection) as broker:
            await reset(broker, network)


@contextmanager
def ground(prefix: str, say: Say) -> Iterator[Ground]:
    """One broker for all that is measured inside. Raises AkkafkaError if none answers or can be started."""
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        connection = named(Where({}))
        if connection is not None:
            answering(connection, say)
            yield Ground(connection, Path(name), _as_named(connection), listening(connection), say)
            return
        lease = acquire(BrokerSettings(Path(name) / "broker", linger_s=0.0), progress=say)
        try:
            connection = embedded(Where({}), lease.bootstrap)
            yield Ground(connection, Path(name), environment(lease.bootstrap), listening(connection), say)
        finally:
            lease.release()
            wait_until_gone(name)


def listening(connection: Connection) -> psutil.Process | None:
    """The Kafka on this machine that listens at one of the broker's ports, if it is ours to see."""
    ports = {port for host, port in connection.addresses if host in ("localhost", "127.0.0.1", "::1")}
    for process in psutil.process_iter(["cmdline"]):
        if "kafka.Kafka" not in (process.info["cmdline"] or ()):  # such as what hands on a container's port
            continue
        try:
            sockets = process.net_connections("tcp")
        except psutil.Error:  # another user's, or one that has just ended
            continue
        if any(one.status == psutil.CONN_LISTEN and one.laddr.port in ports for one in sockets):
            return process
    return None


def _as_named(connection: Connection) -> dict[str, str]:
    """A training finds the broker as we did: user and certificates may be named beside the address."""
    told = {name: value for name, value in os.environ.items() if name.startswith("KAFKA_")}
    return environment(connection.bootstrap_servers) | told
