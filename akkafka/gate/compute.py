"""One compute thread beside the event loop: BLAS and numba release the interpreter lock, so no loop is blocked."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from akkafka.gate import events as e
from akkafka.gate.model import Model

Job = e.ComputeForward | e.ComputeBackward | e.Fold


class ComputeThread:
    """Does jobs one after the other and hands the answers to the loop's thread."""

    def __init__(
        self, model: Model, answer: Callable[[e.Event], None], failed: Callable[[BaseException], None], name: str
    ) -> None:
        self._model = model
        self._answer, self._failed = answer, failed
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.busy_seconds = 0.0
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Queue a job."""
        self._jobs.put(job)

    def close(self) -> None:
        """End after the jobs that are queued."""
        self._jobs.put(None)
        self._thread.join(timeout=10.0)

    def _work(self) -> None:
        try:
            self._model.warm_up()  # while the others of the fleet are still on their way
        except BaseException as error:
            self._hand(self._failed, error)
            return
        while (job := self._jobs.get()) is not None:
            began, began_ns = time.perf_counter(), time.time_ns()
            try:
                answer = self._do(job)
            except BaseException as error:  # a fault of ours: the process must not go on without its thread
                self._hand(self._failed, error)
                return
            self.busy_seconds += time.perf_counter() - began
            self._hand(self._answer, _stamped(answer, began_ns))

    def _do(self, job: Job) -> e.Event:
        match job:
            case e.ComputeForward():
                return self._model.forward(job)
            case e.ComputeBackward():
                return self._model.backward(job)
            case e.Fold():
                return self._model.fold(job)

    def _hand(self, to: Callable[[Any], None], what: object) -> None:
        try:
            self._loop.call_soon_threadsafe(to, what)
        except RuntimeError:
            return  # the loop has been closed: the process is leaving


def _stamped(answer: e.Event, began_ns: int) -> e.Event:
    """With the time that was spent on a batch that collects such."""
    match answer:
        case e.ForwardComputed() | e.BackwardComputed() if answer.job.message.stamps is not None:
            return replace(answer, spent=(began_ns, time.time_ns()))
    return answer
