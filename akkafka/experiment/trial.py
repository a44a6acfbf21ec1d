"""One training of one method with one seed, and many of them in processes side by side."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from akkafka.data.dataset import Dataset, DataSpec, Split, load
from akkafka.data.epochs import Plan, Shard
from akkafka.experiment.chain import Chain, distance
from akkafka.protocol.definition import Definition

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Network:
    """A multi-layer perceptron, each layer a gate, and what it learns from.

    tanh unless a table needs relu: activations whose mean is not 0 make the loss sharp in that direction, and
    with a delay of 7 at every gate all rates that learn in six epochs are then beyond the edge, for every method.
    """

    data: str
    hidden: tuple[int, ...]
    mean: float  # of the data's numbers
    deviation: float
    batch_size: int
    epochs: int
    rows: str | None = None  # of the training samples; all of them if left out
    activation: str = "tanh"
    init: str = "xavier"

    def definition(self, optimizer: Mapping[str, Any], seed: int) -> Definition:
        """Checked like any other."""
        first: list[dict[str, Any]] = [
            {"type": "scale", "scale": 1 / self.deviation, "shift": -self.mean / self.deviation},
            {"type": "flatten"},
        ]
        wide = [{"type": "linear", "out": n, "init": self.init} for n in (*self.hidden, 10)]
        layers: list[list[dict[str, Any]]] = [[one, {"type": self.activation}] for one in wide[:-1]]
        layers.append(wide[-1:])
        layers[0] = [*first, *layers[0]]
        gates = [{"name": f"fc{i}", "layers": own, "optimizer": optimizer} for i, own in enumerate(layers)]
        fields = {"name": "experiment", "seed": seed, "data": {"name": self.data}, "batch_size": self.batch_size}
        return Definition.model_validate({**fields, "gates": gates})

    @property
    def gates(self) -> int:
        """How many there are."""
        return len(self.hidden) + 1


@dataclass(frozen=True, slots=True)
class Method:
    """A way to train."""

    name: str
    optimizer: Mapping[str, Any]
    taus: tuple[int, ...]
    stash: bool = True
    fidelity: bool = False  # whether its weights are held against those without delay


@dataclass(frozen=True, slots=True)
class Trial:
    """What one process does at a time."""

    network: Network
    method: Method
    seed: int
    data_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    trial: Trial = field(repr=False)
    accuracy: float  # on validation
    loss: float  # mean over the training samples, at the end
    distance: float | None = None  # |w - w_sync| / |w_sync - w_0| where that was asked for


def perform(trial: Trial) -> Outcome:
    """Train, and look how it did. Weights may overflow. One thread: with more, BLAS gives other bits."""
    network, method = trial.network, trial.method
    with np.errstate(all="ignore"), threadpool_limits(1):
        chain = _trained(trial, method.taus)
        far = None
        if method.fidelity:
            sync = _trained(trial, (0,) * network.gates)
            start = Chain(network.definition(method.optimizer, trial.seed), (0,) * network.gates)
            far = distance(chain.weights, sync.weights) / distance(sync.weights, start.weights)
        train, validation = (
            _data(network.data, "train", trial.data_dir),
            _data(network.data, "validation", trial.data_dir),
        )
        return Outcome(trial, chain.score(validation).accuracy, chain.score(train).loss, far)


def _trained(trial: Trial, taus: tuple[int, ...]) -> Chain:
    network, method = trial.network, trial.method
    late = any(taus)
    optimizer = method.optimizer if late or not method.fidelity else {"type": "sgd", "lr": method.optimizer["lr"]}
    definition = network.definition(optimizer, trial.seed)
    data = _data(network.data, "train", trial.data_dir)
    shard = None if network.rows is None else Shard.parse(network.rows, len(data))
    plan = Plan(len(data), shard, definition.batch_size, definition.seed)
    chain = Chain(definition, taus, stash=method.stash)
    chain.train(data, plan, network.epochs * plan.batches_per_epoch)
    return chain


@lru_cache(maxsize=4)
def _data(name: str, split: Split, data_dir: Path | None) -> Dataset:
    return load(DataSpec(name=name), split, data_dir=data_dir)


def perform_all(trials: Sequence[Trial], processes: int) -> Iterator[Outcome]:
    """As they are done, in any order; numbers of a trial do not depend on the others, nor on how many processes."""
    if processes <= 1:
        yield from map(perform, trials)
        return
    context = multiprocessing.get_context("spawn")  # numba's threads do not survive a fork
    with _one_thread_each(), ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting = [pool.submit(perform, trial) for trial in trials]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Children take their environment from ours: BLAS's threads would fight for the cores."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
