"""One compute thread beside the event loop, for jobs that would keep the loop from its sockets for too long.

Shorter ones are done on the loop's thread. To hand one over and its answer back takes some 0.2 ms of CPU where all
cores are busy; and while both threads work, one that comes back from BLAS waits for the interpreter's lock, which the
other gives up after 5 ms (sys.getswitchinterval). What the loop does meanwhile is no gain: a gate reads on as soon as
it is through, and the broker and the sockets' buffers keep what comes. Measured with MNIST's gates merged into one: 8
to 15 % more samples a second with batches of 1024 to 4096, whose jobs take 2 to 8 ms; no less with jobs of 15 ms.
"""

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

SHORT_S = 0.02  # of a kind of job, on average: it stays on the loop's thread; a beat every 200 ms does not suffer
SHARED_SHORT_S = 0.005  # where gates share a process: the others wait meanwhile, and could use another core
_SETTLED = 16  # jobs of a kind before their average means anything: the first ones compile
_SHARE = 0.1  # of the newest job in the average


class ComputeThread:
    """Does jobs one after the other and hands the answers to the loop's thread."""

    def __init__(
        self,
        model: Model,
        answer: Callable[[e.Event], None],
        failed: Callable[[BaseException], None],
        name: str,
        short_s: float = SHORT_S,
    ) -> None:
        """`short_s`: seconds that a kind of job takes at most, on average, to be done on the loop's thread."""
        self._model = model
        self._answer, self._failed = answer, failed
        self._short_s = short_s
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._averages: dict[type, float] = {}  # seconds of CPU by kind of job: what it waits for the lock says nothing
        self._done: dict[type, int] = {}
        self.busy_seconds = 0.0
        self.ready = False  # kernels have been compiled, or read from the cache
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Do it soon; one at a time, as the core asks for no second one before it has the answer."""
        kind = type(job)
        if self._done.get(kind, 0) >= _SETTLED and self._averages[kind] < self._short_s:
            self._loop.call_soon(self._do_here, job)
        else:
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
        self.ready = True
        while (job := self._jobs.get()) is not None:
            try:
                answer = self._timed(job)
            except BaseException as error:  # a fault of ours: the process must not go on without its thread
                self._hand(self._failed, error)
                return
            self._hand(self._answer, answer)

    def _do_here(self, job: Job) -> None:
        try:
            answer = self._timed(job)
        except BaseException as error:  # as on the thread
            self._failed(error)
            return
        self._answer(answer)

    def _timed(self, job: Job) -> e.Event:
        began, began_ns, began_cpu = time.perf_counter(), time.time_ns(), time.thread_time()
        answer = self._do(job)
        took = time.thread_time() - began_cpu
        kind = type(job)
        self.busy_seconds += time.perf_counter() - began
        self._done[kind] = self._done.get(kind, 0) + 1
        self._averages[kind] = self._averages.get(kind, took) * (1 - _SHARE) + took * _SHARE
        return _stamped(answer, began_ns)

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
