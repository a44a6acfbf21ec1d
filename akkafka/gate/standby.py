"""Who works and who stands by, by beats: ownership is a matter of efficiency only, so silence suffices to take over."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import psutil

from akkafka.broker.base import Broker, BrokerUnavailableError, OffsetGoneError, Reader, Record, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.reading import follow, last_records
from akkafka.broker.side import SideChannel
from akkafka.errors import ProtocolError
from akkafka.protocol import wire
from akkafka.protocol.figures import GateFigures, from_message
from akkafka.protocol.messages import Figures

SILENCE_S = 0.6  # three beats
SLOW_S = 3.0  # of a neighbour that is seen to live: it is slow, and a second worker would make it slower
LOOK_S = 0.05  # how often a standby looks whether it is needed
LATE_S = 0.4  # a beat that is read at the start may have come this late
OLD_S = 5.0  # a beat older than this by the wall clock is nobody's, even if clocks differ a little
TAIL = 64  # records of the metrics topic, or 4 for each gate, that tell who has been here a moment ago
GLANCE_S = 2.0  # how often who works looks for others


class Watch:
    """Follows the metrics topic for beats of other processes that work on one gate."""

    def __init__(self, broker: Broker, network: Network, gate: int, process: str) -> None:
        self._broker, self._network, self._gate, self._process = broker, network, gate, process
        self._where = TopicPartition(network.topics.metrics, 0)
        self._tail = max(TAIL, 4 * network.gate_count)
        self._reader: Reader | None = None
        self._quick: Reader | None = None
        self._seen = 0  # offset behind what glances have looked at
        self.worker = ""  # process that was last heard to work on this gate
        self._heard_at = float("-inf")
        self._neighbour: psutil.Process | None = None  # the worker, if it is seen to live on this machine

    async def open(self) -> None:
        """Look at the newest beats, then follow."""
        if self._quick is None:  # else the broker went away in the middle of this, and it is tried again
            self._quick = await self._broker.reader(f"{self._process}-beats", max_wait_ms=20)
        # beats may come a quarter of a second late, and most figures are not for us: spare the broker the answers
        if self._reader is None:
            self._reader = await self._broker.reader(f"{self._process}-watch", max_wait_ms=250, min_bytes=1 << 20)
        tail = (await last_records(self._broker, self._quick, [self._where], self._tail))[self._where]
        self._quick.assign({})
        for record in tail:
            age_s = time.time() - record.timestamp_ms / 1000
            if age_s < OLD_S:  # who is started again finds the beats of the one that died
                self._hear(record, max(0.0, age_s - LATE_S))
        (_, end) = (await self._broker.bounds([self._where]))[self._where]
        self._reader.assign({self._where: tail[-1].offset + 1 if tail else end})

    async def close(self) -> None:
        """Let go."""
        for reader in (self._reader, self._quick):
            if reader is not None:
                await reader.close()

    @property
    def silent(self) -> bool:
        """Nobody else has been heard to work on the gate for a while, or the one who did is seen to live no more."""
        state = self._neighbour_state()
        if state == "gone":
            return True
        return time.monotonic() - self._heard_at > (SLOW_S if state == "lives" else SILENCE_S)

    def _neighbour_state(self) -> Literal["gone", "lives", "unknown"]:
        """What this machine knows of the worker; one that is stopped does not live as far as the work goes."""
        if self._neighbour is None:
            return "unknown"
        try:
            status = self._neighbour.status() if self._neighbour.is_running() else psutil.STATUS_DEAD
        except psutil.NoSuchProcess:
            return "gone"
        if status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return "gone"
        return "unknown" if status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP) else "lives"

    async def follow(self, timeout: float) -> None:
        """Take in what comes within `timeout` seconds."""
        assert self._reader is not None, "open() comes first, and no glance before this"
        with suppress(BrokerUnavailableError):
            for record in await follow(self._reader, timeout):
                self._hear(record)

    async def glance(self) -> None:
        """Follow no longer, but look at the newest of what came since the last look; `silent` is of this moment.

        Every worker of a network that followed all the time would hear every beat of all the others.
        """
        assert self._quick is not None, "open() comes first"
        if self._reader is not None:
            self._seen = self._reader.position(self._where)
            await self._reader.close()
            self._reader = None
        with suppress(BrokerUnavailableError, OffsetGoneError):
            tail = (await last_records(self._broker, self._quick, [self._where], self._tail))[self._where]
            self._quick.assign({})
            for record in tail:
                if record.offset >= self._seen:
                    self._hear(record)
            if tail:
                self._seen = tail[-1].offset + 1

    def _hear(self, record: Record, age_s: float = 0.0) -> None:
        told = dict(record.headers)  # most figures are of no interest, and some are long: they need not be decoded
        if told.get("kind", b"gate") != b"gate" or told.get("process") == self._process.encode():
            return
        try:
            message = wire.decode(record.value)
            if not isinstance(message, Figures) or message.kind != "gate" or message.run != self._network.run:
                return
            body = from_message(message)
        except ProtocolError:
            return
        if not isinstance(body, GateFigures) or body.gate != self._gate or message.process == self._process:
            return
        if body.state == "working":
            if message.process != self.worker:
                self._neighbour = _neighbour(body)
            self.worker, self._heard_at = message.process, time.monotonic() - age_s
        elif message.process == self.worker:
            self._heard_at = float("-inf")  # it leaves, or stands by itself


def _neighbour(body: GateFigures) -> psutil.Process | None:
    """The process that tells this, if it is one of ours to see: another container may have our name and other pids."""
    if body.host != socket.gethostname():
        return None
    try:
        return psutil.Process(body.pid)
    except psutil.Error:
        return None


async def stand_by(
    watch: Watch,
    side: SideChannel,
    figures: GateFigures,
    leave: asyncio.Event,
    say: Callable[[str], None],
    *,
    patience_s: float = 0.0,
) -> None:
    """Return when nobody else works on the gate (any more, or after `patience_s` still not), or when asked to leave."""
    told, begun, beat_at = False, time.monotonic(), float("-inf")
    while not leave.is_set():
        waits = not watch.worker and time.monotonic() - begun < patience_s
        if watch.silent and not waits:
            return
        if watch.worker and not told:
            told = True
            say(f"gate {figures.gate} ({figures.name}): {watch.worker} is at work; standing by")
        if time.monotonic() - beat_at >= SILENCE_S / 3:
            beat_at = time.monotonic()
            side.tell(figures)
        await watch.follow(LOOK_S)


async def step_down(watch: Watch, process: str, leave: asyncio.Event) -> None:
    """Set `leave` when an older process works on the same gate: two are harmless, but one is enough."""
    while True:
        await watch.glance()
        if not watch.silent and watch.worker < process:
            leave.set()
            return
        await asyncio.sleep(GLANCE_S)
