"""A TCP proxy before a Kafka broker that does to connections what networks do, at the worst moment if asked to.

It rewrites nothing: the broker has a second listener that advertises the proxy's address (`BrokerSettings.proxied`), so
clients that come through the proxy stay with it. TCP loses no single answer, so neither does this: what is swallowed
takes the rest of its connection along, either silently (the client waits for its time-out) or with a reset.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field

from akkafka.cli.chaos.framing import PRODUCE, Asked, NotKafkaError, answered, asked, read_frame

READ_AHEAD_BYTES = 1 << 20
ANY = -1  # api key


@dataclass(slots=True)
class _Trap:
    """Waits for the n-th answer of a kind."""

    api_key: int
    countdown: int
    reset: bool  # else the connection stays open and silent

    def springs(self, key: int) -> bool:
        """True for the answer that it waits for."""
        if self.api_key not in (ANY, key):
            return False
        self.countdown -= 1
        return self.countdown <= 0


@dataclass(slots=True, eq=False)
class _Passage:
    """One client's connection and its counterpart."""

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    open: deque[Asked] = field(default_factory=deque)  # requests without an answer yet
    silent: bool = False  # what the broker still says is dropped

    def cut(self) -> None:
        """Reset both sides: what was not yet taken by the other side is lost."""
        for side in (self.client, self.broker):
            side.transport.abort()


class Proxy:
    """See the module's docstring. Faults are armed by methods; all of it happens on one event loop."""

    def __init__(self, broker_host: str, broker_port: int) -> None:
        self._target = (broker_host, broker_port)
        self._server: asyncio.Server | None = None
        self._passages: set[_Passage] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._traps: list[_Trap] = []
        self._delay_s = 0.0
        self._closed_until = 0.0
        self._tear = False
        self._closing = False
        self.done: Counter[str] = Counter()  # faults that have really hit somebody, by kind

    async def open(self, port: int = 0, host: str = "127.0.0.1") -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._arrived, host, port, limit=READ_AHEAD_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Cut everything and listen no more."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        await asyncio.sleep(0)  # whoever has just been accepted gets his first step, and sees that we close
        for passage in self._passages:
            passage.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def connections(self) -> int:
        """Clients that are connected now."""
        return len(self._passages)

    # --- faults -----------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset every connection, in the middle of whatever it carries."""
        for passage in list(self._passages):
            self.done["cut"] += 1
            passage.cut()

    def part(self, seconds: float) -> None:
        """Cut everything, and let nobody in for so long."""
        self._closed_until = asyncio.get_running_loop().time() + seconds
        self.cut()

    def delay(self, seconds: float) -> None:
        """Hold each frame back for so long from now on, both ways, in order; 0 ends it."""
        self._delay_s = seconds

    def swallow(self, nth: int = 1, api_key: int = ANY) -> None:
        """The n-th answer from now never comes, nor anything after it on its connection, which stays open."""
        self._traps.append(_Trap(api_key, nth, reset=False))

    def lose_acknowledgement(self, nth: int = 1) -> None:
        """The n-th produce request from now is written, its acknowledgement is dropped, the connection reset."""
        self._traps.append(_Trap(PRODUCE, nth, reset=True))

    def tear(self) -> None:
        """The next produce request is cut off in its middle, then its connection is reset."""
        self._tear = True

    # --- connections ------------------------------------------------------------------------------

    async def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "the server runs this in one"
        self._tasks.add(task)
        try:
            if not self._closing and asyncio.get_running_loop().time() >= self._closed_until:
                await self._carry(reader, writer)
        except (OSError, NotKafkaError):
            pass  # a broker that is away, a client that is gone: the other side sees a closed connection
        except asyncio.CancelledError:
            if not self._closing:
                raise  # else asyncio.streams would log it
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection(*self._target, limit=READ_AHEAD_BYTES)
        passage = _Passage(writer, their_writer)
        self._passages.add(passage)
        ways = [
            asyncio.ensure_future(self._requests(reader, passage)),
            asyncio.ensure_future(self._answers(their_reader, passage)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
        finally:
            self._passages.discard(passage)
            their_writer.close()  # what was written still gets out, unless the passage was cut
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _requests(self, reader: asyncio.StreamReader, passage: _Passage) -> None:
        while (frame := await read_frame(reader)) is not None:
            request = asked(frame)
            passage.open.append(request)
            await self._hold()
            if self._tear and request.api_key == PRODUCE:
                self._tear = False
                await self._torn(frame, passage)
                return
            passage.broker.write(frame)
            await passage.broker.drain()

    async def _torn(self, frame: bytes, passage: _Passage) -> None:
        self.done["tear"] += 1
        passage.broker.write(frame[: len(frame) // 2])
        await passage.broker.drain()
        passage.cut()

    async def _answers(self, reader: asyncio.StreamReader, passage: _Passage) -> None:
        while (frame := await read_frame(reader)) is not None:
            key = _key_of(answered(frame), passage.open)
            trap = None if passage.silent else self._sprung(key)
            if trap is not None:
                self.done["lose" if trap.reset else "swallow"] += 1
                passage.silent = True
                if trap.reset:
                    passage.cut()
                    return
            if passage.silent:
                continue
            await self._hold()
            passage.client.write(frame)
            await passage.client.drain()

    def _sprung(self, key: int) -> _Trap | None:
        for trap in self._traps:
            if trap.springs(key):
                self._traps.remove(trap)
                return trap
        return None

    async def _hold(self) -> None:
        if self._delay_s > 0:
            self.done["delay"] += 1
            await asyncio.sleep(self._delay_s)


def _key_of(correlation_id: int, waiting: deque[Asked]) -> int:
    """Api key of the request that an answer belongs to; answers come in order."""
    while waiting:
        request = waiting.popleft()
        if request.correlation_id == correlation_id:
            return request.api_key
    return ANY
