"""What a gate's shell does with the work that it begins beside the rest."""

from __future__ import annotations

import asyncio
import gc

from akkafka.broker.memory import MemoryBroker
from akkafka.gate.shell import Gate
from tests.pipeline.fleet import fleet, small_definition

from ..conftest import Run


def test_work_that_is_cancelled_before_its_first_step_is_not_left_unawaited(run: Run) -> None:
    """A snapshot that is asked for at the very end; what is left unawaited is a warning, and so a failure here."""

    async def begun_and_cancelled() -> None:
        async with fleet(MemoryBroker(), small_definition(), "left") as running:
            gate = Gate(running.broker, running.network, 0, "gate-0")
            gate._spawn(asyncio.sleep(0))
            (task,) = gate._tasks
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled() and not gate._tasks

    run(begun_and_cancelled())
    gc.collect()
