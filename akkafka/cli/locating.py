"""Which broker a command speaks to: the one named, else one on the default port, else the embedded one."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from akkafka.broker.connection import Connection
from akkafka.broker.embedded.handshake import ProbeResult, probe
from akkafka.broker.embedded.settings import default_state_dir
from akkafka.cli.options import Where
from akkafka.errors import BrokerError

if TYPE_CHECKING:
    from akkafka.broker.kafka import KafkaBroker

DEFAULT_ADDRESS: Final = "localhost:9092"  # where `docker compose up kafka` listens
PATIENCE_S: Final = 10.0  # for a broker that was named and is perhaps still starting
SAY_EVERY_S: Final = 5.0

Say = Callable[[str], None]


def state_home(state_dir: Path | None) -> Path:
    """All that akkafka keeps on this machine: `broker/`, and `networks/<name>/` with logs and weights."""
    return state_dir.expanduser().absolute() if state_dir else default_state_dir().parent


def broker_home(state_dir: Path | None) -> Path:
    """The embedded broker's own directory."""
    return state_home(state_dir) / "broker"


def named(where: Where) -> Connection | None:
    """The connection that flags or environment ask for; None if they name no broker. Raises ConfigError."""
    connection = Connection.load(where.flags)
    explicit = where.flags.get("bootstrap_servers") or os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    return connection if explicit or connection.security_protocol != "PLAINTEXT" else None


def on_default_port(where: Where) -> Connection | None:
    """A Kafka on this machine's default port, if one answers."""
    host, port = DEFAULT_ADDRESS.split(":")
    if not probe(host, int(port), timeout_s=1.0).is_kafka:
        return None
    return Connection.load({**where.flags, "bootstrap_servers": DEFAULT_ADDRESS})


def embedded(where: Where, bootstrap: str) -> Connection:
    """How to speak to our own broker: nothing but its address matters."""
    return Connection(bootstrap_servers=bootstrap, replication_factor=1)


def locate(where: Where, say: Say) -> Connection:
    """The broker that is there. Raises BrokerError that tells what was tried, if there is none."""
    connection = named(where)
    if connection is not None:
        return answering(connection, say)
    connection = on_default_port(where)
    if connection is not None:
        return connection
    from akkafka.broker.embedded import status

    ours = status(broker_home(where.state_dir))
    if ours.running and ours.phase != "starting" and ours.bootstrap:
        return embedded(where, ours.bootstrap)
    raise BrokerError(
        f"no broker: none was named, no Kafka answers at {DEFAULT_ADDRESS}, and none runs in {ours.state_dir}",
        hint="Start one with `akkafka broker start` or `docker compose up kafka`, or name one by --bootstrap-servers.",
    )


def answering(connection: Connection, say: Say, *, patience_s: float = PATIENCE_S) -> Connection:
    """`connection`, once one of its addresses answers as a Kafka; waits for one that may still be starting.

    Raises BrokerError: at once for a port that is something else than Kafka, else after `patience_s` seconds.
    """
    if connection.security_protocol != "PLAINTEXT":
        return connection  # the plain probe would be taken for noise; the client says what is wrong
    begun, told = time.monotonic(), 0.0
    while True:
        results = [probe(host, port, timeout_s=2.0) for host, port in connection.addresses]
        waited = time.monotonic() - begun
        if any(result.is_kafka for result in results):
            return connection
        if waited > patience_s or all(result.outcome == "not kafka" for result in results):
            raise _unreachable(results)
        if waited - told >= SAY_EVERY_S:
            told = waited
            say(f"waiting for the broker ({results[0].detail}; {waited:.0f} s)")
        time.sleep(0.3)


def _unreachable(results: list[ProbeResult]) -> BrokerError:
    return BrokerError(
        "no broker: " + "; ".join(result.detail for result in results),
        hint="Check --bootstrap-servers and KAFKA_BOOTSTRAP_SERVERS; without them akkafka starts a broker of its own.",
    )


@asynccontextmanager
async def reached(connection: Connection) -> AsyncIterator[KafkaBroker]:
    """The broker behind a connection, closed at the end."""
    from akkafka.broker.kafka import KafkaBroker

    broker = KafkaBroker(connection)
    try:
        yield broker
    finally:
        async with asyncio.timeout(10.0):
            await broker.close()
