"""A pass counts every batch of its set once, whoever else works on its lanes, whatever happens to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from akkafka.data.epochs import Cursor
from akkafka.protocol.messages import Forward, Hop, Mode, Run
from akkafka.sentinel import events as e
from akkafka.sentinel.passes import PassCore, PassSettings

RUN, OTHER = Run(b"d" * 8, b"1" * 8), Run(b"d" * 8, b"2" * 8)
TRAIL = (Hop(0, 0, bytes(8)),)


def taken(core: PassCore, lane: int, issued: int = 0, answered: int = 0) -> list[e.Instruction]:
    return core.on(e.LaneTaken(e.LaneStanding(lane, issued, None, answered, answered)))


@pytest.fixture
def core() -> PassCore:
    """Two lanes, a window of two, nothing to do."""
    core = PassCore(PassSettings(RUN, Mode.VALIDATE, 1, 2))
    for lane in (4, 5):
        taken(core, lane)
    return core


def ask(core: PassCore, batches: int, tag: str = "a") -> list[e.Issue]:
    return issues(core.on(e.PassAsked(tag, 3, batches)))


def issues(instructions: list[e.Instruction]) -> list[e.Issue]:
    return [i for i in instructions if isinstance(i, e.Issue)]


def output(issue: e.Issue, *, offset: int | None = None, **facts: Any) -> e.OutputArrived:
    """What comes out for an issued batch."""
    message = Forward(
        RUN, Mode.VALIDATE, issue.lane, issue.seq, issue.cursor, issue.after, TRAIL, np.zeros(1), tag=issue.tag
    )
    return e.OutputArrived(issue.seq if offset is None else offset, replace(message, **facts))


def evaluate(core: PassCore, instructions: list[e.Instruction]) -> list[e.Instruction]:
    """Answer all evaluations that are asked for."""
    asked = [i for i in instructions if isinstance(i, e.Evaluate)]
    return [i for a in asked for i in core.on(e.Evaluated(a.offset, a.message, 1, 0.0, 1, None))]


def finish(core: PassCore, todo: list[e.Issue]) -> e.PassEnded:
    """Let everything come out, until the pass has ended."""
    while todo:
        issue, *todo = todo
        asked = core.on(output(issue))
        answered = evaluate(core, asked)
        todo += issues([*asked, *answered])
        for instruction in answered:
            if isinstance(instruction, e.PassEnded):
                return instruction
    raise AssertionError("the pass has not ended")


def counted(ended: e.PassEnded) -> list[int]:
    return [result.message.cursor.batch for result in ended.results]


def test_batches_are_spread_over_the_lanes_up_to_the_window(core: PassCore) -> None:
    assert [(i.lane, i.seq, i.cursor.batch) for i in ask(core, 9)] == [(4, 0, 0), (5, 0, 1), (4, 1, 2), (5, 1, 3)]


def test_a_pass_counts_every_batch_once_in_the_order_of_the_data(core: PassCore) -> None:
    ended = finish(core, ask(core, 9))
    assert counted(ended) == list(range(9))
    assert not core.working and core.open_batches == 0


def test_an_output_that_was_there_before_is_dropped(core: PassCore) -> None:
    first, *_ = ask(core, 9)
    core.on(output(first))
    assert core.on(output(first, offset=7)) == []
    assert core.duplicates == 1


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"run": OTHER}, "of run"),
        ({"mode": Mode.TEST}, "test"),
        ({"trail": ()}, "trail of 0"),
        ({"seq": 70}, "too early"),
    ],
)
def test_an_output_that_does_not_belong_is_refused_and_changes_nothing(
    core: PassCore, facts: dict[str, Any], reason: str
) -> None:
    todo = ask(core, 3)
    (refused,) = core.on(output(todo[0], **facts))
    assert isinstance(refused, e.Refuse) and reason in refused.reason
    assert counted(finish(core, todo)) == [0, 1, 2]


def test_a_batch_whose_place_another_owner_has_taken_is_issued_again(core: PassCore) -> None:
    first, *rest = ask(core, 4)
    again = issues(core.on(output(first, tag="another's")))
    assert [(i.lane, i.seq, i.cursor.batch) for i in again] == [(4, 2, 0)]
    assert counted(finish(core, [*rest, *again])) == [0, 1, 2, 3]


def test_our_own_older_batch_under_the_same_number_is_not_counted_for_the_new_one(core: PassCore) -> None:
    # Past fault: a lane was lost and taken again, its old batch still reached the log first, and stood for the new one.
    old, *_ = ask(core, 4)
    core.on(e.LaneLost(5))
    core.on(e.LaneLost(4))
    todo = issues(taken(core, 5))
    todo += issues(taken(core, 4))
    new = next(i for i in todo if (i.lane, i.seq) == (4, 0))
    assert new.cursor.batch != old.cursor.batch
    todo.remove(new)
    out = core.on(output(old))
    assert not any(isinstance(i, e.Evaluate) for i in out)
    assert counted(finish(core, [*todo, *issues(out)])) == [0, 1, 2, 3]


def test_our_own_output_ahead_of_an_old_standing_is_taken(core: PassCore) -> None:
    core.on(e.LaneLost(5))
    core.on(e.LaneLost(4))
    taken(core, 4, issued=8, answered=5)
    todo = ask(core, 2)
    assert [i.seq for i in todo] == [8, 9]
    assert counted(finish(core, todo)) == [0, 1]


def test_batches_of_a_lost_lane_are_issued_in_another(core: PassCore) -> None:
    todo = [i for i in ask(core, 4) if i.lane == 5]
    core.on(e.LaneLost(4))
    assert counted(finish(core, todo)) == [0, 1, 2, 3]


def test_without_lanes_a_pass_waits(core: PassCore) -> None:
    for lane in (4, 5):
        core.on(e.LaneLost(lane))
    assert ask(core, 2) == []
    assert core.working
    assert counted(finish(core, issues(taken(core, 4)))) == [0, 1]


def test_a_new_pass_forgets_the_one_before(core: PassCore) -> None:
    # Past fault: batches of the pass before were taken for batches of the new one, and it ended with a KeyError.
    old = ask(core, 9)
    todo = ask(core, 2, tag="b")
    for issue in old:
        todo += issues(core.on(output(issue)))
    ended = finish(core, todo)
    assert (ended.tag, counted(ended)) == ("b", [0, 1])


def test_an_evaluation_of_an_earlier_pass_is_not_counted(core: PassCore) -> None:
    (asked,) = [i for i in core.on(output(ask(core, 9)[0])) if isinstance(i, e.Evaluate)]
    ask(core, 2, tag="b")
    assert core.on(e.Evaluated(asked.offset, asked.message, 1, 0.0, 1, None)) == []
    assert core.working


def test_who_leaves_issues_nothing_more(core: PassCore) -> None:
    first, *_ = ask(core, 9)
    core.on(e.LeaveAsked())
    assert issues(core.on(output(first))) == []


def test_a_standing_tells_where_an_own_lane_is(core: PassCore) -> None:
    first, *_ = ask(core, 1)
    core.on(output(first))
    standing = core.standing(first.lane)
    assert (standing.issued, standing.answered, standing.cursor) == (1, 1, None)
    assert first.after == Cursor(3, 1)
