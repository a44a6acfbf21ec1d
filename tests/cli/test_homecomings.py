"""Bounded memory of what came home: nothing is lost of the sums, little of the times."""

from __future__ import annotations

import random

import pytest

from akkafka.cli.training.homecomings import MOST, RECENT, REMEMBERED, Heard, Homecomings
from akkafka.cli.training.report import steady_rate

S = 1_000_000_000


@pytest.mark.parametrize("count", [0, 1, MOST - 1, MOST, 5 * MOST + 7])
def test_however_many_come_home_few_portions_are_held_and_no_sample_is_lost(count: int) -> None:
    homes = Homecomings()
    for n in range(count):
        homes.add(n * S, 1 + n % 3)
    assert homes.count == count
    assert len(homes.portions) < MOST and len(homes.recent) <= RECENT
    whole = len(homes.portions) * homes.each
    assert count - homes.each < whole <= count
    assert sum(samples for _, samples in homes.portions) == sum(1 + n % 3 for n in range(whole))


def test_the_rate_by_portions_is_that_of_the_batches() -> None:
    homes, chance, batches = Homecomings(), random.Random(1), []
    for n in range(6 * MOST):
        batches.append((n * S // 100 + chance.randrange(S), 10))
        homes.add(*batches[-1])
    by_portions, exact = steady_rate(homes.portions, homes.each), steady_rate(batches)
    assert homes.each == 8
    assert by_portions.samples_per_second == pytest.approx(exact.samples_per_second, rel=0.001)
    assert by_portions.cut == pytest.approx(exact.cut, abs=8)


def test_what_is_told_twice_is_heard_once() -> None:
    heard = Heard()
    assert [heard.first(seq) for seq in (90, 92, 90, 91, 92)] == [True, True, False, True, False]


def test_what_was_told_long_ago_is_not_kept() -> None:
    heard = Heard()
    for seq in range(0, 40 * REMEMBERED, 2):
        assert heard.first(seq)
    assert len(heard._seqs) <= 2 * REMEMBERED
    assert not heard.first(40), "so old a batch counts as told"
    assert heard.first(40 * REMEMBERED - 3)
