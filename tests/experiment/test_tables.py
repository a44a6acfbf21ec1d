"""Tables are fair, and count failures apart."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from akkafka.errors import ConfigError
from akkafka.experiment.tables import EXPERIMENTS, FEWEST, Block, Experiment, experiment, rows_of
from akkafka.experiment.trial import Method, Network, Outcome, Trial, perform, perform_all

SMALL = Network("digits", (8,), 4.9, 6.0, 256, 1)
SGD = Method("sgd", {"type": "sgd", "lr": 0.1}, (1, 0))
OTHER = Method("other", {"type": "sgd", "lr": 0.2}, (0, 0))
BLOCK = Block("both", (SGD, OTHER))
TRIED = Experiment("T", "a test", SMALL, (BLOCK,), FEWEST, 0.5)


def outcome(method: Method, seed: int, accuracy: float, loss: float = 0.1) -> Outcome:
    return Outcome(Trial(SMALL, method, seed), accuracy, loss)


def test_a_row_has_the_mean_its_error_and_failures_apart() -> None:
    outcomes = [outcome(OTHER, 1, 0.5), outcome(SGD, 2, 0.2, math.nan), outcome(SGD, 1, 0.9), outcome(SGD, 3, 0.1, 0.6)]
    sgd, other = rows_of(TRIED, BLOCK, outcomes)
    assert sgd.values == (90.0, 20.0, 10.0) and sgd.failed == (False, True, True)
    assert sgd.mean == 40.0 and sgd.error == pytest.approx(25.166, abs=1e-3) and sgd.good == (90.0,)
    assert sgd.facts()["failed"] == 2 and sgd.facts()["mean_of_the_others"] == 90.0
    assert (other.mean, other.error) == (50.0, 0.0)


@pytest.mark.parametrize("data", ["digits", "fashion-mnist"])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_methods_of_a_block_share_rate_and_seeds_and_plain_sgd_is_among_them(name: str, data: str) -> None:
    found = experiment(name, data)
    assert found.seeds >= FEWEST
    for block in found.blocks:
        assert len({method.optimizer["lr"] for method in block.methods}) == 1
        assert any(method.optimizer["type"] == "sgd" and any(method.taus) for method in block.methods)
        assert all(len(method.taus) == found.network.gates for method in block.methods)
        assert len({method.name for method in block.methods}) == len(block.methods)
    trials = found.trials(2, None)
    assert [trial.seed for trial in trials] == [1] * (len(trials) // 2) + [2] * (len(trials) // 2)


def test_delays_and_rates_of_b_are_those_that_are_claimed() -> None:
    found = experiment("B")
    assert [method.taus for method in found.blocks[1].methods[1:]] == [(7,) * 5] * 4
    assert {method.optimizer["lr"] for method in found.blocks[1].methods} == {0.1}
    assert found.network.hidden == (48, 48, 48, 48)


def test_a_trial_gives_the_same_numbers_alone_and_in_a_process_of_its_own() -> None:
    trials = TRIED.trials(2, None)
    alone = {(one.trial.method.name, one.trial.seed): (one.accuracy, one.loss) for one in map(perform, trials)}
    beside = {(o.trial.method.name, o.trial.seed): (o.accuracy, o.loss) for o in perform_all(trials, 2)}
    assert alone == beside and len(alone) == 4


def test_a_method_that_is_not_late_has_no_distance_to_training_without_delay() -> None:
    method = Method("sgd", {"type": "sgd", "lr": 0.1}, (0, 0), fidelity=True)
    late = Method("sgd", {"type": "sgd", "lr": 0.1}, (1, 1), fidelity=True)
    assert perform(Trial(SMALL, method, 1)).distance == 0.0
    far = perform(Trial(SMALL, late, 1)).distance
    assert far is not None and far > 0


def test_a_training_that_overflows_has_failed_and_nothing_is_raised() -> None:
    wild = Method("sgd", {"type": "sgd", "lr": 1e38}, (0, 0))
    found = perform(Trial(SMALL, wild, 1))
    (row,) = rows_of(TRIED, Block("wild", (wild,)), [found])
    assert row.failed == (True,)
    infinite = [Outcome(Trial(SMALL, SGD, seed), 0.1, 9.0, math.inf) for seed in (1, 2)]
    (row,) = rows_of(replace(TRIED, measure="distance"), Block("far", (SGD,)), infinite)
    assert row.facts()["mean"] is None and row.facts()["by_seed"] == [None, None] and row.good == ()


def test_names_unknown_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="unknown experiment 'E'"):
        experiment("E")
    with pytest.raises(ConfigError, match="unknown data set of an experiment 'mnist'"):
        experiment("A", "mnist")
