"""The chain in one process is the pipeline's plain reference, bit for bit, whatever the delays."""

from __future__ import annotations

import numpy as np
import pytest

from akkafka.broker.network import Network
from akkafka.data.dataset import load
from akkafka.data.epochs import Plan
from akkafka.experiment.chain import Chain, distance, linear_profile
from akkafka.nn.layer import Params
from akkafka.protocol.topics import Topics
from tests.pipeline.fleet import small_definition
from tests.pipeline.reference import Reference, Update, same_bits
from tests.pipeline.test_exactness import OPTIMIZERS, WITH_STATISTICS


def trained(optimizer: str, taus: tuple[int, ...], *more: str, stash: bool = True) -> tuple[Chain, Reference]:
    """Both after three epochs."""
    definition = small_definition(OPTIMIZERS[optimizer], *more)
    data = load(definition.data, "train")
    plan = Plan(len(data), None, definition.batch_size, definition.seed)
    chain = Chain(definition, taus, stash=stash)
    chain.train(data, plan, 3 * plan.batches_per_epoch)
    reference = Reference(Network("n", definition.new_run(), definition, Topics("n", 3, 5), {}))
    batches = reference.batches(3)
    reference.run([[Update(batch, max(0, n - tau)) for n, batch in enumerate(batches)] for tau in taus])
    return chain, reference


@pytest.mark.parametrize("taus", [(0, 0, 0), (4, 4, 4), (6, 3, 0)], ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_delayed_chain_ends_with_the_weights_of_the_plain_loops(optimizer: str, taus: tuple[int, ...]) -> None:
    chain, reference = trained(optimizer, taus, WITH_STATISTICS)
    assert all(same_bits(own, versions[-1]) for own, versions in zip(chain.weights, reference.weights, strict=True))


def test_without_a_stash_nothing_changes_where_nothing_is_late_and_something_does_where_it_is() -> None:
    same, reference = trained("sgd", (0, 0, 0), stash=False)
    assert all(same_bits(own, versions[-1]) for own, versions in zip(same.weights, reference.weights, strict=True))
    other, reference = trained("sgd", (4, 4, 4), stash=False)
    last = [versions[-1] for versions in reference.weights]
    assert same_bits(other.weights[2], last[2]) is False
    assert distance(other.weights, last) > 0


def test_delays_of_equal_gates_fall_in_a_line() -> None:
    assert linear_profile(5, 8) == (7, 5, 4, 2, 0)
    assert linear_profile(5, 16) == (15, 11, 8, 4, 0)
    assert linear_profile(1, 8) == (0,)


def test_distance_is_that_of_all_weights_together() -> None:
    one: list[Params] = [{"a": np.zeros(2, np.float32)}, {"b": np.zeros((2, 1), np.float32)}]
    other: list[Params] = [{"a": np.array([3, 0], np.float32)}, {"b": np.array([[0], [4]], np.float32)}]
    assert distance(one, other) == 5.0
