"""What a sentinel needs of its lanes: one case a rule."""

from __future__ import annotations

from akkafka.sentinel.needs import HomeNeeds, OutputNeeds


def outputs(window: int | None, count: int) -> OutputNeeds:
    needs = OutputNeeds(window)
    for seq in range(count):
        needs.accepted(3, seq, 10 + seq)
    return needs


def test_an_output_is_needed_until_its_gradient_is_in_the_log() -> None:
    needs = outputs(2, 6)
    assert needs.outputs(3) == 10, "all before is older"
    needs.answered(3, 1)
    assert needs.outputs(3) == 12


def test_the_last_gate_finds_what_may_be_open_there() -> None:
    needs = outputs(2, 6)
    needs.answered(3, 5)
    assert needs.outputs(3) == 14


def test_of_a_pass_only_the_last_output_tells_something() -> None:
    assert outputs(None, 6).outputs(3) == 15
    assert outputs(None, 1).outputs(3) == 10


def test_of_a_lane_that_was_never_read_nothing_is_known() -> None:
    assert OutputNeeds(2).outputs(0) is None
    assert HomeNeeds().homes(0) is None


def test_the_last_homecomings_stay() -> None:
    needs = HomeNeeds(least=4)
    for seq in range(10):
        needs.accepted(0, seq, 100 + seq)
    assert needs.homes(0) == 106
    assert HomeNeeds(5000)._kept == 5000
