"""Both brokers, for whoever tests what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

from akkafka.broker import requests
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.memory_log import MemoryLog

from .contract import LIMIT, World
from .town import Asked, Town

if TYPE_CHECKING:
    from tests.conftest import Run


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def world(request: pytest.FixtureRequest, run: Run, unique: Callable[[], str]) -> Iterator[World]:
    if request.param == "memory":
        log = MemoryLog()
        made = World(run, unique, lambda: MemoryBroker(log))
    else:
        connection = Connection(
            bootstrap_servers=request.getfixturevalue("kafka_bootstrap"),
            patience_s=5.0,
            session_timeout_s=2 * LIMIT,  # whose lanes move has left by itself
        )
        made = World(run, unique, lambda: KafkaBroker(connection))
    yield made
    run(made.close())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    found, fetch = Asked(), requests.fetch

    def watched(
        parts: Mapping[str, Sequence[tuple[int, int, int]]], max_wait_ms: int, min_bytes: int, max_bytes: int
    ) -> bytes:
        found.requests.append({number: offset for rows in parts.values() for number, offset, _ in rows})
        found.waits_ms.append(max_wait_ms)
        return fetch(parts, max_wait_ms, min_bytes, max_bytes)

    monkeypatch.setattr(requests, "fetch", watched)
    return found


@pytest.fixture
def town(request: pytest.FixtureRequest, unique: Callable[[], str]) -> Town:
    return Town(request.getfixturevalue("kafka_bootstrap"), unique())
