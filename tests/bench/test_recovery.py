"""What is made of the seconds that recoveries took."""

from __future__ import annotations

from akkafka.cli.bench.recovery import Kind, Recovery, figures, lines, quantile


def test_the_quantile_is_the_least_value_that_its_share_does_not_exceed() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.75) == 3.0
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.95) == 4.0
    assert quantile([7.0], 0.95) == 7.0


def test_each_kind_has_its_line_and_what_was_not_measured_has_none() -> None:
    found = [Recovery(0, seconds, Kind.STANDBY) for seconds in (0.5, 0.25, 4.0)]
    assert figures(found) == {"standby": {"p50": 0.5, "p95": 4.0, "worst": 4.0, "all": [0.25, 0.5, 4.0]}}
    assert [line.split() for line in lines(found)[1:]] == [["standby", "3", "0.50", "s", "4.00", "s", "4.00", "s"]]
