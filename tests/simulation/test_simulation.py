"""Thousands of lives of small networks, each judged from its log alone. A seed that fails is a schedule to replay:
`live_seed(seed)`."""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from akkafka.gate import events as e
from akkafka.gate.caution import LIMIT
from akkafka.gate.core import GateCore

from .choices import Listed
from .life import live, live_seed
from .mass import failures
from .world import Cores, World

FAST = 10_000
SLOW = 50_000


@pytest.mark.timeout(1800)  # on one busy core
def test_any_of_ten_thousand_schedules_of_faults_keeps_the_promises() -> None:
    told = failures(range(FAST))
    assert not told, "\n".join(told[:3])


def test_a_schedule_that_breaks_a_promise_is_told_with_its_seed() -> None:
    (told,) = failures([[1]])  # type: ignore[list-item]  # no seed at all: whatever is raised is told
    assert told.startswith("seed [1]:") and "TypeError" in told


def test_the_promises_hold_for_the_bytes_of_the_real_codec_too() -> None:
    for seed in range(100_000, 100_120):
        live_seed(seed, real=True)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FAST, FAST + SLOW, 10_000))
def test_a_mass_of_schedules_keeps_the_promises(first: int) -> None:
    told = failures(range(first, first + 10_000))
    assert not told, "\n".join(told[:3])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(st.lists(st.integers(0, 5039), max_size=400))
def test_a_schedule_that_hypothesis_makes_keeps_the_promises(numbers: list[int]) -> None:
    live(Listed(numbers), real=True)


@pytest.mark.parametrize("seed", range(20))
def test_without_faults_a_fixed_schedule_equals_the_plain_loop(seed: int) -> None:
    live_seed(seed, fixed=True, faults=False, max_staleness=64)


@pytest.mark.parametrize("delay", [0, 1, 2, 5])
def test_a_fixed_schedule_equals_the_plain_loop_for_any_delay(delay: int) -> None:
    for seed in range(30):
        live_seed(seed, fixed=True, delay=delay, max_staleness=64, poison=frozenset())


def test_one_lane_with_a_window_of_one_equals_the_synchronous_loop_whatever_happens() -> None:
    for seed in range(150):
        live_seed(seed, lanes=1, window=1, fixed=False, poison=frozenset())


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("lanes", [1, 2])
def test_only_a_batch_that_ends_its_processes_is_given_up(lanes: int, direction: str) -> None:
    killer = (0, direction, 0, 1)
    for seed in range(100):
        scenario: dict[str, Any] = {"lanes": lanes, "batches": 4, "max_staleness": 64, "reach": 64}
        world = live_seed(seed, faults=False, killers=frozenset({killer}), poison=frozenset(), **scenario)
        assert LIMIT <= world.kills <= LIMIT + 2, f"seed {seed}"
        assert {key for key, times in world.tried.items() if times >= LIMIT} == {killer}, f"seed {seed}"
        given_up = [refused for refused in world.refused if "in a row" in refused.reason]
        assert {(refused.where.topic, refused.where.partition) for refused in given_up} == {
            (world.forward(0, 0) if direction == "forward" else world.backward(1, 0))
        }, f"seed {seed}"


def test_a_seed_gives_the_same_life_again() -> None:
    first, second = (live_seed(7, real=True) for _ in range(2))
    assert first.values == second.values
    assert first.time > 20


def _late(world: World) -> int:
    """Batches that were forwarded with weights out of reach, by somebody who had slept."""
    return sum("updates ago" in refused.reason for refused in world.refused)


def _failed(world: World, reason: str) -> int:
    """Batches that a gate could not process, for this reason."""
    return sum(reason in refused.reason for refused in world.refused)


def test_the_schedules_meet_all_that_a_gate_can_hear_and_ask_for() -> None:
    seen: Counter[str] = Counter()

    class Counting(GateCore):
        def on(self, event: e.Event) -> list[e.Instruction]:
            asked = super().on(event)
            seen.update(type(told).__name__ for told in [event, *asked])
            return asked

    for seed in range(400):
        world = live_seed(seed, Cores(gate=Counting))
        seen.update(
            trimmed=world.trims,
            edges=world.edge_trims,
            late=_late(world),
            raised=_failed(world, "raised"),
            own=_failed(world, "own gradient"),
            below=_failed(world, "input's gradient"),
            forged=len(world.forged),
            refused=len(world.refused),
            passes=len(world.passes),
        )
    every = {kind.__name__ for kind in (*get_args(e.Event), *get_args(e.Instruction))} - {"Halt"}
    rare = {
        name: seen[name]
        for name in (*every, "trimmed", "edges", "late", "raised", "own", "below", "forged", "refused", "passes")
        if seen[name] < 5
    }
    assert not rare
