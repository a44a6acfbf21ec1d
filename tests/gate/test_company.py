"""Results of a burst leave together, in order, and no later than one job after they were ready."""

from __future__ import annotations

from typing import Any

from akkafka.data.epochs import Cursor
from akkafka.gate import events as e
from akkafka.gate.company import Company
from akkafka.protocol.messages import Backward, Forward, Mode, Run

FORWARD = object.__new__(e.ForwardComputed)
BACKWARD = object.__new__(e.BackwardComputed)
APPENDED = object.__new__(e.Appended)
NEXT_FORWARD = object.__new__(e.ComputeForward)
NEXT_BACKWARD = object.__new__(e.ComputeBackward)
RUN = Run(bytes(8), bytes(8))


def output(seq: int, *, followed: bool = True) -> e.SendForward:
    return e.SendForward(
        Forward(RUN, Mode.TRAIN, 0, seq, Cursor(0, seq), Cursor(0, seq + 1), (), None, void="x", followed=followed)
    )


def gradient(seq: int, *, followed: bool = True) -> e.SendBackward:
    return e.SendBackward(Backward(RUN, 0, seq, (), 0, None, followed=followed))


def same(found: Any, expected: list[Any]) -> bool:
    return len(found) == len(expected) and all(a is b for a, b in zip(found, expected, strict=True))


def test_what_nothing_follows_passes() -> None:
    asked: list[e.Instruction] = [output(0, followed=False), NEXT_FORWARD]
    assert same(Company().of(FORWARD, asked), asked)


def test_a_result_waits_while_the_next_of_its_kind_is_computed_and_leaves_before_it() -> None:
    company, first, second = Company(), output(0), output(1)
    assert same(company.of(FORWARD, [first, NEXT_FORWARD]), [NEXT_FORWARD])
    assert not company.empty
    assert same(company.of(FORWARD, [second]), [first, second])
    assert company.empty


def test_no_result_waits_for_the_next_burst() -> None:
    company, first, last = Company(), gradient(0), gradient(1, followed=False)
    assert same(company.of(BACKWARD, [first, NEXT_BACKWARD]), [NEXT_BACKWARD])
    assert same(company.of(BACKWARD, [last, NEXT_BACKWARD]), [first, last, NEXT_BACKWARD])


def test_nothing_waits_for_a_job_of_the_other_kind() -> None:
    asked: list[e.Instruction] = [output(0), NEXT_BACKWARD]
    assert same(Company().of(FORWARD, asked), asked)


def test_what_is_sent_meanwhile_does_not_overtake_what_waits() -> None:
    company, first, second = Company(), output(0), output(1)
    refused = object.__new__(e.Refuse)
    company.of(FORWARD, [first, NEXT_FORWARD])
    assert same(company.of(APPENDED, [refused]), [refused])
    assert same(company.of(APPENDED, [second]), [first, second])


def test_a_result_that_may_not_leave_yet_lets_those_leave_that_waited_for_it() -> None:
    company, first = Company(), output(0)
    company.of(FORWARD, [first, NEXT_FORWARD])
    assert same(company.of(FORWARD, []), [first])
