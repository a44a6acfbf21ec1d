"""Results of a burst leave together, in order, and no later than one job after they were ready."""

from __future__ import annotations

from typing import Any

from akkafka.gate import events as e
from akkafka.gate.company import Company


class Results:
    """Events and instructions by name: what they hold does not matter here."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}

    def of(self, kind: type, name: str) -> Any:
        return self.made.setdefault(name, object.__new__(kind))

    def names(self, instructions: Any) -> list[str]:
        return [name for i in instructions for name, made in self.made.items() if made is i]


FORWARD = object.__new__(e.ForwardComputed)
BACKWARD = object.__new__(e.BackwardComputed)
APPENDED = object.__new__(e.Appended)


def test_without_bursts_everything_passes() -> None:
    made = Results()
    asked = [made.of(e.SendForward, "a"), made.of(e.ComputeForward, "compute")]
    assert Company(1).of(FORWARD, asked) == asked


def test_a_result_waits_while_the_next_of_its_kind_is_computed_and_leaves_before_it() -> None:
    company, made = Company(3), Results()
    first, second = made.of(e.SendForward, "first"), made.of(e.SendForward, "second")
    next_one = made.of(e.ComputeForward, "compute")
    assert made.names(company.of(FORWARD, [first, next_one])) == ["compute"]
    assert not company.empty
    assert made.names(company.of(FORWARD, [second])) == ["first", "second"]
    assert company.empty


def test_no_more_wait_than_a_burst_has() -> None:
    company, made = Company(2), Results()
    compute = made.of(e.ComputeBackward, "compute")
    assert made.names(company.of(BACKWARD, [made.of(e.SendBackward, "a"), compute])) == ["compute"]
    assert made.names(company.of(BACKWARD, [made.of(e.SendBackward, "b"), compute])) == ["a", "b", "compute"]


def test_nothing_waits_for_a_job_of_the_other_kind() -> None:
    company, made = Company(3), Results()
    compute = made.of(e.ComputeBackward, "compute")
    assert made.names(company.of(FORWARD, [made.of(e.SendForward, "a"), compute])) == ["a", "compute"]


def test_what_is_sent_meanwhile_does_not_overtake_what_waits() -> None:
    company, made = Company(3), Results()
    compute = made.of(e.ComputeForward, "compute")
    company.of(FORWARD, [made.of(e.SendForward, "a"), compute])
    assert made.names(company.of(APPENDED, [made.of(e.Refuse, "refuse")])) == ["refuse"]
    assert made.names(company.of(APPENDED, [made.of(e.SendForward, "b")])) == ["a", "b"]


def test_a_result_that_may_not_leave_yet_lets_those_leave_that_waited_for_it() -> None:
    company, made = Company(3), Results()
    compute = made.of(e.ComputeForward, "compute")
    company.of(FORWARD, [made.of(e.SendForward, "a"), compute])
    assert made.names(company.of(FORWARD, [])) == ["a"]
