"""Peer: the same network as a plain loop in one process; what one core, or BLAS on two, gives if nothing travels."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from akkafka.cli.bench.peers.job import Job, Result, Samples
from akkafka.cli.bench.peers.plain import Losses, Stage, Trainable, cross_entropy, first_reaching, validated


def run(job: Job) -> Result:
    """Train with numpy, on `job.threads` threads of BLAS: whoever starts this process has told it."""
    return trained(job, [Stage.of(job, i) for i in range(job.stages)], Result(versions={"numpy": np.__version__}))


def trained(job: Job, stages: Sequence[Trainable], result: Result) -> Result:
    """Train synchronously: each batch forward, loss, backward, then the next; no window, no staleness."""
    samples, losses = Samples.of(job), Losses()
    result.begun = time.time_ns()
    for batch, (epoch, pixels, targets) in enumerate(samples.batches(job.batch_size)):
        x = stages[0].forward(batch, pixels)
        for stage in stages[1:]:
            x = stage.forward(batch, x)
        loss, gradient = cross_entropy(x, targets)
        for stage in reversed(stages):
            back = stage.backward(batch, gradient)
            if back is not None:
                gradient = back
        result.home.append((time.time_ns(), len(targets)))
        losses.add(epoch, loss, len(targets))
    result.losses = losses.means()
    result.validation_accuracy = validated(stages, samples)
    result.reached = first_reaching(job, stages, [stage.kept for stage in stages], samples)
    return result
