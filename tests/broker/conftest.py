"""Both brokers, for whoever tests what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.memory_log import MemoryLog

from .contract import LIMIT, World

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
