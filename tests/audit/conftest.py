"""Logs of trainings, to be damaged."""

from __future__ import annotations

import asyncio
import copy

import pytest

from akkafka.broker.memory import MemoryBroker
from tests.pipeline.fleet import small_definition, train_through

from .recorded import BATCHES, Log, recorded


@pytest.fixture(scope="package")
def whole() -> Log:
    """The log of a training that was left alone."""
    broker = MemoryBroker()
    definition = small_definition("schedule.window=3", "lanes.train=2", "snapshots.every_bytes=40000")
    network, states = asyncio.run(train_through(broker, definition, "whole", epochs=4, sentinels=2, jitter=7))
    assert [state.version for state in states] == [BATCHES] * 3
    return recorded(broker, network)


@pytest.fixture
def log(whole: Log) -> Log:
    """A copy to be damaged."""
    return Log(whole.network, copy.deepcopy(whole.held))


@pytest.fixture
def single() -> Log:
    """One lane, one epoch of six batches."""
    broker = MemoryBroker()
    network, _ = asyncio.run(train_through(broker, small_definition(), "single", epochs=1))
    return recorded(broker, network)
