"""Peer: the same network as a bare pipeline of Ray actors, one for each layer, driven by a process with the data.

As somebody who knows Ray would write it: results are passed on as references, so arrays go from actor to actor
through shared memory and are read there without a copy; the driver asks for nothing but logits and the news that a
batch is home; actors take what is ready first (`allow_out_of_order_execution`), as a forward that was asked for later
must not wait behind a backward whose gradient is still under way, nor a backward behind the forwards of the whole
window: in order of submission, staleness is such that the network does not learn.
"""

from __future__ import annotations

import os
import time
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akkafka.cli.bench.peers.job import Job, Result, Samples
from akkafka.cli.bench.peers.plain import Losses, Params, Stage, accuracy, cross_entropy, first_reaching

OBJECT_STORE_BYTES = 512 * 1024 * 1024  # a batch in flight holds 1.3 MB; the rest is room for validation
LONGEST_TEMP = 40  # a socket's path has at most 107 bytes (Linux), of which Ray appends 62


class Actor:
    """A stage, as Ray hosts it."""

    def __init__(self, job: Job, index: int) -> None:
        self.stage = Stage.of(job, index)

    def forward(self, batch: int, x: Any) -> Any:
        """See Stage."""
        return self.stage.forward(batch, x)

    def backward(self, batch: int, dy: Any) -> Any:
        """See Stage."""
        return self.stage.backward(batch, dy)

    def infer(self, x: Any) -> Any:
        """See Stage."""
        return self.stage.infer(x)

    def kept(self) -> dict[int, Params]:
        """See Stage."""
        return self.stage.kept


def run(job: Job) -> Result:
    """Train with `job.window` batches in flight."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no call home, and no process for it
    ray = import_module("ray")
    ray.init(
        address="local",  # whatever RAY_ADDRESS says
        num_cpus=max(os.cpu_count() or 1, job.stages),  # actors are admitted by this number; it starts no threads
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        logging_level="ERROR",
        log_to_driver=False,
        _temp_dir=job.folder if len(job.folder) <= LONGEST_TEMP else None,
    )
    try:
        return _Pipeline(ray, job).run()
    finally:
        ray.shutdown()


class _Pipeline:
    """The driver."""

    def __init__(self, ray: Any, job: Job) -> None:
        self.ray, self.job = ray, job
        self.samples = Samples.of(job)
        remote = ray.remote(Actor).options(num_cpus=1, max_concurrency=1, allow_out_of_order_execution=True)
        self.actors = [remote.remote(job, i) for i in range(job.stages)]
        self.open: dict[Any, tuple[int, int, NDArray[np.int64]]] = {}  # logits on their way: batch, epoch, targets
        self.homing: dict[Any, int] = {}  # backwards on their way: samples
        self.losses = Losses()
        self.result = Result(versions={"numpy": np.__version__, "ray": ray.__version__})

    def run(self) -> Result:
        """All batches, then validation."""
        batches = enumerate(self.samples.batches(self.job.batch_size))
        more = True
        self.result.begun = time.time_ns()
        while more or self.open or self.homing:
            while more and len(self.open) + len(self.homing) < self.job.window:
                more = self._issue(next(batches, None))
            self._take()
        self.result.losses = self.losses.means()
        self.result.validation_accuracy = self._validated()
        if self.job.target:
            stages = [Stage.of(self.job, i) for i in range(self.job.stages)]
            kept = self.ray.get([actor.kept.remote() for actor in self.actors])
            self.result.reached = first_reaching(self.job, stages, kept, self.samples)
        return self.result

    def _issue(self, numbered: Any) -> bool:
        if numbered is None:
            return False
        batch, (epoch, pixels, targets) = numbered
        x = self.ray.put(pixels)
        for actor in self.actors:
            x = actor.forward.remote(batch, x)
        self.open[x] = (batch, epoch, targets)
        return True

    def _take(self) -> None:
        """Wait until something has come, and act on all that has."""
        waiting = [*self.homing, *self.open]
        ready, _ = self.ray.wait(waiting, num_returns=1)
        for ref in ready:
            if ref in self.homing:
                self.result.home.append((time.time_ns(), self.homing.pop(ref)))
            else:
                self._send_back(ref)

    def _send_back(self, ref: Any) -> None:
        batch, epoch, targets = self.open.pop(ref)
        loss, gradient = cross_entropy(self.ray.get(ref), targets)
        self.losses.add(epoch, loss, len(targets))
        back: Any = gradient
        for actor in reversed(self.actors):
            back = actor.backward.remote(batch, back)
        self.homing[back] = len(targets)

    def _validated(self) -> float:
        x: Any = self.ray.put(self.samples.x_validation)
        for actor in self.actors:
            x = actor.infer.remote(x)
        return accuracy(self.ray.get(x), self.samples.y_validation)
