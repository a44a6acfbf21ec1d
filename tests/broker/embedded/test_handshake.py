"""The probe: exact towards Kafka's bytes, unmoved by anybody else's."""

from __future__ import annotations

import http.server
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akkafka.broker.embedded.handshake import CORRELATION_ID, NotKafkaError, parse_answer, probe, request_bytes

HOST = "127.0.0.1"


def answer(entries: list[tuple[int, int, int]], correlation_id: int = CORRELATION_ID, error: int = 0) -> bytes:
    body = struct.pack(">ihi", correlation_id, error, len(entries))
    return body + b"".join(struct.pack(">hhh", *entry) for entry in entries)


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


@contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server for one conversation; yields its port."""
    with socket.create_server((HOST, 0)) as listening:

        def serve() -> None:
            link, _ = listening.accept()
            with link:
                talk(link)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def saying(data: bytes) -> Callable[[socket.socket], None]:
    def talk(link: socket.socket) -> None:
        link.recv(4096)
        link.sendall(data)

    return talk


def test_the_request_is_the_bytes_of_the_protocol_guide() -> None:
    assert request_bytes(7) == b"\0\0\0\x17" + b"\0\x12\0\0" + b"\0\0\0\x07" + b"\0\x0dakkafka-probe"


def test_an_answer_gives_the_versions_of_each_api() -> None:
    with server(saying(framed(answer([(0, 3, 11), (18, 0, 4)])))) as port:
        result = probe(HOST, port)
    assert result.is_kafka
    assert result.api_versions == {0: (3, 11), 18: (0, 4)}


def test_an_answer_in_single_bytes_is_read_whole() -> None:
    def talk(link: socket.socket) -> None:
        link.recv(4096)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in framed(answer([(18, 0, 4)])):
            link.sendall(bytes([byte]))

    with server(talk) as port:
        assert probe(HOST, port).is_kafka


def test_a_kafka_that_does_not_know_the_version_is_still_a_kafka() -> None:
    with server(saying(framed(answer([(18, 0, 4)], error=35)))) as port:
        assert probe(HOST, port).is_kafka


def test_a_web_server_is_called_a_web_server() -> None:
    with http.server.HTTPServer((HOST, 0), http.server.BaseHTTPRequestHandler) as web:
        thread = threading.Thread(target=web.handle_request)
        thread.start()
        result = probe(HOST, web.server_port, timeout_s=0.2)
        with socket.create_connection((HOST, web.server_port)):  # in case the probe was the one not served
            pass
        thread.join()
    assert result.outcome in ("not kafka", "silent")
    assert not result.is_kafka


@pytest.mark.parametrize(
    ("said", "clue"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "speaks TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "speaks SSH"),
        (struct.pack(">i", -1), "-1 bytes long"),
        (b"\x7f\xff\xff\xff", "2147483647 bytes long"),
        (b"\0", "hung up after 1 of 4 bytes"),
        (b"\0\0\0\x40abc", "hung up after 3 of 64 bytes"),
        (framed(b""), "an answer of 0 bytes"),
        (framed(answer([(18, 0, 4)], correlation_id=1)), "another question"),
        (framed(answer([(18, 0, 4)], error=2)), "error code 2"),
        (framed(answer([(18, 0, 4)]) + b"x"), "1 entries announced in 17 bytes"),
    ],
)
def test_what_is_not_kafka_is_called_by_name(said: bytes, clue: str) -> None:
    with server(saying(said)) as port:
        result = probe(HOST, port)
    assert result.outcome == "not kafka"
    assert clue in result.detail
    assert f"{HOST}:{port}" in result.detail


def test_who_hangs_up_without_a_word_may_stand_before_a_broker_that_is_away() -> None:
    with server(saying(b"")) as port:
        result = probe(HOST, port)
    assert result.outcome == "silent"
    assert "hangs up" in result.detail


def test_an_echo_server_is_not_kafka() -> None:
    def talk(link: socket.socket) -> None:
        link.sendall(link.recv(4096))

    with server(talk) as port:
        assert probe(HOST, port).outcome == "not kafka"


def test_a_port_where_nobody_listens_is_refused() -> None:
    with socket.socket() as bound:
        bound.bind((HOST, 0))  # taken, but not listening
        result = probe(HOST, bound.getsockname()[1])
    assert (result.outcome, result.is_kafka) == ("refused", False)


def test_a_name_that_does_not_exist_is_refused_and_not_raised() -> None:
    assert probe("no-such-host.invalid", 9092).outcome == "refused"


def test_a_server_that_says_nothing_is_silent() -> None:
    with socket.create_server((HOST, 0)) as listening:
        assert probe(HOST, listening.getsockname()[1], timeout_s=0.05).outcome == "silent"


def test_a_server_that_drips_is_given_up_on_in_time() -> None:
    stop = threading.Event()

    def talk(link: socket.socket) -> None:
        with suppress(OSError):  # the probe has hung up
            link.sendall(b"\0\0\xff\xff")
            while not stop.wait(0.01):
                link.sendall(b"x")

    with server(talk) as port:
        result = probe(HOST, port, timeout_s=0.1)
        stop.set()
    assert result.outcome == "silent"


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_not_kafka(body: bytes) -> None:
    try:
        versions = parse_answer(body)
    except NotKafkaError:
        return
    assert len(body) >= 10 + 6 * len(versions)


@given(st.lists(st.tuples(*[st.integers(-(2**15), 2**15 - 1)] * 3), max_size=50, unique_by=lambda entry: entry[0]))
def test_every_well_formed_answer_is_read(entries: list[tuple[int, int, int]]) -> None:
    assert parse_answer(answer(entries)) == {key: (low, high) for key, low, high in entries}
