"""Schedules: the shape of the curve, its ends, and the same bits for ever."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akkafka.optim.schedule import SCHEDULES, cos_pi, schedule_spec


def factors(count: int, **data: Any) -> list[float]:
    schedule = schedule_spec(data)
    return [schedule.factor(version) for version in range(count)]


def test_constant_is_constant() -> None:
    assert factors(3, type="constant") == [1, 1, 1]


def test_warmup_rises_in_equal_steps_and_stays() -> None:
    assert factors(6, type="warmup", updates=4) == [0.25, 0.5, 0.75, 1, 1, 1]


def test_cosine_warms_up_falls_to_the_floor_and_stays() -> None:
    given_factors = factors(12, type="cosine", updates=10, warmup=2, floor=0.2)
    falling = [0.2 + 0.8 * (1 + math.cos(math.pi * k / 8)) / 2 for k in range(9)]
    assert given_factors == pytest.approx([0.5, 1.0, *falling, 0.2], rel=1e-14)
    assert given_factors[2] == 1.0
    assert given_factors[10] == given_factors[11] == 0.2


def test_step_falls_by_its_factor_every_so_often() -> None:
    assert factors(7, type="step", every=3, gamma=0.5) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    assert factors(3, type="step", every=1, gamma=0.0) == [1, 0, 0]


def test_one_cycle_rises_to_the_full_rate_and_falls_to_its_end() -> None:
    given_factors = factors(12, type="one-cycle", updates=10, rise=0.3, start=0.1, end=0.01)
    rising = [0.1 + 0.9 * (1 - math.cos(math.pi * k / 2)) / 2 for k in range(3)]
    falling = [0.01 + 0.99 * (1 + math.cos(math.pi * k / 7)) / 2 for k in range(1, 8)]
    assert given_factors == pytest.approx([*rising, *falling, 0.01, 0.01], rel=1e-13)
    assert factors(1, type="one-cycle", updates=10, rise=0.1, start=0.1)[0] == 1.0


@pytest.mark.parametrize("warmup", (5, 9))
def test_a_cosine_without_room_behind_its_warmup_ends_at_the_floor(warmup: int) -> None:
    given_factors = factors(12, type="cosine", updates=5, warmup=warmup, floor=0.5)
    assert given_factors[warmup - 1] == 1.0
    assert given_factors[warmup + 1 :] == [0.5] * (11 - warmup)


@given(st.floats(0, 1))
def test_cos_pi_is_right_to_1e_15(t: float) -> None:
    assert abs(cos_pi(t) - math.cos(math.pi * t)) <= 1e-15


def test_cos_pi_at_its_ends() -> None:
    assert (cos_pi(0.0), cos_pi(0.5), cos_pi(1.0)) == (1.0, 0.0, -1.0)


@given(st.sampled_from(sorted(SCHEDULES)), st.integers(0, 10**12), st.integers(1, 10**6), st.integers(0, 1000))
def test_a_factor_is_between_0_and_1_at_every_version(kind: str, version: int, updates: int, warmup: int) -> None:
    all_settings = {"type": kind, "updates": updates + 1, "warmup": warmup, "every": updates, "gamma": 0.3}
    data = {key: value for key, value in all_settings.items() if key in SCHEDULES[kind].model_fields}
    assert 0 <= schedule_spec(data).factor(version) <= 1


def test_rates_are_what_they_have_always_been() -> None:
    schedule = schedule_spec({"type": "cosine", "updates": 1000, "warmup": 10})
    rates = [schedule.rate(0.1, version) for version in (0, 9, 10, 123, 500, 777, 999, 1000)]
    assert all(rate.dtype == np.float32 for rate in rates)
    assert [float(rate).hex() for rate in rates] == [
        "0x1.47ae140000000p-7",
        "0x1.99999a0000000p-4",
        "0x1.99999a0000000p-4",
        "0x1.8c92d20000000p-4",
        "0x1.a019440000000p-5",
        "0x1.89653a0000000p-7",
        "0x1.0e50700000000p-22",
        "0x0.0p+0",
    ]
