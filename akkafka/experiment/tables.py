"""The experiments: which methods at which delays and rates, and what a fair table of them is.

Rules: equal effective learning rate in a row of methods (momentum is a running mean, Nesterov's share 1 - gamma), the
same seeds for all, plain SGD and training without delay always among them, failed runs counted apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, sqrt
from pathlib import Path
from typing import Any, Final

import numpy as np

from akkafka.experiment.chain import linear_profile
from akkafka.experiment.trial import Method, Network, Outcome, Trial
from akkafka.nn.registry import lookup

FEWEST = 8  # seeds of a fair table
FIRST_SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that are compared with each other."""

    title: str
    methods: tuple[Method, ...]


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is run, and what for."""

    name: str
    question: str
    network: Network
    blocks: tuple[Block, ...]
    seeds: int
    failed_above: float  # training loss at the end: a run that ends above has failed
    measure: str = "accuracy"  # or "distance"

    def trials(self, seeds: int, data_dir: Path | None) -> list[Trial]:
        """All that is to be done, those of one seed side by side, so that a part of them is a table, too."""
        return [
            Trial(self.network, method, seed, data_dir)
            for seed in range(FIRST_SEED, FIRST_SEED + seeds)
            for block in self.blocks
            for method in block.methods
        ]


@dataclass(frozen=True, slots=True)
class Row:
    """What the seeds of one method gave."""

    name: str
    taus: tuple[int, ...]
    lr: float
    values: tuple[float, ...] = field(repr=False)  # by seed: accuracy in percent, or distance
    failed: tuple[bool, ...] = field(repr=False)

    @property
    def mean(self) -> float:
        """Over all seeds, failed ones too; not finite if one of them is not."""
        return float(np.mean(self.values))

    @property
    def error(self) -> float:
        """Standard error of that mean."""
        return _error(self.values)

    @property
    def good(self) -> tuple[float, ...]:
        """Values of the runs that did not fail."""
        return tuple(value for value, failed in zip(self.values, self.failed, strict=True) if not failed)

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        good = self.good
        return {
            "method": self.name,
            "lr": self.lr,
            "taus": list(self.taus),
            "mean": _told(self.mean),
            "standard_error": _told(self.error),
            "failed": sum(self.failed),
            "mean_of_the_others": _told(float(np.mean(good))) if good else None,
            "standard_error_of_the_others": _told(_error(good)) if good else None,
            "by_seed": [_told(value) for value in self.values],
        }


def _error(values: Sequence[float]) -> float:
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        return float(np.std(values, ddof=1)) / sqrt(len(values)) if len(values) > 1 else 0.0


def _told(value: float) -> float | None:
    """JSON has no infinity."""
    return value if isfinite(value) else None


def rows_of(experiment: Experiment, block: Block, outcomes: Sequence[Outcome]) -> list[Row]:
    """The block's rows; the outcomes of a method in the order of their seeds."""
    by_method: dict[int, list[Outcome]] = {id(method): [] for method in block.methods}
    for outcome in sorted(outcomes, key=lambda one: one.trial.seed):
        for method in block.methods:
            if outcome.trial.method == method:
                by_method[id(method)].append(outcome)
    return [_row(experiment, method, by_method[id(method)]) for method in block.methods]


def _row(experiment: Experiment, method: Method, outcomes: Sequence[Outcome]) -> Row:
    if experiment.measure == "distance":
        values = [outcome.distance if outcome.distance is not None else 0.0 for outcome in outcomes]
    else:
        values = [100 * outcome.accuracy for outcome in outcomes]
    failed = [not outcome.loss <= experiment.failed_above for outcome in outcomes]
    return Row(method.name, method.taus, float(method.optimizer["lr"]), tuple(values), tuple(failed))


# --- the experiments -------------------------------------------------------------------------------------------------


def _dc(lr: float, lam: float) -> dict[str, Any]:
    return {"type": "dc-asgd-a", "lr": lr, "lam": lam}


def _sgd(lr: float) -> dict[str, Any]:
    return {"type": "sgd", "lr": lr}


MOMENTA: Final[Mapping[str, Mapping[str, Any]]] = {
    "sgd": {"type": "sgd"},
    "momentum .9": {"type": "momentum", "beta": 0.9},
    "nesterov-async .9": {"type": "nesterov-async", "gamma": 0.9},
    "spectrain .9": {"type": "spectrain", "beta": 0.9},
    "spike .9": {"type": "spike", "beta": 0.9},
    "dc-asgd-a lam 1": {"type": "dc-asgd-a", "lam": 1.0},
}


COMPENSATIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "sgd": {"type": "sgd"},
    "dc-asgd-c lam .04": {"type": "dc-asgd-c", "lam": 0.04},
    "dc-asgd-c lam 32": {"type": "dc-asgd-c", "lam": 32.0},
    "dc-asgd-a lam 1": {"type": "dc-asgd-a", "lam": 1.0},
    "dc-asgd-a lam 2": {"type": "dc-asgd-a", "lam": 2.0},
}


def _digits(epochs: int = 6, hidden: tuple[int, ...] = (48, 48, 48, 48)) -> Network:
    return Network("digits", hidden, 4.9, 6.0, 32, epochs)


def _fashion(epochs: int = 8, hidden: tuple[int, ...] = (64, 64, 64, 64)) -> Network:
    return Network("fashion-mnist", hidden, 73.0, 90.0, 64, epochs, "0:12800")


def _momentum(data: str) -> Experiment:
    """A: what staleness does to momentum, and what its remedies bring."""
    digits = data == "digits"
    network, lr = (_digits(), 0.2) if digits else (_fashion(), 0.05)
    updates = 1437 // 32 * 6 if digits else 1600
    schedule = {} if digits else {"schedule": {"type": "cosine", "updates": updates}}
    blocks = []
    for in_flight in (8, 16) if not digits else (8,):
        taus, none = linear_profile(network.gates, in_flight), (0,) * network.gates
        late = [Method(name, {**spec, "lr": lr, **schedule}, taus) for name, spec in MOMENTA.items()]
        sync = [
            Method(f"{name}, no delay", {**MOMENTA[name], "lr": lr, **schedule}, none)
            for name in ("sgd", "momentum .9")
        ]
        blocks.append(Block(f"{in_flight} in flight, delays {' '.join(map(str, taus))}, lr {lr:g}", (*sync, *late)))
    return Experiment(
        "A", "momentum under staleness", network, tuple(blocks), 16 if digits else 8, 0.5 if digits else 1.0
    )


def _compensation(data: str) -> Experiment:
    """B: DC-ASGD where every gate is equally late, as behind a slow sentinel."""
    network, rates = (_digits(), (0.05, 0.1, 0.15)) if data == "digits" else (_fashion(), (0.04,))
    taus, none = (7,) * network.gates, (0,) * network.gates
    blocks = [
        Block(
            f"delay 7 at every gate, lr {lr:g}",
            (
                Method("sgd, no delay", _sgd(lr), none),
                Method("sgd", _sgd(lr), taus),
                *(Method(f"dc-asgd-a lam {lam:g}", _dc(lr, lam), taus) for lam in (1, 2, 4)),
            ),
        )
        for lr in rates
    ]
    return Experiment(
        "B", "DC-ASGD at equal staleness", network, tuple(blocks), 24 if data == "digits" else 8, _failing(data)
    )


def _fidelity(data: str) -> Experiment:
    """C: how near the weights are to those of training without delay, from the same start with the same batches."""
    network = _digits(4, ()) if data == "digits" else _fashion(1, ())
    rates = (0.3, 0.6) if data == "digits" else (0.1,)
    blocks = [
        Block(
            f"one gate, delay 8, lr {lr:g}: |w - w without delay| / |w without delay - w at first|",
            tuple(Method(name, {**spec, "lr": lr}, (8,), fidelity=True) for name, spec in COMPENSATIONS.items()),
        )
        for lr in rates
    ]
    return Experiment("C", "fidelity to training without delay", network, tuple(blocks), 16, 2.0, "distance")


def _stash(data: str) -> Experiment:
    """D: input gradients with the weights of the forward, and with those of the moment."""
    plain = _digits() if data == "digits" else _fashion()
    network = replace(plain, activation="relu", init="he")
    pairs = ((8, 0.05), (8, 0.1), (16, 0.05)) if data == "digits" else ((8, 0.05), (16, 0.05))
    none = (0,) * network.gates
    blocks = []
    for in_flight, lr in pairs:
        taus = linear_profile(network.gates, in_flight)
        methods = (
            Method("sgd, no delay", _sgd(lr), none),
            Method("sgd, stash", _sgd(lr), taus),
            Method("sgd, no stash", _sgd(lr), taus, stash=False),
        )
        blocks.append(Block(f"{in_flight} in flight, delays {' '.join(map(str, taus))}, lr {lr:g}", methods))
    return Experiment(
        "D", "the stash of old weights", network, tuple(blocks), 16 if data == "digits" else 8, _failing(data)
    )


def _failing(data: str) -> float:
    return 0.5 if data == "digits" else 1.0


EXPERIMENTS: Final[Mapping[str, Callable[[str], Experiment]]] = {
    "A": _momentum,
    "B": _compensation,
    "C": _fidelity,
    "D": _stash,
}


def experiment(name: str, data: str = "digits") -> Experiment:
    """The experiment of that name on digits or fashion-mnist; raises ConfigError with the names that there are."""
    make = lookup("experiment", name.upper(), EXPERIMENTS)
    return make(lookup("data set of an experiment", data, {"digits": "digits", "fashion-mnist": "fashion-mnist"}))
