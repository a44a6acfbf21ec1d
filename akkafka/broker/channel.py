"""One connection to a broker, without a task, a future or a timer for each request: callbacks over a transport.

aiokafka makes the connection (TLS, SASL, the versions a broker speaks) and then gives its transport away. Its own way
of sending costs some 0.4 ms a request, most of it in streams, futures and time-outs; with 19 requests a batch that was
more than all the arithmetic. A broker answers the requests of one connection in their order, so a queue is enough.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection

Answer = memoryview | Exception
"""The body behind the correlation id, valid as long as anybody holds it; or why there is none."""
Answered = Callable[[Answer], None]

STAGING_BYTES: Final = 1 << 16  # answers up to this size are read together; larger ones into memory of their own
LARGEST_BYTES: Final = 1 << 28  # of an answer: twice what a reader may ask for, and a record of 64 MiB
LOOK_S: Final = 0.5  # between looks at requests that are late
_HEAD = struct.Struct(">ihhih")  # size, API key, API version, correlation id, length of the client's name


class Channel(asyncio.BufferedProtocol):
    """See the module's docstring. `ask` never waits; whoever asks is told once, in the order of asking."""

    def __init__(self, made: AIOKafkaConnection, client: str) -> None:
        """`made`: connected and authenticated, with no request in flight; it is taken over."""
        self._loop = asyncio.get_running_loop()
        self._made = made
        self._client = client.encode()
        self._transport: asyncio.Transport = made._writer.transport
        self._under = made._protocol
        self._asked: deque[tuple[int, float, Answered]] = deque()  # correlation id, deadline, whom to tell
        self._correlation = 0
        self._staging = bytearray(STAGING_BYTES)
        self._filled = 0
        self._large: bytearray | None = None  # an answer that does not fit into staging
        self._timer: asyncio.TimerHandle | None = None
        self.open = True
        made._read_task.cancel()  # it would read what now comes to us
        self._transport.pause_reading()  # uvloop looks at the kind of protocol when reading starts
        self._transport.set_protocol(self)
        self._transport.resume_reading()

    # -- asking

    @property
    def versions(self) -> dict[int, tuple[int, int]]:
        """API key -> (lowest, highest) version that the broker speaks."""
        return self._made._versions  # type: ignore[no-any-return]

    def ask(self, key: int, version: int, body: Sequence[bytes], answered: Answered, patience_s: float) -> None:
        """Send a request with an old-style header; `answered` hears of it within about `patience_s` seconds.

        Where no connection is, it hears so at once, from the event loop.
        """
        if not self.open:
            self._loop.call_soon(answered, ConnectionError("the connection was closed"))
            return
        self._correlation = correlation = (self._correlation + 1) & 0x7FFFFFFF
        name = self._client
        size = _HEAD.size - 4 + len(name) + sum(map(len, body))
        self._asked.append((correlation, self._loop.time() + patience_s, answered))
        self._transport.writelines([_HEAD.pack(size, key, version, correlation, len(name)) + name, *body])
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK_S, self._look)

    async def answer(self, key: int, version: int, body: Sequence[bytes], patience_s: float) -> memoryview:
        """The answer to a request, for those who wait for it. Raises what `ask` tells."""
        future: asyncio.Future[memoryview] = self._loop.create_future()

        def answered(answer: Answer) -> None:
            if future.done():
                return
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        self.ask(key, version, body, answered, patience_s)
        return await future

    async def call(self, request: Any, patience_s: float) -> Any:
        """aiokafka's answer to one of its requests. Raises what `ask` tells, or aiokafka's error for the version."""
        prepared = request.prepare(self.versions)
        body = prepared.encode()
        if prepared.FLEXIBLE_VERSION:
            body = b"\x00" + body  # the header's tagged fields: none
        return _decoded(prepared, await self.answer(prepared.API_KEY, prepared.API_VERSION, (body,), patience_s))

    def close(self, error: Exception | None = None) -> asyncio.Future[None]:
        """Hang up at once; whoever waits hears why. The future ends when the socket is gone."""
        gone: asyncio.Future[None] = self._made.close()
        if self.open:
            self.open = False
            # No farewell of TLS: uvloop waits for the other side's, and a loop that is closed meanwhile never ends.
            self._transport.abort()
            self._tell(error or ConnectionError("the connection was closed"))
            if self._timer is not None:
                self._timer.cancel()
        return gone

    def _tell(self, error: Exception) -> None:
        asked, self._asked = self._asked, deque()
        for _, _, answered in asked:
            answered(error)

    def _look(self) -> None:
        """Hang up if an answer is late: the ones behind it cannot come before it."""
        self._timer = None
        if not self._asked:
            return
        if min(deadline for _, deadline, _ in self._asked) < self._loop.time():
            self.close(TimeoutError("no answer in time"))
            return
        self._timer = self._loop.call_later(LOOK_S, self._look)

    # -- reading (asyncio.BufferedProtocol)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        into = self._staging if self._large is None else self._large
        return memoryview(into)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take in what has come."""
        self._filled += nbytes
        if self._large is not None:
            if self._filled == len(self._large):
                frame, self._large, self._filled = self._large, None, 0
                self._frame(memoryview(frame)[4:])
            return
        self._cut()

    def _cut(self) -> None:
        """Hand on all whole answers in staging, keep what is left at its start."""
        at, end, staging = 0, self._filled, self._staging
        while end - at >= 4:
            size = int.from_bytes(staging[at : at + 4], "big", signed=True) + 4
            if not 8 <= size <= LARGEST_BYTES:
                self.close(ValueError(f"an answer of {size - 4} bytes"))
                return
            if at + size > end:
                break
            self._frame(memoryview(bytes(memoryview(staging)[at + 4 : at + size])))
            at += size
        left = end - at
        if left >= 4 and size > STAGING_BYTES:
            self._large = bytearray(size)
            self._large[:left] = staging[at:end]
        elif at:
            staging[:left] = staging[at:end]
        self._filled = left

    def _frame(self, frame: memoryview) -> None:
        if not self._asked:
            self.close(ValueError("an answer that nobody asked for"))
            return
        correlation, _, answered = self._asked.popleft()
        if int.from_bytes(frame[:4], "big") != correlation:
            error = ValueError("an answer to another question")
            answered(error)
            self.close(error)
            return
        answered(frame[4:])

    def eof_received(self) -> None:
        """The broker hangs up."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes."""
        self._under.connection_lost(exc)
        self.close(exc or EOFError("the connection was closed"))


def _decoded(prepared: Any, answer: memoryview) -> Any:
    buffer = BytesIO(bytes(4) + answer)  # aiokafka reads the correlation id again
    prepared.parse_response_header(buffer)
    return prepared.RESPONSE_TYPE.decode(buffer)
