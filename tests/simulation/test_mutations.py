"""Each fault put into a core on purpose is found within a bounded number of schedules."""

from __future__ import annotations

import pytest

from akkafka.errors import AkkafkaError

from .life import live_seed
from .mutants import MUTANTS, Mutant

BOUND = 3000  # schedules; most are found within ten


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_the_simulation_finds_that(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.put(monkeypatch)
    with pytest.raises((AssertionError, AkkafkaError, KeyError, IndexError, StopIteration)):
        for seed in range(BOUND):
            live_seed(seed, **mutant.scenario)
