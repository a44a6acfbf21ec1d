"""What all sentinels' rims share: lanes by membership, outputs, homecomings, dead letters, figures."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any, Literal

import psutil

from akkafka.broker.base import Broker, BrokerUnavailableError, Reader, Record, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.outlet import Outlet
from akkafka.broker.patience import patiently
from akkafka.broker.process import say
from akkafka.broker.side import SideChannel
from akkafka.broker.trimming import keep_trimming, trim_once
from akkafka.errors import NewerSchemaError, ProtocolError
from akkafka.protocol import wire
from akkafka.protocol.figures import LaneFigures, SentinelFigures
from akkafka.protocol.messages import Backward, Forward, Mode
from akkafka.protocol.stamps import arrived, leaving, sent
from akkafka.protocol.topics import MAX_MESSAGE_BYTES
from akkafka.sentinel.lanes import LanePlace

BEAT_S = 0.5
WAIT_TOLD_S = 5.0
_ENVELOPE_BYTES = 1 << 16

State = Literal["starting", "working", "standby", "waiting", "finished", "leaving"]


class Rim:
    """Lanes come and go; outputs are read where they stand; what the core asks for is done by the role."""

    def __init__(self, broker: Broker, network: Network, mode: Mode, process: str) -> None:
        self.broker, self.network, self.mode, self.process = broker, network, mode, process
        self.topics = network.topics
        self.side = SideChannel(broker, network, process)
        self.outlet = Outlet(broker, f"{process}-edges", network.run, self.fail)
        self.state: State = "starting"
        self.waiting_for = ""
        self.ended = asyncio.Event()
        self.error: BaseException | None = None
        self.record: Record | None = None  # the one being handled, for dead letters
        self.heard_at = time.monotonic()
        self._told = False
        self._needless: Callable[[], Mapping[TopicPartition, int]] = dict
        self._tasks: set[asyncio.Task[None]] = set()
        self._self = psutil.Process()

    # --- life -------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make readers and producers."""
        self.outputs: Reader = await patiently(lambda: self.broker.reader(f"{self.process}-outputs"))
        await patiently(self.outlet.open)

    async def close(self) -> None:
        """Let go of everything."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.error is None and not self.network.keep_log:
            await trim_once(self.broker, self._needless())  # a pass may be over before its first turn comes
        await asyncio.gather(self.outlet.close(timeout=2.0), self.side.close(), self.outputs.close())

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run beside the rest; what it raises ends the process."""
        task = asyncio.ensure_future(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # cancelled before its first step, it would never be awaited
        return task

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End with this error."""
        if self.error is None:
            self.error = error
        self.ended.set()

    # --- lanes ------------------------------------------------------------------------------------

    async def follow_membership(
        self, group: str, lanes: Collection[int], changed: Callable[[frozenset[int]], Awaitable[None]]
    ) -> None:
        """Work on the lanes that the group gives; `changed` hears of every change."""
        membership = await patiently(lambda: self.broker.join(group, self.topics.forward(0), lanes))
        try:
            while True:
                await changed(await membership.changed())
        finally:
            await membership.close()

    def read_outputs(self, kept: Collection[int], taken: dict[int, LanePlace]) -> None:
        """Read the open end of these lanes: kept ones go on where they are."""
        topic = self.topics.forward(self.network.gate_count)
        positions = {TopicPartition(topic, lane): place.output_offset for lane, place in taken.items()}
        for lane in kept:
            where = TopicPartition(topic, lane)
            positions[where] = self.outputs.position(where)
        self.outputs.assign(positions)

    def trim(self, needless: Callable[[], Mapping[TopicPartition, int]]) -> None:
        """From now on and at the end trim before the offsets that `needless` gives, unless the log is to be kept."""
        kept, self._needless = self.network.keep_log, needless
        self.spawn(keep_trimming(self.broker, needless, f"{self.mode} sentinel", keep_log=kept))

    # --- reading ----------------------------------------------------------------------------------

    async def pump(self, reader: Reader, take: Callable[[Record, Forward | Backward], None]) -> None:
        """Decode what comes and hand it over; refuse what is no message of an edge."""
        while True:
            try:
                records = await reader.poll(timeout=1.0)
            except BrokerUnavailableError:
                continue
            for record in records:
                self._hand(record, take)

    def _hand(self, record: Record, take: Callable[[Record, Forward | Backward], None]) -> None:
        self.heard_at, self._told, self.waiting_for = time.monotonic(), False, ""
        self.record = record
        arrived_ns = time.time_ns()
        try:
            message = arrived(wire.decode(record.value), record.headers, arrived_ns)
        except NewerSchemaError:
            raise
        except ProtocolError as error:
            self.refuse(record.topic, record.partition, record.offset, str(error))
            return
        if isinstance(message, Forward | Backward) and message.lane == record.partition:
            take(record, message)
        else:
            reason = f"a {type(message).__name__} that does not belong into this topic and lane"
            self.refuse(record.topic, record.partition, record.offset, reason)
        self.record = None

    def refuse(self, topic: str, lane: int, offset: int, reason: str) -> None:
        """Put a record into the dead-letter topic."""
        at_hand = self.record if self.record is not None and self.record.offset == offset else None
        self.side.refuse(at_hand, topic, lane, offset, f"{self.mode} sentinel: {reason}")

    # --- sending ----------------------------------------------------------------------------------

    def send_forward(self, message: Forward) -> None:
        """Into gate 0, in lane order; what is too large for a message is sent as void."""
        message = leaving(message)
        size = message.x.nbytes if message.x is not None else 0
        value = wire.encode(message) if size < MAX_MESSAGE_BYTES - _ENVELOPE_BYTES else b""
        if not value or len(value) > MAX_MESSAGE_BYTES - _ENVELOPE_BYTES:
            size = size or len(value)
            value = wire.encode(_voided(message, size))
            say(f"lane {message.lane}, batch {message.seq}: {size} bytes are too many; voided")
        where = TopicPartition(self.topics.forward(0), message.lane)
        self.outlet.send(where, message.seq, value, wire.headers(message) + sent(message))

    def send_gradient(self, message: Backward, delivered: Callable[[int], None] | None = None) -> None:
        """Into the last gate, in lane order; `delivered(seq)` is called once it is in the log."""
        message = leaving(message)
        where = TopicPartition(self.topics.backward(self.network.gate_count), message.lane)
        value = wire.encode(message)
        self.outlet.send(where, message.seq, value, wire.headers(message) + sent(message), delivered)

    # --- figures ----------------------------------------------------------------------------------

    def figures(self, lanes: list[LaneFigures]) -> SentinelFigures:
        """What this sentinel tells of itself."""
        return SentinelFigures(
            role=self.mode,
            state=self.state,
            waiting_for=self.waiting_for,
            lanes=lanes,
            rss_bytes=self._self.memory_info().rss,
            cpu_seconds=time.process_time(),
            dead_letters=self.side.dead_letters,
            host=socket.gethostname(),
            pid=os.getpid(),
        )

    def tell_waiting(self, waiting_for: str) -> None:
        """Say once what is waited for, after 5 s of silence."""
        silent = time.monotonic() - self.heard_at
        if silent < WAIT_TOLD_S or self._told:
            return
        self._told = True
        if self.broker.away or self.outlet.mending:
            waiting_for = "the broker"
        self.waiting_for = waiting_for
        say(f"waiting for {waiting_for} (nothing has come for {silent:.0f} s)")


def group_name(network: Network, role: str) -> str:
    """Consumer group of a role: nothing of an earlier incarnation is in it."""
    return f"akkafka.{network.name}.{network.run.incarnation.hex()}.{role}"


def _voided(message: Forward, size: int) -> Forward:
    return Forward(
        run=message.run,
        mode=message.mode,
        lane=message.lane,
        seq=message.seq,
        cursor=message.cursor,
        after=message.after,
        trail=(),
        x=None,
        tag=message.tag,
        void=f"a batch of {size} bytes, a message takes {MAX_MESSAGE_BYTES}",
        issued_ns=message.issued_ns,
        tally=message.tally,
    )
