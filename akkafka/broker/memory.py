"""The broker's face over a log in memory: shells run unchanged without Kafka, and tests can make it misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from akkafka.broker.base import (
    FETCH_AHEAD_BYTES,
    BrokerUnavailableError,
    Cluster,
    DeliveryError,
    Headers,
    Record,
    RecordTooLargeError,
    TopicPartition,
    TopicSpec,
)
from akkafka.broker.memory_log import MemoryLog
from akkafka.errors import BrokerError

__all__ = ["Faults", "MemoryBroker", "MemoryLog", "MemoryMembership", "MemoryProducer", "MemoryReader"]


@dataclass(slots=True)
class Faults:
    """What goes wrong next; shared by everything made from one MemoryBroker. Counters go down with each fault.

    `lose_ack(topic)` and `refuse(topic)` strike the next records of that topic ("" means any).
    """

    away: bool = False  # the broker answers nobody: sends stay unanswered, reads and requests raise
    lost_acks: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    holding: bool = False
    held: list[Callable[[], None]] = field(default_factory=list)

    def lose_ack(self, topic: str = "", times: int = 1) -> None:
        """The record is written, but its future fails with DeliveryError."""
        self.lost_acks[topic] = self.lost_acks.get(topic, 0) + times

    def refuse(self, topic: str = "", times: int = 1) -> None:
        """The record is not written, and its future fails with DeliveryError."""
        self.refusals[topic] = self.refusals.get(topic, 0) + times

    def hold_acks(self) -> None:
        """Records are written, acknowledgements wait for `release_acks`."""
        self.holding = True

    def release_acks(self) -> None:
        """Give the held acknowledgements, in order, and hold no more."""
        self.holding = False
        held, self.held[:] = list(self.held), []
        for acknowledge in held:
            acknowledge()

    def take(self, counters: dict[str, int], topic: str) -> bool:
        """True if a fault of this kind is due for the topic; uses it up."""
        for name in (topic, ""):
            if counters.get(name, 0) > 0:
                counters[name] -= 1
                return True
        return False


class MemoryProducer:
    """base.Producer: writes at once, acknowledges one turn of the event loop later, in order."""

    def __init__(self, name: str, log: MemoryLog, faults: Faults) -> None:
        self.name = name
        self._log = log
        self._faults = faults
        self._broken = False
        self._closed = False
        self._pending = 0
        self._open: dict[asyncio.Future[int], int] = {}

    @property
    def broken(self) -> bool:
        """True after the first DeliveryError."""
        return self._broken

    def pending(self) -> int:
        """Bytes sent and not yet acknowledged."""
        return self._pending

    def send(
        self, where: TopicPartition, value: bytes | None, *, key: bytes | None = None, headers: Headers = ()
    ) -> asyncio.Future[int]:
        """Append and return the future of the offset; see base.Producer."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        if self._closed or self._broken:
            _fail(future, self._refusal(where))
            return future
        size = len(value or b"") + len(key or b"")
        self._pending += size
        self._open[future] = size
        try:
            outcome = self._write(where, value, key, headers)
        except RecordTooLargeError as error:
            self._settle(future, error)
            return future
        except BrokerError as error:
            outcome = DeliveryError(f"producer {self.name}: {error}", hint=error.hint)
        if isinstance(outcome, DeliveryError):
            self._break(outcome)
        elif self._faults.holding or self._faults.held:
            self._faults.held.append(lambda: self._settle(future, outcome))
        else:
            loop.call_soon(self._settle, future, outcome)
        return future

    async def close(self, *, timeout: float = 5.0) -> None:
        """Nothing is left to flush, except held acknowledgements, which are given up."""
        await asyncio.sleep(0)
        self._closed = True
        for future in list(self._open):
            self._settle(future, DeliveryError(f"producer {self.name} was closed before the record was acknowledged"))

    def _write(
        self, where: TopicPartition, value: bytes | None, key: bytes | None, headers: Headers
    ) -> int | DeliveryError:
        topic = where.topic
        self._log.check(where, value, key, headers)
        if self._faults.away:
            return DeliveryError(f"producer {self.name}: no answer for {topic}[{where.partition}]")
        if self._faults.take(self._faults.refusals, topic):
            return DeliveryError(f"producer {self.name}: {topic}[{where.partition}] refused the record")
        offset = self._log.append(where, value, key, headers)
        if self._faults.take(self._faults.lost_acks, topic):
            return DeliveryError(f"producer {self.name}: the acknowledgement of {topic}[{where.partition}] was lost")
        return offset

    def _break(self, error: DeliveryError) -> None:
        """All that is not acknowledged fails, as with a real producer whose sockets are closed."""
        self._broken = True
        for future in list(self._open):
            self._settle(future, DeliveryError(str(error), hint=error.hint))

    def _settle(self, future: asyncio.Future[int], outcome: int | BrokerError) -> None:
        self._pending -= self._open.pop(future, 0)
        if future.done():
            return
        if isinstance(outcome, BrokerError):
            _fail(future, outcome)
        else:
            future.set_result(outcome)

    def _refusal(self, where: TopicPartition) -> DeliveryError:
        state = "closed" if self._closed else "broken"
        return DeliveryError(
            f"producer {self.name} is {state}: nothing was sent to {where.topic}[{where.partition}]",
            hint="Read the log's end, make a new producer and send again, in lane order.",
        )


class MemoryReader:
    """base.Reader over the log: nothing is fetched ahead, so nothing can be stale."""

    def __init__(self, name: str, log: MemoryLog, faults: Faults) -> None:
        self.name = name
        self._log = log
        self._faults = faults
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._woken = asyncio.Event()
        self._closed = False

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """See base.Reader; a poll that waits goes on with the new partitions."""
        self._log.unwatch(self._positions, self)
        self._positions = {TopicPartition(*where): offset for where, offset in positions.items()}
        self._paused.clear()
        self._log.watch(self._positions, self, self._woken.set)
        self._woken.set()

    def pause(self, parts: Iterable[TopicPartition]) -> None:
        """See base.Reader."""
        self._paused.update(parts)

    def resume(self, parts: Iterable[TopicPartition]) -> None:
        """See base.Reader; wakes a poll that waits."""
        self._paused.difference_update(parts)
        self._woken.set()

    def position(self, where: TopicPartition) -> int:
        """See base.Reader; BrokerError for a partition that is not assigned."""
        try:
            return self._positions[where]
        except KeyError:
            raise BrokerError(f"reader {self.name} does not read {where[0]}[{where[1]}]") from None

    async def poll(self, *, timeout: float, max_records: int = 500) -> Sequence[Record]:
        """See base.Reader; raises BrokerUnavailableError at once while `Faults.away`."""
        await asyncio.sleep(0)  # a reader that always finds data must not starve the event loop
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, timeout)):
                while not (taken := self._take(max_records)):
                    self._woken.clear()
                    await self._woken.wait()
                return taken
        return []

    def _take(self, limit: int) -> list[Record]:
        self._check()
        taken: list[Record] = []
        for where in list(self._positions):
            if where in self._paused or len(taken) >= limit:
                continue
            found = self._log.read(where, self._positions[where], limit - len(taken))
            if found:
                taken += found
                self._positions[where] = found[-1].offset + 1
                self._positions[where] = self._positions.pop(where)  # to the back: the others come first next time
            else:
                self._skip_gap(where)
        return taken

    def _skip_gap(self, where: TopicPartition) -> None:
        """Compaction may have removed all there was up to the end."""
        self._positions[where] = self._log.bounds(where)[1]

    def _check(self) -> None:
        if self._closed:
            raise BrokerError(f"reader {self.name} is closed")
        if self._faults.away:
            raise BrokerUnavailableError(f"reader {self.name}: the memory broker is away")

    async def close(self) -> None:
        """See base.Reader."""
        self._closed = True
        self._log.unwatch(self._positions, self)
        self._woken.set()


class MemoryMembership:
    """base.Membership; the group lives in the log."""

    def __init__(self, log: MemoryLog, group: str, topic: str, lanes: Collection[int]) -> None:
        self._log, self._group, self._topic = log, group, topic
        self._lanes: frozenset[int] = frozenset()
        self._told: frozenset[int] | None = None  # what `changed` returned last
        self._woken = asyncio.Event()
        self._closed = False
        self.member = log.join(group, topic, lanes, self._assigned)

    @property
    def lanes(self) -> frozenset[int]:
        """See base.Membership."""
        return self._lanes

    async def changed(self) -> frozenset[int]:
        """See base.Membership; the first call returns the first lanes. BrokerError once closed."""
        while self._told == self._lanes and not self._closed:
            self._woken.clear()
            await self._woken.wait()
        if self._closed:
            raise BrokerError(f"group {self._group}: this member has left")
        self._told = self._lanes
        return self._lanes

    async def close(self) -> None:
        """See base.Membership."""
        self._closed = True
        self._log.leave(self._group, self._topic, self.member)
        self._lanes = frozenset()
        self._woken.set()

    def _assigned(self, lanes: frozenset[int]) -> None:
        self._lanes = lanes
        self._woken.set()


class MemoryBroker:
    """base.Broker over a MemoryLog; several may share one log, each with faults of its own."""

    def __init__(self, log: MemoryLog | None = None, *, faults: Faults | None = None) -> None:
        self.log = log if log is not None else MemoryLog()
        self.faults = faults if faults is not None else Faults()
        self._made: list[MemoryProducer | MemoryReader | MemoryMembership] = []

    @property
    def away(self) -> bool:
        """See base.Broker."""
        return self.faults.away

    async def cluster(self) -> Cluster:
        """See base.Broker."""
        self._reach()
        return Cluster("memory", 1, "memory")

    async def topics(self) -> Mapping[str, int]:
        """See base.Broker."""
        self._reach()
        return self.log.topics()

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        """See base.Broker."""
        self._reach()
        for spec in specs:
            self.log.create(spec)

    async def delete(self, names: Collection[str]) -> None:
        """See base.Broker."""
        self._reach()
        for name in names:
            self.log.delete(name)

    async def bounds(self, parts: Collection[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        """See base.Broker."""
        self._reach()
        return {where: self.log.bounds(where) for where in parts}

    async def trim(self, before: Mapping[TopicPartition, int]) -> None:
        """See base.Broker."""
        self._reach()
        for where, offset in before.items():
            self.log.trim(where, offset)

    async def producer(self, name: str) -> MemoryProducer:
        """See base.Broker."""
        self._reach()
        made = MemoryProducer(name, self.log, self.faults)
        self._made.append(made)
        return made

    async def reader(
        self, name: str, *, max_wait_ms: int = 100, min_bytes: int = 1, ahead_bytes: int = FETCH_AHEAD_BYTES
    ) -> MemoryReader:
        """See base.Broker; there is no long poll to bound."""
        self._reach()
        made = MemoryReader(name, self.log, self.faults)
        self._made.append(made)
        return made

    async def join(self, group: str, topic: str, lanes: Collection[int]) -> MemoryMembership:
        """See base.Broker."""
        self._reach()
        made = MemoryMembership(self.log, group, topic, lanes)
        self._made.append(made)
        return made

    async def close(self) -> None:
        """See base.Broker."""
        made, self._made = self._made, []
        for thing in made:
            await thing.close()

    def _reach(self) -> None:
        if self.faults.away:
            raise BrokerUnavailableError("the memory broker is away", hint="Set Faults.away to False.")


def _fail(future: asyncio.Future[int], error: BrokerError) -> None:
    future.set_exception(error)
    future.exception()  # a future nobody awaits must not complain at exit: `broken` tells the owner as well
