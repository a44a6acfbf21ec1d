"""What counts as growth of a process's memory."""

from __future__ import annotations

from akkafka.cli.chaos.memory import Point, growth

MIB = 1 << 20


def life(*sizes_mib: int, every_s: float = 2.0) -> list[Point]:
    return [(100.0 + every_s * i, size * MIB) for i, size in enumerate(sizes_mib)]


def test_a_process_that_creeps_is_said_to_grow() -> None:
    found = growth("gate-0", life(*range(180, 280)))
    assert found is not None
    assert found.grew
    assert found.late_bytes > found.early_bytes


def test_a_process_that_stays_is_not() -> None:
    found = growth("gate-0", life(*([180, 184, 182] * 20)))
    assert found is not None
    assert not found.grew


def test_what_a_process_needs_to_start_is_not_growth() -> None:
    found = growth("gate-0", life(*range(60, 180, 20), *([184] * 40)))
    assert found is not None
    assert not found.grew


def test_a_standby_that_takes_over_has_not_grown() -> None:
    found = growth("gate-0", life(*([60] * 40), *([190] * 40)))
    assert found is not None
    assert not found.grew


def test_a_short_life_tells_nothing() -> None:
    assert growth("gate-0", life(*range(180, 205))) is None
