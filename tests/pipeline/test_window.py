"""`window = "auto"` with real gates: found from what they tell, kept to, told with the reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from akkafka.broker.base import TopicPartition
from akkafka.broker.memory import MemoryBroker
from akkafka.protocol import wire
from akkafka.protocol.figures import SentinelFigures, from_message
from akkafka.protocol.messages import Figures
from akkafka.sentinel import window

from ..conftest import Run
from .fleet import fleet, small_definition

LIMIT = 4


async def figures_of_one_that_has_found_it(broker: MemoryBroker, name: str) -> tuple[list[SentinelFigures], int]:
    """What a training sentinel has told until then, and the most batches that were in flight."""
    definition = small_definition("schedule.window=auto", f"schedule.window_limit={LIMIT}")
    told: list[SentinelFigures] = []
    async with fleet(broker, definition, name) as running, asyncio.timeout(60.0):
        gates = [running.start_gate(gate) for gate in range(running.network.gate_count)]
        trainer = running.start_training(None)
        reader = await broker.reader("test-metrics")
        reader.assign({TopicPartition(running.network.topics.metrics, 0): 0})
        while not (told and told[-1].window_why):
            for record in await reader.poll(timeout=1.0):
                message = wire.decode(record.value)
                body = from_message(message) if isinstance(message, Figures) else None
                told += [body] if isinstance(body, SentinelFigures) else []
        await reader.close()
        await running.stop(trainer)
        await running.stop(*gates)
    return told, max(lane.issued - lane.home for body in told for lane in body.lanes)


def test_a_sentinel_finds_a_window_and_says_why(
    run: Run, unique: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "SKIPPED", 1)  # of the beats of a trial, which takes 3 s otherwise
    monkeypatch.setattr(window, "BEATS", 3)
    told, most = run(figures_of_one_that_has_found_it(MemoryBroker(), unique()))
    tried = [body.window for body in told]
    assert tried[0] == 2 and len(set(tried)) > 1, "it begins with two and tries others"
    assert set(tried) <= set(range(1, LIMIT + 1)) and 1 <= most <= LIMIT
    assert "the busiest gate, fc" in told[-1].window_why
