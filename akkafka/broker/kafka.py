"""The broker's face over a real Kafka cluster: topics and offsets here, the rest in files of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka import errors as kafka_errors
from aiokafka.protocol.admin import CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest
from aiokafka.protocol.offset import OffsetRequest

from akkafka.broker.base import FETCH_AHEAD_BYTES, BrokerUnavailableError, Cluster, TopicPartition, TopicSpec
from akkafka.broker.connection import Connection
from akkafka.broker.link import Link, Presence, quieten_aiokafka, require_fast_records
from akkafka.broker.membership import KafkaMembership
from akkafka.broker.neighbours import Neighbours
from akkafka.broker.producer import KafkaProducer
from akkafka.broker.reader import EARLIEST, LATEST, KafkaReader, LongPoll
from akkafka.errors import BrokerError

__all__ = ["KafkaBroker"]

DEFAULT_REPLICATION = 3  # as many copies as survive the loss of one broker with one more to spare
PAUSE_S = 0.03  # between looks at the metadata while a topic comes or goes: 20 to 100 ms on one node
BACKOFF_S = 0.1
SETTLING_S = 60.0  # for topics to get leaders or to go: 10 s were not enough on a machine with ten times its load
FETCH_KEY = 1

T = TypeVar("T")
Made = TypeVar("Made", KafkaProducer, KafkaReader, KafkaMembership)


class KafkaBroker:
    """base.Broker over Kafka; every producer, reader and membership has connections of its own."""

    def __init__(self, connection: Connection) -> None:
        require_fast_records()
        quieten_aiokafka()
        self.connection = connection
        self._presence = Presence(connection.bootstrap_servers)
        self._near = Neighbours()
        self._link = self._new_link("admin")
        self._opened = False
        self._made: set[KafkaProducer | KafkaReader | KafkaMembership] = set()

    @property
    def away(self) -> bool:
        """See base.Broker."""
        return self._presence.away

    # -- the cluster

    async def cluster(self) -> Cluster:
        """See base.Broker; the version is a family ("4.x"), as the protocol does not tell more."""
        await self._open()
        await self._patiently(lambda: self._link.refresh(()))
        lowest_fetch = self._link.versions().get(FETCH_KEY, (0, 0))[0]
        family = "4.x" if lowest_fetch >= 4 else "3.x or older"  # Kafka 4 dropped the oldest requests (KIP-896)
        return Cluster(self._link.cluster_id, len(self._link.nodes), family)

    async def topics(self) -> Mapping[str, int]:
        """See base.Broker."""
        await self._open()
        found = await self._patiently(lambda: self._link.refresh(None))
        return {
            name: len(topic["partitions"])
            for name, topic in found.items()
            if not topic["is_internal"] and not topic["error_code"]
        }

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        """See base.Broker; returns once every partition has a leader. BrokerError if settings are refused."""
        await self._open()
        names = [spec.name for spec in specs]
        found = await self._patiently(lambda: self._link.refresh(names))
        missing = [spec for spec in specs if found.get(spec.name, {"error_code": 3})["error_code"]]
        if missing:
            await self._patiently(lambda: self._create(missing))
        await self._until(lambda: self._have_leaders(specs), f"the leaders of {_told(names)}")
        for spec in specs:
            if self._link.partitions(spec.name) != spec.partitions:
                raise BrokerError(
                    f"topic {spec.name} has {self._link.partitions(spec.name)} partitions, expected {spec.partitions}",
                    hint="It was made by another definition: reset the network or give it another name.",
                )

    async def delete(self, names: Collection[str]) -> None:
        """See base.Broker; topics that are not there are as good as deleted."""
        await self._open()
        await self._patiently(lambda: self._delete(list(names)))
        await self._until(lambda: self._are_gone(names), f"the end of {_told(names)}")

    async def bounds(self, parts: Collection[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """See base.Broker; BrokerError for a partition that does not exist."""
        await self._open()
        low, high = await asyncio.gather(
            self._patiently(lambda: self._offsets(parts, EARLIEST)),
            self._patiently(lambda: self._offsets(parts, LATEST)),
        )
        return {TopicPartition(*where): (low[where], high[where]) for where in parts}

    async def trim(self, before: Mapping[TopicPartition, int]) -> None:
        """See base.Broker; BrokerError beyond the end, or for a topic that is compacted only."""
        await self._open()
        await self._patiently(lambda: self._trim(before))

    # -- what is made from it

    async def producer(self, name: str) -> KafkaProducer:
        """See base.Broker."""
        made = KafkaProducer(self._new_link(name), name, self._near, self._made.discard)
        return await self._kept(made)

    async def reader(
        self, name: str, *, max_wait_ms: int = 100, min_bytes: int = 1, ahead_bytes: int = FETCH_AHEAD_BYTES
    ) -> KafkaReader:
        """See base.Broker."""
        poll = LongPoll(max_wait_ms, min_bytes, ahead_bytes)
        made = KafkaReader(self._new_link(name), name, poll, self._near, self._made.discard)
        return await self._kept(made)

    async def join(self, group: str, topic: str, lanes: Collection[int]) -> KafkaMembership:
        """See base.Broker; the first lanes come by `changed`."""
        made = KafkaMembership(self._new_link(f"member-{topic}"), group, topic, lanes, self._made.discard)
        return await self._kept(made)

    async def close(self) -> None:
        """See base.Broker."""
        await asyncio.gather(*(thing.close() for thing in list(self._made)))
        await self._link.close()

    async def _kept(self, made: Made) -> Made:
        """Open it and remember it for `close`."""
        self._made.add(made)
        try:
            await made.open()
        except BaseException:
            await made.close()
            raise
        return made

    # -- requests

    def _new_link(self, name: str) -> Link:
        return Link(self.connection, name, self._presence)

    async def _open(self) -> None:
        if not self._opened:
            await self._link.open()
            self._opened = True

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try again for as long as the connection's patience lasts; leaders move, brokers restart."""
        deadline = time.monotonic() + self.connection.patience_s
        while True:
            try:
                return await attempt()
            except BrokerUnavailableError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(BACKOFF_S)

    async def _until(self, done: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for what a broker that answers has begun: longer than for an answer, as it may be very busy."""
        limit = max(SETTLING_S, self.connection.patience_s)
        deadline = time.monotonic() + limit
        while not await self._patiently(done):
            if time.monotonic() > deadline:
                raise BrokerUnavailableError(f"waited {limit:g} s in vain for {what}")
            await asyncio.sleep(PAUSE_S)

    async def _create(self, specs: Sequence[TopicSpec]) -> None:
        factor = self.connection.replication_factor or min(DEFAULT_REPLICATION, len(self._link.nodes))
        rows: list[tuple[Any, ...]] = [
            (spec.name, spec.partitions, factor, [], list(spec.settings.items())) for spec in specs
        ]
        timeout_ms = int(self.connection.request_timeout_s * 1000)
        answer = await self._controller(CreateTopicsRequest(rows, timeout_ms, False))
        for name, code, *message in answer.topic_errors:
            error = kafka_errors.for_code(code)
            if error not in (kafka_errors.NoError, kafka_errors.TopicAlreadyExistsError):
                _refuse(error, code, f"topic {name} cannot be created: {' '.join(filter(None, message))}")

    async def _delete(self, names: Sequence[str]) -> None:
        timeout_ms = int(self.connection.request_timeout_s * 1000)
        answer = await self._controller(DeleteTopicsRequest(list(names), timeout_ms))
        for name, code in answer.topic_error_codes:
            error = kafka_errors.for_code(code)
            if error not in (kafka_errors.NoError, kafka_errors.UnknownTopicOrPartitionError):
                _refuse(error, code, f"topic {name} cannot be deleted")

    async def _controller(self, request: Any) -> Any:
        await self._link.refresh(())
        if self._link.controller in self._link.nodes:
            return await self._link.request(self._link.controller, request)
        return await self._link.request_any(request)

    async def _have_leaders(self, specs: Sequence[TopicSpec]) -> bool:
        await self._link.refresh([spec.name for spec in specs])
        wheres = [
            TopicPartition(spec.name, number)
            for spec in specs
            for number in range(self._link.partitions(spec.name) or spec.partitions)
        ]
        return all(self._link.leader(where) is not None for where in wheres)

    async def _are_gone(self, names: Collection[str]) -> bool:
        found = await self._link.refresh(names)
        return all(found[name]["error_code"] for name in found)

    async def _offsets(self, parts: Collection[TopicPartition], which: int) -> dict[TopicPartition, int]:
        offsets: dict[TopicPartition, int] = {}

        async def ask(node: int, wheres: Sequence[TopicPartition]) -> None:
            rows = _by_topic((where, which) for where in wheres)
            answer = await self._link.request(node, OffsetRequest(-1, 0, rows))
            for topic, partitions in answer.topics:
                for number, code, *_, offset in partitions:
                    _refuse(kafka_errors.for_code(code), code, f"{topic}[{number}]: no offsets")
                    offsets[TopicPartition(topic, number)] = offset

        await self._at_leaders(parts, ask)
        return offsets

    async def _trim(self, before: Mapping[TopicPartition, int]) -> None:
        timeout_ms = int(self.connection.request_timeout_s * 1000)

        async def ask(node: int, wheres: Sequence[TopicPartition]) -> None:
            rows = _by_topic((where, before[where]) for where in wheres)
            answer = await self._link.request(node, DeleteRecordsRequest(rows, timeout_ms))
            for topic, partitions, *_ in answer.topics:
                for number, _low, code, *_tags in partitions:
                    wanted = before[TopicPartition(topic, number)]
                    _refuse(kafka_errors.for_code(code), code, f"{topic}[{number}] cannot be trimmed before {wanted}")

        await self._at_leaders(before, ask)

    async def _at_leaders(
        self,
        parts: Collection[TopicPartition],
        ask: Callable[[int, Sequence[TopicPartition]], Awaitable[None]],
    ) -> None:
        """Ask every broker for what it leads, at the same time."""
        topics = {where[0] for where in parts}
        await self._link.refresh(topics)
        by_node: dict[int, list[TopicPartition]] = {}
        for where in parts:
            node = self._link.leader(where)
            if node is None:
                self._refuse_missing(where)
            else:
                by_node.setdefault(node, []).append(where)
        await asyncio.gather(*(ask(node, wheres) for node, wheres in by_node.items()))

    def _refuse_missing(self, where: TopicPartition) -> None:
        topic, number = where
        count = self._link.partitions(topic)
        if count == 0:
            raise BrokerError(f"topic {topic} does not exist", hint="Define the network first.")
        if number >= count:
            raise BrokerError(f"topic {topic} has {count} partitions, there is no {number}")
        raise BrokerUnavailableError(f"{topic}[{number}] has no leader now")


def _by_topic(rows: Iterable[tuple[TopicPartition, int]]) -> list[tuple[str, list[tuple[int, int]]]]:
    topics: dict[str, list[tuple[int, int]]] = {}
    for (topic, number), value in rows:
        topics.setdefault(topic, []).append((number, value))
    return list(topics.items())


def _refuse(error: type[Exception], code: int, message: str) -> None:
    """Raise what an error code means: worth another try, or not; nothing for no error."""
    if error is kafka_errors.NoError:
        return
    text = f"{message} ({error.__name__}, code {code})"
    if getattr(error, "retriable", False):
        raise BrokerUnavailableError(text)
    raise BrokerError(text)


def _told(names: Collection[str]) -> str:
    """The first names, and how many more there are."""
    first = ", ".join(sorted(names)[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more topics"
