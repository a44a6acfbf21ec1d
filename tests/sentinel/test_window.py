"""The window that is found: against pipelines whose rates are known for each window."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akkafka.data.epochs import Cursor
from akkafka.protocol.messages import Run
from akkafka.sentinel import events as e
from akkafka.sentinel.training import LaneCourse, TrainCore, TrainSettings
from akkafka.sentinel.window import BEATS, ENOUGH, LONGEST, LOST_TRIALS, SKIPPED, Beat, Choice, WindowTuner

NAMES = ("fc1", "fc2", "fc3")
Shares = Callable[[int], float]
BEAT_S, FULL = 0.2, 1_000_000  # updates a second where a gate always works: no rounding, no trial takes longer


def trial(tuner: WindowTuner, share: Shares, stale: float | None = None, beats: int = SKIPPED + BEATS) -> Choice | None:
    """Beats of all gates for one trial: gate 1 is the busiest; right after a change the old rate is still told."""
    choice, version = None, 0
    for beat in range(beats):
        busy = stale if stale is not None and beat < SKIPPED else share(tuner.window)
        for gate, part in enumerate((0.5, 1.0, 0.25)):
            told = tuner.told(gate, Beat(part * busy, version, beat * BEAT_S))
            assert choice is None or told is None
            choice = told or choice
        version += round(busy * BEAT_S * FULL)
    return choice


def settled(tuner: WindowTuner, share: Shares) -> Choice:
    tried = {tuner.window}
    for _ in range(20):
        choice = trial(tuner, share)
        assert choice is not None
        if choice.settled:
            assert choice.window == tuner.window
            return choice
        assert choice.window not in tried, "no window is tried twice"
        tried.add(choice.window)
    raise AssertionError("it never settles")


def saturating(at: int, most: float = 0.9) -> Shares:
    """In proportion up to window `at`, flat behind it."""
    return lambda window: most * min(1.0, window / at)


@pytest.mark.parametrize("at", range(1, 17))
def test_it_finds_the_smallest_window_that_keeps_the_busiest_gate_busy(at: int) -> None:
    least = next(window for window in range(1, 17) if window / at >= ENOUGH)
    choice = settled(WindowTuner(16, NAMES), saturating(at))
    assert choice.window == least
    assert "the busiest gate, fc2, works" in choice.why


@settings(deadline=None)
@given(st.integers(1, 64), st.lists(st.floats(0.01, 1), min_size=64, max_size=64))
def test_whatever_is_told_it_settles_within_the_limit_on_a_window_that_is_enough(
    limit: int, shares: list[float]
) -> None:
    told: dict[int, float] = {}

    def share(window: int) -> float:
        assert 1 <= window <= limit
        told[window] = shares[window - 1]
        return told[window]

    choice = settled(WindowTuner(limit, NAMES), share)
    assert told[choice.window] >= ENOUGH * max(told.values()) - 1e-4
    assert not [w for w in told if w < choice.window and told[w] >= ENOUGH * max(told.values()) + 1e-4]


def test_a_limit_that_is_reached_is_told() -> None:
    choice = settled(WindowTuner(4, NAMES), saturating(9))
    assert choice.window == 4 and "more than 4 are not allowed (schedule.window_limit)" in choice.why
    assert "works 40% of the time and makes 400000.0 updates/s; no other window gives more" in choice.why


def test_what_it_gives_up_is_told() -> None:
    choice = settled(WindowTuner(16, NAMES), lambda window: min(0.8, 0.2 * window) + (0.01 if window >= 8 else 0.0))
    assert choice.window == 4 and choice.why.endswith(
        "works 80% of the time and makes 800000.0 updates/s; 810000.0 with 8"
    )


def test_updates_decide_and_not_how_busy_a_gate_looks() -> None:
    tuner = WindowTuner(16, NAMES)
    for _ in range(3):
        window = tuner.window
        for beat in range(SKIPPED + BEATS):
            for gate in range(3):
                tuner.told(gate, Beat(1.0 / window, window * beat * 100, beat * BEAT_S))
    assert tuner.window == 16, "each doubling made it look half as busy, and do twice as much"


def test_a_slow_network_has_longer_trials_and_not_endless_ones() -> None:
    tuner = WindowTuner(16, NAMES)

    def beats(a_beat: float) -> int:
        for beat in range(1000):
            found = [tuner.told(gate, Beat(0.9, int(beat * a_beat), beat * BEAT_S)) for gate in range(3)]
            if any(found):
                return beat + 1
        raise AssertionError("no trial ends")

    assert beats(100.0) == SKIPPED + BEATS
    assert SKIPPED + 50 <= beats(1.0) <= SKIPPED + 52
    assert beats(0.001) == LONGEST


def test_beats_right_after_a_change_do_not_count() -> None:
    tuner = WindowTuner(16, NAMES)
    trial(tuner, saturating(4))
    assert tuner.window == 4
    trial(tuner, saturating(4), stale=0.001)
    assert tuner.window == 8
    choice = trial(tuner, saturating(4), stale=1.0)
    assert choice is not None and choice.window == 16, "8 gained nothing, whatever was told at first: once more"
    choice = trial(tuner, saturating(4), stale=1.0)
    assert choice is not None and choice.window == 3, "nor did 16"


def test_a_doubling_that_gains_nothing_is_not_the_end() -> None:
    assert settled(WindowTuner(16, NAMES), lambda window: 0.12 * min(window, 4) if window < 12 else 0.75).window == 12
    assert settled(WindowTuner(64, NAMES), lambda window: 0.5 if window < 32 else 0.75).window == 1, "two are"


def test_a_gate_that_is_silent_keeps_the_trial_open() -> None:
    tuner = WindowTuner(16, NAMES)
    assert not any(tuner.told(gate, Beat(0.5, 9 * n, n)) for n in range(100) for gate in (0, 1))


def test_it_begins_anew_when_the_busiest_gate_is_idle_for_long_and_not_for_a_moment() -> None:
    tuner = WindowTuner(16, NAMES)
    assert settled(tuner, saturating(4)).window == 4
    for _ in range(LOST_TRIALS - 1):
        assert trial(tuner, lambda _: 0.3) is None
    assert trial(tuner, lambda _: 0.8) is None
    for _ in range(LOST_TRIALS - 1):
        assert trial(tuner, lambda _: 0.3) is None
    choice = trial(tuner, lambda _: 0.3)
    assert choice is not None and not choice.settled
    assert settled(tuner, saturating(8, 0.5)).window == 8


def test_a_core_issues_up_to_the_window_that_is_in_force() -> None:
    course = LaneCourse(Cursor(0, 0), lambda cursor: Cursor(cursor.epoch, cursor.batch + 1))
    core = TrainCore(TrainSettings(Run(bytes(8), bytes(8)), 1, 2, 100, {0: course}))
    assert len(core.on(e.LaneTaken(e.LaneStanding(0)))) == 2
    assert len(core.on(e.WindowSet(5))) == 3
    assert core.on(e.WindowSet(1)) == []
    assert [core.on(e.HomeArrived(0, seq)) for seq in range(4)] == [[]] * 4, "what is out beyond it comes home first"
    assert len(core.on(e.HomeArrived(0, 4))) == 1
