"""Connections and metadata of one client, with every wait bounded and every error translated.

Why not AIOKafkaProducer, AIOKafkaConsumer and AIOKafkaClient: they cannot be thrown away while the broker is gone
(stop() waits for ever, or leaves tasks that go on writing), they never go back to the bootstrap servers, their metadata
requests let the broker create topics, and only one produce request per node is in flight. What they are built from is
sound and is used here: connecting (version negotiation, TLS, SASL), the request structs, the C record code.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from aiokafka import errors as kafka_errors
from aiokafka.conn import create_conn
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.record import default_records, memory_records

from akkafka.broker.base import BrokerUnavailableError, TopicPartition
from akkafka.broker.channel import Channel
from akkafka.broker.connection import Address, Connection
from akkafka.broker.embedded import probe
from akkafka.errors import BrokerError

log = logging.getLogger("akkafka.broker")
CONNECT_TIMEOUT_S = 5.0
Node = int | Address  # a broker's id, or the address of a bootstrap server


def require_fast_records() -> None:
    """Refuse to go on without aiokafka's C extension: its pure Python record code is 40 times slower."""
    fast = (default_records.DefaultRecordBatchBuilder, memory_records.MemoryRecords)
    if any("_crecords" not in kind.__module__ for kind in fast):
        raise BrokerError(
            "aiokafka runs without its C extension; expected its compiled record code",
            hint="Unset AIOKAFKA_NO_EXTENSIONS, or reinstall it from a wheel: pip install --force-reinstall aiokafka",
        )


def quieten_aiokafka() -> None:
    """Keep aiokafka's own lines off the terminal while the broker is away, unless somebody set its level."""
    logger = logging.getLogger("aiokafka")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL + 1)


class Presence:
    """Says once that the broker went away and once that it is back, however many clients notice."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.away = False

    def lost(self, reason: str) -> None:
        """A request was not answered."""
        if not self.away:
            self.away = True
            log.warning("broker at %s does not answer (%s); waiting for it", self.where, reason)

    def found(self) -> None:
        """A request was answered."""
        if self.away:
            self.away = False
            log.warning("broker at %s is back", self.where)


class Link:
    """Connections to the brokers of a cluster and who leads which partition."""

    def __init__(self, connection: Connection, name: str, presence: Presence) -> None:
        self.settings = connection
        self.name = name
        self.nodes: dict[int, Address] = {}
        self.cluster_id = ""
        self.controller = -1
        self._presence = presence
        self._leaders: dict[str, dict[int, int]] = {}  # by topic and partition
        self._channels: dict[tuple[Node, int], Channel] = {}  # by broker and line
        self._locks: dict[tuple[Node, int], asyncio.Lock] = {}
        self._ssl = connection.ssl_context()
        self._closed = False

    # -- requests

    async def open(self) -> None:
        """Reach the cluster within the connection's patience, or raise BrokerUnavailableError or BrokerError."""
        deadline = asyncio.get_running_loop().time() + self.settings.patience_s
        pause = 0.05
        while True:
            try:
                await self.refresh(())
                return
            except BrokerUnavailableError:
                if asyncio.get_running_loop().time() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 2)

    async def request(self, node: Node, request: Any, *, timeout: float | None = None) -> Any:
        """The answer of this broker; BrokerUnavailableError if there is none within `timeout` (else the setting)."""
        limit = self.settings.request_timeout_s if timeout is None else timeout
        with self._translated(node):
            async with asyncio.timeout(limit):
                channel = await self._connected(node)
                answer = await channel.call(request, limit)
        self._presence.found()
        return answer

    def channel(self, node: Node, line: int = 0) -> Channel | None:
        """The connection to this broker, if there is one now; `request` makes the one of line 0.

        A broker answers the requests of a connection one behind the other: who waits long may take a line of its own.
        """
        channel = self._channels.get((node, line))
        return channel if channel is not None and channel.open else None

    async def connect(self, node: Node, line: int = 0) -> None:
        """Make the connection if there is none. Raises BrokerUnavailableError or BrokerError."""
        with self._translated(node):
            async with asyncio.timeout(self.settings.request_timeout_s):
                await self._connected(node, line)

    def heard(self, node: Node, answer: memoryview | Exception) -> memoryview:
        """The answer that came by a channel; raises what `request` would, BrokerUnavailableError most often."""
        if not isinstance(answer, Exception):
            self._presence.found()
            return answer
        with self._translated(node):
            raise answer
        raise AssertionError("every error is translated")

    async def ask(self, node: Node, key: int, version: int, body: Sequence[bytes], limit: float) -> memoryview:
        """The answer's bytes to a request made by hand; BrokerUnavailableError if there is none within `limit` s."""
        with self._translated(node):
            async with asyncio.timeout(limit):
                channel = await self._connected(node)
                answer = await channel.answer(key, version, body, limit)
        self._presence.found()
        return answer

    async def request_any(self, request: Any) -> Any:
        """The answer of whichever broker gives one first: known ones, then the bootstrap servers."""
        failure: BrokerError | None = None
        known: list[Node] = sorted(self.nodes, key=lambda n: (n, 0) not in self._channels)
        for node in [*known, *self.settings.addresses]:
            try:
                return await self.request(node, request)
            except BrokerUnavailableError as error:
                failure = error
        assert failure is not None
        raise await self._diagnosed(failure) from failure

    async def refresh(self, topics: Collection[str] | None) -> dict[str, dict[str, Any]]:
        """Ask who leads the partitions of these topics (None: of all); returns the answer by topic."""
        names = None if topics is None else list(topics)
        answer = (await self.request_any(MetadataRequest(names, allow_auto_topic_creation=False))).to_object()
        self.nodes = {broker["node_id"]: (broker["host"], broker["port"]) for broker in answer["brokers"]}
        self.cluster_id, self.controller = answer.get("cluster_id") or "", answer["controller_id"]
        found: dict[str, dict[str, Any]] = {topic["topic"]: topic for topic in answer["topics"]}
        if topics is None:
            self._leaders.clear()
        for name, topic in found.items():  # what is known of a topic that is gone must go too
            self._leaders[name] = {part["partition"]: part["leader"] for part in topic["partitions"]}
        return found

    def leader(self, where: TopicPartition) -> int | None:
        """Node that leads the partition, None if nobody is known to."""
        node = self._leaders.get(where[0], {}).get(where[1])
        return node if node in self.nodes else None

    def partitions(self, topic: str) -> int:
        """Partition count at the last refresh; 0 if the topic was not there."""
        return len(self._leaders.get(topic, ()))

    def versions(self) -> dict[int, tuple[int, int]]:
        """API versions of a connected broker: key -> (lowest, highest)."""
        for channel in self._channels.values():
            return channel.versions
        return {}

    # -- connections

    async def _connected(self, node: Node, line: int = 0) -> Channel:
        async with self._locks.setdefault((node, line), asyncio.Lock()):
            there = self.channel(node, line)
            if there is not None:
                return there
            self._refuse_if_closed()
            made = await self._connect(*self._address(node))
            self._channels[node, line] = made
            if self._closed:  # while we connected
                self.drop(node)
            self._refuse_if_closed()
            return made

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise BrokerError(f"{self.name} is closed")

    async def _connect(self, host: str, port: int) -> Channel:
        settings = self.settings
        password = settings.sasl_password
        async with asyncio.timeout(min(CONNECT_TIMEOUT_S, settings.patience_s)):
            made = await create_conn(
                host,
                port,
                client_id=f"{settings.client_id}-{self.name}",
                request_timeout_ms=int(settings.request_timeout_s * 1000),
                ssl_context=self._ssl,
                security_protocol=settings.security_protocol,
                max_idle_ms=None,  # an idle gate keeps its connections; if the broker closes them, we make new ones
                sasl_mechanism=settings.sasl_mechanism,
                sasl_plain_username=settings.sasl_username,
                sasl_plain_password=password.get_secret_value() if password is not None else None,
            )
        return Channel(made, f"{settings.client_id}-{self.name}")

    def _address(self, node: Node) -> Address:
        if not isinstance(node, int):
            return node
        if node not in self.nodes:
            raise BrokerUnavailableError(f"broker {node} is not part of the cluster any more")
        return self.nodes[node]

    def drop(self, node: Node) -> None:
        """Close the connections to this broker at once; the next request makes a new one."""
        for key in [key for key in self._channels if key[0] == node]:
            channel = self._channels.pop(key, None)  # who hears that one is closed may have dropped the other already
            if channel is not None:
                channel.close()

    def abort(self) -> None:
        """Close all connections at once: nothing more leaves, no request can follow."""
        self._closed = True
        for node, _ in list(self._channels):
            self.drop(node)

    async def close(self) -> None:
        """Close all connections and wait (shortly) until the sockets are gone."""
        self._closed = True
        channels = list(self._channels.values())
        self._channels.clear()
        closing = [channel.close() for channel in channels]
        if closing:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), 1.0)

    # -- errors

    @contextmanager
    def _translated(self, node: Node) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise self._unavailable(node, "no answer in time") from error
        except _REFUSED as error:
            self.drop(node)
            raise _refused(self.settings, error) from error
        except kafka_errors.IncompatibleBrokerVersion as error:
            raise BrokerError(f"the broker is too old: {error}", hint="akkafka needs Kafka 2.1 or newer.") from error
        except (OSError, EOFError, kafka_errors.KafkaError, *_GARBLED) as error:
            raise self._unavailable(node, _reason(error)) from error

    def _unavailable(self, node: Node, reason: str) -> BrokerUnavailableError:
        self.drop(node)
        self._presence.lost(reason)
        host, port = self.nodes.get(node, (f"number {node}", 0)) if isinstance(node, int) else node
        return BrokerUnavailableError(
            f"broker {host}:{port} did not answer {self.name}: {reason}",
            hint="Is it running? `akkafka broker status`, or set --bootstrap-servers / KAFKA_BOOTSTRAP_SERVERS.",
        )

    async def _diagnosed(self, failure: BrokerError) -> BrokerError:
        """A better error where the port is taken by something that is not Kafka."""
        if self.settings.encrypted:
            return failure
        for host, port in self.settings.addresses:
            result = await asyncio.to_thread(probe, host, port, timeout_s=1.0)
            if result.outcome == "not kafka":
                return BrokerError(
                    f"{result.detail}; expected a Kafka broker ({self.settings.security_protocol})",
                    hint="Set --bootstrap-servers / KAFKA_BOOTSTRAP_SERVERS to a Kafka listener; "
                    "a listener with TLS needs KAFKA_SECURITY_PROTOCOL=SSL or SASL_SSL.",
                )
            if result.outcome == "kafka" and self.nodes:
                named = ", ".join(f"{h}:{p}" for h, p in self.nodes.values())
                return BrokerUnavailableError(
                    f"{host}:{port} answers, but names {named} as the cluster's brokers: {failure}",
                    hint="The broker's advertised.listeners must be reachable from here.",
                )
        return failure


_GARBLED = (
    AssertionError,
    ValueError,
    NotImplementedError,
    struct.error,
)  # what aiokafka raises when the answer is not Kafka's
_REFUSED = (
    kafka_errors.SaslAuthenticationFailed,
    kafka_errors.AuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
)


def _refused(settings: Connection, error: Exception) -> BrokerError:
    return BrokerError(
        f"{settings.bootstrap_servers} refused user {settings.sasl_username!r} "
        f"({settings.security_protocol}, {settings.sasl_mechanism}): {error}",
        hint="Check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM.",
    )


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    if isinstance(cause, EOFError):
        return "the connection was closed"
    return str(cause) or type(cause).__name__
