"""A pretended Kafka of one partition log per lane that answers produce requests as a script says."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from aiokafka.protocol.metadata import MetadataResponse_v5
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from aiokafka.protocol.transaction import InitProducerIdResponse_v0

TOPIC = "t"
LANES = 2
VERSIONS = {0: (7, 7), 3: (5, 5), 18: (0, 0), 22: (0, 0)}

# What to do with the next produce request; "ack" when the script has run out.
#   ack            append (once per sequence) and give the offset
#   hang up        append, then close the connection instead of answering
#   ignore         close the connection without appending
#   hold           append, never answer
#   <int>          answer with this error code, append nothing
#   no offset      append, answer without error but with offset -1
# It hangs up on fetch requests: a reader gets nothing from here.


@dataclass
class Scripted:
    """State of the pretended broker."""

    script: deque[str | int] = field(default_factory=deque)
    logs: dict[int, list[int]] = field(default_factory=lambda: {lane: [] for lane in range(LANES)})  # record counts
    appended: dict[tuple[int, int], int] = field(default_factory=dict)  # (lane, base sequence) -> base offset
    sequences: list[tuple[int, int]] = field(default_factory=list)  # (lane, base sequence) of each produce request
    port: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)  # a client closed its connection

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                body = BytesIO(await reader.readexactly(size))
                key, _version, correlation, name = struct.unpack(">hhih", body.read(10))
                body.read(name)
                answer = self._answer(key, body)
                if answer is None:
                    break
                if answer:
                    answer = struct.pack(">i", correlation) + answer
                    writer.write(struct.pack(">i", len(answer)) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        finally:
            writer.close()

    def _answer(self, key: int, body: BytesIO) -> bytes | None:
        """The answer's bytes; empty: stay silent; None: hang up."""
        if key == 18:
            rows = b"".join(struct.pack(">hhh", api, *span) for api, span in VERSIONS.items())
            return struct.pack(">hi", 0, len(VERSIONS)) + rows
        if key == 3:
            parts: list[Any] = [(0, lane, 0, [0], [0], []) for lane in range(LANES)]
            return bytes(
                MetadataResponse_v5(0, [(0, "127.0.0.1", self.port, None)], "c", 0, [(0, TOPIC, False, parts)]).encode()
            )
        if key == 1:
            return None
        if key == 22:
            return bytes(InitProducerIdResponse_v0(0, 0, 7, 0).encode())
        return self._produced(ProduceRequest_v7.decode(body))

    def _produced(self, request: Any) -> bytes | None:
        ((_topic, ((lane, data),)),) = request.topics
        sequence, count = struct.unpack_from(">ii", data, 53)
        self.sequences.append((lane, sequence))
        step = self.script.popleft() if self.script else "ack"
        if isinstance(step, int):
            return _produce_answer(lane, step, -1)
        if step == "ignore":
            return None
        offset = self._append(lane, sequence, count)
        if step in ("hang up", "hold"):
            return None if step == "hang up" else b""
        return _produce_answer(lane, 0, -1 if step == "no offset" else offset)

    def _append(self, lane: int, sequence: int, count: int) -> int:
        if (lane, sequence) not in self.appended:
            self.appended[lane, sequence] = sum(self.logs[lane])
            self.logs[lane].append(count)
        return self.appended[lane, sequence]


def _produce_answer(lane: int, code: int, offset: int) -> bytes:
    return bytes(ProduceResponse_v7([(TOPIC, [(lane, code, offset, -1, 0)])], 0).encode())


@asynccontextmanager
async def scripted(*steps: str | int) -> AsyncIterator[Scripted]:
    """A pretended broker at `port` of 127.0.0.1 that answers the first produce requests by these steps."""
    made = Scripted(deque(steps))
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made
