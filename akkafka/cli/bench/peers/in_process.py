"""Peer: the same network as a plain loop in one process, on one thread; what a core gives if nothing travels at all."""

from __future__ import annotations

import time

import numpy as np

from akkafka.cli.bench.peers.job import Job, Result, Samples
from akkafka.cli.bench.peers.plain import Losses, Stage, cross_entropy, validated


def run(job: Job) -> Result:
    """Train synchronously: each batch forward, loss, backward, then the next; no window, no staleness."""
    samples, result, losses = Samples.of(job), Result(versions={"numpy": np.__version__}), Losses()
    stages = [Stage.of(job, i) for i in range(job.stages)]
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
    return result
