"""Asks a port "are you Kafka, and are you ready?", in a few bytes and the standard library alone.

One ApiVersions request (version 0, so every Kafka since 0.10 understands it) and its answer. A Kafka that is still
starting accepts connections but answers only once it takes requests, so an answer means *ready*. Nothing that comes
back is trusted: sizes are checked before they are read, every wait has a limit, and whatever is not an ApiVersions
answer is called by name.

Source of the bytes: the Kafka protocol guide (request header v1, response header v0, ApiVersions v0) and KIP-35.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Literal

API_VERSIONS_KEY = 18
CORRELATION_ID = 0x616B6B61  # "akka": an echo service or another protocol does not send this back by chance
CLIENT_ID = b"akkafka-probe"
_LENGTH_BYTES = 4
MAX_ANSWER_BYTES = 64 * 1024  # a Kafka 4 answers with about 500 bytes; more than this is another protocol
MAX_ERROR_CODE_UNSUPPORTED = 35  # UNSUPPORTED_VERSION: still a Kafka, and it says so

Outcome = Literal["kafka", "not kafka", "refused", "silent"]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What answered at a port. `detail` is a sentence for people."""

    outcome: Outcome
    detail: str
    api_versions: dict[int, tuple[int, int]] = field(default_factory=dict)  # api key -> (lowest, highest)

    @property
    def is_kafka(self) -> bool:
        """True if a Kafka answered and takes requests."""
        return self.outcome == "kafka"


class _HungUpError(Exception):
    """The connection was closed before a single byte came."""


class NotKafkaError(ValueError):
    """The bytes are not an answer to our ApiVersions request; the message says what they are instead."""


def request_bytes(correlation_id: int = CORRELATION_ID) -> bytes:
    """The whole ApiVersions v0 request: length, api key, version, correlation id, client id."""
    body = struct.pack(">hhih", API_VERSIONS_KEY, 0, correlation_id, len(CLIENT_ID)) + CLIENT_ID
    return struct.pack(">i", len(body)) + body


def parse_answer(body: bytes, correlation_id: int = CORRELATION_ID) -> dict[int, tuple[int, int]]:
    """Api key -> (lowest, highest version) from the answer's bytes behind its length. Raises NotKafkaError."""
    if len(body) < 10:
        raise NotKafkaError(f"an answer of {len(body)} bytes; an ApiVersions answer has at least 10")
    echoed, error, count = struct.unpack_from(">ihi", body)
    if echoed != correlation_id:
        raise NotKafkaError(f"an answer to another question (correlation id {echoed:#x})")
    if error not in (0, MAX_ERROR_CODE_UNSUPPORTED):
        raise NotKafkaError(f"error code {error} where ApiVersions knows only 0 and 35")
    if count < 0 or len(body) != 10 + 6 * count:
        raise NotKafkaError(f"{count} entries announced in {len(body)} bytes")
    entries = struct.iter_unpack(">hhh", body[10:])
    return {key: (lowest, highest) for key, lowest, highest in entries}


def probe(host: str, port: int, *, timeout_s: float = 2.0) -> ProbeResult:
    """Ask once; returns within `timeout_s` seconds, and never raises for what the network does."""
    deadline = time.monotonic() + timeout_s
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as link:
            return _converse(link, deadline, f"{host}:{port}")
    except TimeoutError:
        return ProbeResult("silent", f"{host}:{port} does not answer within {timeout_s:g} s")
    except OSError as error:
        return ProbeResult("refused", f"{host}:{port}: {_reason(error)}")


def _converse(link: socket.socket, deadline: float, where: str) -> ProbeResult:
    try:
        link.sendall(request_bytes())
        (length,) = struct.unpack(">i", _read_exactly(link, _LENGTH_BYTES, deadline))
        if not 0 <= length <= MAX_ANSWER_BYTES:
            raise NotKafkaError(_guess(struct.pack(">i", length)))
        versions = parse_answer(_read_exactly(link, length, deadline))
    except NotKafkaError as error:
        return ProbeResult("not kafka", f"{where} is not a Kafka: {error}")
    except (_HungUpError, ConnectionResetError):  # so does whatever stands before a broker that is away
        return ProbeResult("silent", f"{where} takes connections but hangs up (a broker that is away, or not a Kafka)")
    except TimeoutError:
        return ProbeResult("silent", f"{where} takes connections but does not answer (still starting, or not a Kafka)")
    except OSError as error:
        return ProbeResult("not kafka", f"{where} broke off the conversation: {_reason(error)}")
    return ProbeResult("kafka", f"{where} is a Kafka that takes requests", versions)


def _read_exactly(link: socket.socket, count: int, deadline: float) -> bytes:
    """`count` bytes before `deadline` (of time.monotonic): the limit is on the whole, not on each piece."""
    received = bytearray()
    while len(received) < count:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        link.settimeout(left)
        piece = link.recv(count - len(received))
        if not piece and not received and count == _LENGTH_BYTES:
            raise _HungUpError
        if not piece:
            raise NotKafkaError(f"it hung up after {len(received)} of {count} bytes{_quoted(bytes(received))}")
        received += piece
    return bytes(received)


def _guess(first: bytes) -> str:
    if first == b"HTTP":
        return "it speaks HTTP"
    if first.startswith(b"\x15\x03"):
        return "it speaks TLS (akkafka's own probe is plain text)"
    if first == b"SSH-":
        return "it speaks SSH"
    return f"its answer would be {int.from_bytes(first, 'big', signed=True)} bytes long{_quoted(first)}"


def _quoted(data: bytes) -> str:
    return f" ({data[:16]!r})" if data else ""


def _reason(error: OSError) -> str:
    return "connection refused" if error.errno == errno.ECONNREFUSED else (error.strerror or str(error))
