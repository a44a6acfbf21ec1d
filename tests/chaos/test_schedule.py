"""The schedule of faults: a pure function of its seed."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akkafka.cli.chaos.schedule import (
    BROKER,
    BROKER_GAP_S,
    GROUPS,
    LONGEST_PAUSE_S,
    Fault,
    Mix,
    mix_for,
    plan,
)
from akkafka.errors import ConfigError

ROLES = ("gate-0", "gate-1", "sentinel-train")
EVERYTHING = tuple(GROUPS)


def test_one_seed_makes_one_storm_and_another_seed_another() -> None:
    mix = mix_for(2.0, EVERYTHING)
    assert plan(1, 120.0, ROLES, mix) == plan(1, 120.0, ROLES, mix)
    assert plan(1, 120.0, ROLES, mix) != plan(2, 120.0, ROLES, mix)


@given(st.integers(0, 2**32), st.floats(60.0, 600.0))
def test_a_storm_has_what_was_asked_for_within_its_time(seed: int, seconds: float) -> None:
    mix = mix_for(seconds / 60, EVERYTHING)
    strikes = plan(seed, seconds, ROLES, mix)
    assert {fault: sum(s.fault is fault for s in strikes) for fault in Fault} == mix.counts
    assert strikes == sorted(strikes)
    assert all(0 < strike.at <= seconds for strike in strikes)
    assert all(strike.victim in ROLES for strike in strikes if strike.fault in (Fault.KILL, Fault.PAUSE))
    assert all(1.0 <= strike.seconds <= LONGEST_PAUSE_S for strike in strikes if strike.fault is Fault.PAUSE)
    broker = [strike.at for strike in strikes if strike.victim == BROKER]
    assert all(later - earlier >= BROKER_GAP_S - 1e-6 for earlier, later in itertools.pairwise(broker))


def test_every_role_is_hit_in_a_long_storm() -> None:
    strikes = plan(3, 600.0, ROLES, Mix({Fault.KILL: 200}))
    assert {strike.victim for strike in strikes} == set(ROLES)


def test_more_broker_faults_than_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="5 faults of the broker do not fit into 30 s"):
        plan(1, 30.0, ROLES, Mix({Fault.BROKER_KILL: 5}))


def test_an_unknown_group_of_faults_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="--faults weather: takes kill, pause, broker, network"):
        mix_for(1.0, ("kill", "weather"))
