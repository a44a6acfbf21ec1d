"""The loss at the open end: small outputs on the event loop's thread, large ones on a thread of their own, in order."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from akkafka.errors import AkkafkaError
from akkafka.nn.losses import Loss
from akkafka.protocol.messages import Forward
from akkafka.protocol.narrow import Form, narrow, wide
from akkafka.protocol.stamps import computed
from akkafka.sentinel.events import Evaluate, Evaluated

_INLINE_ELEMENTS = 100_000  # some 0.3 ms


class Evaluator:
    """Answers each Evaluate with one Evaluated, in the order in which they were asked."""

    def __init__(self, loss: Loss, largest: int, answer: Callable[[Evaluated], None], form: Form) -> None:
        """`largest`: elements of the largest output that is expected. `form`: how gradients are to travel.

        Compiles the loss if that was not done yet.
        """
        warm_up(loss)
        narrow(np.zeros((1, 1), np.float32), form)  # compiled, or read from the cache
        self._loss, self._answer, self._form = loss, answer, form
        self._thread = ThreadPoolExecutor(1, "loss") if largest > _INLINE_ELEMENTS else None

    def put(self, asked: Evaluate) -> None:
        """Evaluate; the answer may come before this returns."""
        if self._thread is None:
            self._answer(evaluate(self._loss, asked, self._form))
            return
        future = asyncio.get_running_loop().run_in_executor(self._thread, evaluate, self._loss, asked, self._form)
        future.add_done_callback(lambda done: None if done.cancelled() else self._answer(done.result()))

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)


def warm_up(loss: Loss) -> None:
    """Compile its kernels, or read them from numba's cache."""
    loss(np.zeros((1, 1), np.float32), np.zeros(1, np.uint8))  # every loss takes this


def evaluate(loss: Loss, asked: Evaluate, form: Form = "float32") -> Evaluated:
    """Loss, hits and gradient of one output; what cannot be evaluated, or is not finite, is void."""
    message, begun_ns = asked.message, time.time_ns()
    try:
        answer = _evaluate(loss, asked, message, form)
        if message.stamps is None:
            return answer
        spent = (begun_ns, time.time_ns())
        return replace(answer, message=replace(message, stamps=computed(message.stamps, spent)))
    except AkkafkaError as error:
        return _void(asked, str(error))


def _evaluate(loss: Loss, asked: Evaluate, message: Forward, form: Form) -> Evaluated:
    targets = message.context.get("targets")
    if message.void:
        return _void(asked, message.void)
    if targets is None or message.x is None:
        return _void(asked, "the batch came out without its targets")
    result = loss(wide(message.x), targets)
    if not math.isfinite(result.loss):
        return _void(asked, f"the loss is {result.loss}: the batch is left out (is the learning rate too high?)")
    dy = narrow(result.dlogits, form)
    return Evaluated(asked.offset, message, len(targets), result.loss, result.correct, dy, metrics=result.metrics)


def _void(asked: Evaluate, reason: str) -> Evaluated:
    return Evaluated(asked.offset, asked.message, 0, math.nan, 0, None, reason)
