"""What a process tells the gates that it hosts of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from akkafka.broker.connection import Connection
from akkafka.broker.network import define
from akkafka.broker.process import Host
from akkafka.gate import shell
from akkafka.gate.__main__ import Manner, host_gates
from akkafka.gate.compute import SHARED_SHORT_S, SHORT_S, ComputeThread
from tests.pipeline.fleet import small_definition

if TYPE_CHECKING:
    from tests.conftest import Run


@pytest.mark.kafka
@pytest.mark.parametrize(("gates", "short_s"), [([1], SHORT_S), ([0, 1, 2], SHARED_SHORT_S)])
def test_gates_that_share_a_process_do_longer_jobs_on_its_loop(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    kafka_bootstrap: str,
    unique: Callable[[], str],
    gates: list[int],
    short_s: float,
) -> None:
    told: list[float] = []

    async def hosted() -> None:
        host = Host(Connection(bootstrap_servers=kafka_bootstrap))

        class Watched(ComputeThread):
            def __init__(self, model: Any, answer: Any, failed: Any, name: str, limit: float) -> None:
                super().__init__(model, answer, failed, name, limit)
                told.append(limit)
                if len(told) == len(gates):
                    host.leave.set()

        monkeypatch.setattr(shell, "ComputeThread", Watched)
        name = unique()
        async with asyncio.timeout(60.0):
            broker = await host.reach()
            await define(broker, small_definition(), name)
            await broker.close()
            assert await host_gates(host, name, gates, Manner(alone=True)) == 0
            assert host.broker is not None
            await host.broker.close()

    run(hosted())
    assert told == [short_s] * len(gates)
