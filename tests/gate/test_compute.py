"""Jobs are done one by one: long ones on a thread, short ones where the loop runs, and faults of ours are told."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import pytest

from akkafka.gate import events as e
from akkafka.gate.compute import SHARED_SHORT_S, SHORT_S, ComputeThread
from akkafka.gate.model import Model

if TYPE_CHECKING:
    from tests.conftest import Run

JOB = object.__new__(e.ComputeForward)
FOLD = object.__new__(e.Fold)


class Paced:
    """A model whose forward computes and waits as long as it is told, and says on which thread."""

    def __init__(self, seconds: float, waits: float = 0.0) -> None:
        self.seconds, self.waits = seconds, waits

    def warm_up(self) -> None:
        pass

    def forward(self, job: e.ComputeForward) -> int:
        until = time.thread_time() + self.seconds
        while time.thread_time() < until:
            pass
        threading.Event().wait(self.waits)
        return threading.get_ident()

    def fold(self, job: e.Fold) -> int:
        raise ZeroDivisionError("a fault of ours")


async def answers(model: Paced, jobs: list[Any], short_s: float = SHORT_S) -> list[Any]:
    """Of each job its answer, or what it failed with."""
    loop, came = asyncio.get_running_loop(), asyncio.Queue[Any]()
    thread = ComputeThread(cast("Model", model), came.put_nowait, came.put_nowait, "compute-test", short_s)
    try:
        found = []
        for job in jobs:
            thread.put(job)
            found.append(await came.get())
        return found
    finally:
        await loop.run_in_executor(None, thread.close)


def test_short_jobs_come_to_the_loops_thread_once_they_are_known_to_be_short(run: Run) -> None:
    where = run(answers(Paced(0.0), [JOB] * 1000))
    assert where[0] != threading.get_ident() and threading.get_ident() in where


def test_a_job_that_waits_for_a_lock_is_no_long_one(run: Run) -> None:
    where = run(answers(Paced(0.0, waits=3 * SHORT_S), [JOB] * 60))
    assert threading.get_ident() in where


def test_long_jobs_stay_on_the_thread_of_their_own(run: Run) -> None:
    where = run(answers(Paced(3 * SHORT_S), [JOB] * 40))
    assert threading.get_ident() not in where


def test_jobs_that_are_short_to_a_gate_alone_are_long_beside_others(run: Run) -> None:
    seconds = (SHORT_S * SHARED_SHORT_S) ** 0.5
    alone = run(answers(Paced(seconds), [JOB] * 40))
    beside = run(answers(Paced(seconds), [JOB] * 40, SHARED_SHORT_S))
    assert threading.get_ident() in alone and threading.get_ident() not in beside


@pytest.mark.parametrize("before", [0, 200])
def test_a_fault_of_ours_is_told_wherever_it_happens(run: Run, before: int) -> None:
    assert isinstance(run(answers(Paced(0.0), [JOB] * before + [FOLD]))[-1], ZeroDivisionError)


def test_it_is_ready_once_the_kernels_are(run: Run) -> None:
    compiled = threading.Event()

    class Compiling(Paced):
        def warm_up(self) -> None:
            compiled.wait(30.0)

    async def seen() -> tuple[bool, bool]:
        loop, came = asyncio.get_running_loop(), asyncio.Queue[Any]()
        thread = ComputeThread(cast("Model", Compiling(0.0)), came.put_nowait, came.put_nowait, "compute-test")
        before = thread.ready
        compiled.set()
        thread.put(JOB)
        await came.get()
        await loop.run_in_executor(None, thread.close)
        return before, thread.ready

    assert run(seen()) == (False, True)
