"""What all tests share: an event loop without plug-ins, one real broker per session, names, the real data sets."""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from akkafka.broker.embedded import BrokerSettings, acquire

T = TypeVar("T")


class Run(Protocol):
    """Runs a coroutine to its end in the test's event loop."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T: ...


@pytest.fixture
def run() -> Iterator[Run]:
    """One event loop per test; a task that is left over at its end fails the test."""
    with asyncio.Runner() as runner:
        yield runner.run
        left = runner.run(_others())
        assert not left, f"tasks left over: {left}"


async def _others() -> list[str]:
    """Tasks that still live after those that are about to end had their turns."""
    for _ in range(10):
        await asyncio.sleep(0)
    return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """ "host:port" of the embedded Kafka, empty at the session's start; tests that use it carry the mark kafka."""
    settings = BrokerSettings(tmp_path_factory.mktemp("broker"), linger_s=0.0)
    with acquire(settings, progress=print) as lease:
        yield lease.bootstrap


@pytest.fixture
def unique() -> Callable[[], str]:
    """Makes names (topics, groups, networks) that no other test uses, in this session or another."""
    prefix, numbers = f"test-{uuid.uuid4().hex[:8]}", itertools.count()
    return lambda: f"{prefix}-{next(numbers)}"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The directory that holds mnist/ and fashion-mnist/: AKKAFKA_DATA_DIR, or ../shared/data beside the repository."""
    named = os.environ.get("AKKAFKA_DATA_DIR")
    place = Path(named) if named else Path(__file__).parents[1].parent / "shared" / "data"
    for name in ("mnist", "fashion-mnist"):
        if not (place / name).is_dir():
            pytest.skip(f"the real data sets are not there: no folder {name} in {place}; set AKKAFKA_DATA_DIR")
    return place
