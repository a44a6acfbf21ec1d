"""A training sentinel issues within its window, answers in order, and goes on where another has ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest

from akkafka.data.epochs import Cursor
from akkafka.protocol.messages import Forward, Hop, Mode, Run
from akkafka.sentinel import events as e
from akkafka.sentinel.training import LaneCourse, TrainCore, TrainSettings

RUN, OTHER = Run(b"d" * 8, b"1" * 8), Run(b"d" * 8, b"2" * 8)
T = TypeVar("T")
TRAIL = (Hop(0, 0, bytes(8)), Hop(0, 0, bytes(8)))


def advance(cursor: Cursor) -> Cursor:
    return Cursor(*divmod(cursor.epoch * 4 + cursor.batch + 1, 4))


COURSE = LaneCourse(Cursor(0, 0), advance)


def core_with(**settings: Any) -> TrainCore:
    defaults: dict[str, Any] = {"window": 2, "max_staleness": 100, "epochs": None}
    return TrainCore(TrainSettings(RUN, 2, courses={0: COURSE, 1: COURSE}, **{**defaults, **settings}))


@pytest.fixture
def core() -> TrainCore:
    return core_with()


def take(core: TrainCore, lane: int = 0, **standing: Any) -> list[e.Instruction]:
    return core.on(e.LaneTaken(e.LaneStanding(lane, **standing)))


def output(seq: int, lane: int = 0, *, offset: int | None = None, **facts: Any) -> e.OutputArrived:
    x = None if facts.get("void") else np.zeros(1, np.float32)
    message = Forward(RUN, Mode.TRAIN, lane, seq, Cursor(0, seq), Cursor(0, seq + 1), TRAIL, x)
    return e.OutputArrived(seq if offset is None else offset, replace(message, **facts))


def evaluated(asked: e.Evaluate, void: str = "") -> e.Evaluated:
    dy = None if void else np.ones(1, np.float32)
    return e.Evaluated(asked.offset, asked.message, 1, 0.5, 1, dy, void)


def only(instructions: list[e.Instruction], kind: type[T]) -> list[T]:
    return [i for i in instructions if isinstance(i, kind)]


def issued(instructions: list[e.Instruction]) -> list[tuple[int, int]]:
    return [(i.lane, i.seq) for i in only(instructions, e.Issue)]


def followed(instructions: list[e.Instruction]) -> list[bool]:
    return [i.followed for i in only(instructions, e.Issue)]


# --- issuing ----------------------------------------------------------------------------------------------


def test_a_new_lane_is_filled_up_to_the_window(core: TrainCore) -> None:
    first, second = only(take(core), e.Issue)
    assert (first.seq, first.cursor, first.after) == (0, Cursor(0, 0), Cursor(0, 1))
    assert (second.seq, second.cursor, second.after) == (1, Cursor(0, 1), Cursor(0, 2))


def test_a_batch_that_comes_home_makes_room_for_the_next(core: TrainCore) -> None:
    take(core)
    assert issued(core.on(e.HomeArrived(0, 0))) == [(0, 2)]
    assert issued(core.on(e.HomeArrived(0, 0))) == [], "a duplicate makes no room"


def test_a_homecoming_of_what_was_never_issued_brings_nobody_home(core: TrainCore) -> None:
    take(core)
    assert issued(core.on(e.HomeArrived(0, 900))) == []
    assert core.standing(0).home == 0
    assert issued(core.on(e.HomeArrived(0, 0))) == [(0, 2)]


def test_where_a_batch_is_home_all_before_it_are(core: TrainCore) -> None:
    # A standing read from a late duplicate lies behind the truth: what it missed is never heard again.
    take(core, issued=7, cursor=Cursor(1, 3), home=5, answered=6)
    assert issued(core.on(e.HomeArrived(0, 6))) == [(0, 7), (0, 8)]


def test_a_homecoming_of_a_batch_that_another_process_issued_counts_once_we_know_of_it(core: TrainCore) -> None:
    take(core, issued=4, cursor=Cursor(1, 0), home=2, answered=4)
    core.on(e.HomeArrived(0, 5))
    assert core.standing(0).home == 2
    core.on(output(4))
    core.on(output(5))
    assert (core.standing(0).issued, core.standing(0).home) == (8, 6)


def test_a_burst_is_issued_when_the_window_has_room_for_all_of_it() -> None:
    core = core_with(window=5, burst=3)
    assert issued(take(core)) == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)]
    assert issued(core.on(e.HomeArrived(0, 0))) == []
    assert issued(core.on(e.HomeArrived(0, 1))) == []
    assert issued(core.on(e.HomeArrived(0, 2))) == [(0, 5), (0, 6), (0, 7)]


def test_a_batch_says_whether_another_of_its_burst_follows() -> None:
    core = core_with(window=5, burst=3)
    assert followed(take(core)) == [True, True, False, True, False], "a burst of three, and what was left of the window"
    for seq in (0, 1):
        core.on(e.HomeArrived(0, seq))
    assert followed(core.on(e.HomeArrived(0, 2))) == [True, True, False]
    assert not any(followed(take(core_with(window=5))))


def test_the_last_batch_of_all_is_followed_by_none() -> None:
    core = core_with(window=5, burst=5, epochs=1)
    assert followed(take(core, cursor=Cursor(0, 2))) == [True, False], "an epoch has four"


def test_a_burst_that_is_not_told_is_a_third_of_the_window() -> None:
    assert followed(take(core_with(window=2, burst=None))) == [False, False]
    core = core_with(window=16, burst=None)
    assert followed(take(core)) == [True, True, True, True, False] * 3 + [False]
    core.on(e.WindowSet(6))
    for seq in range(11):
        assert core.on(e.HomeArrived(0, seq)) == [], "six are to be in flight, and two of those home"
    assert followed(core.on(e.HomeArrived(0, 11))) == [True, False]


def test_a_burst_is_no_larger_than_the_window() -> None:
    core = core_with(window=2, burst=9)
    assert issued(take(core)) == [(0, 0), (0, 1)]
    assert issued(core.on(e.HomeArrived(0, 0))) == []
    assert issued(core.on(e.HomeArrived(0, 1))) == [(0, 2), (0, 3)]


def test_a_window_of_one_issues_one_batch_at_a_time() -> None:
    core = core_with(window=1)
    assert issued(take(core)) == [(0, 0)]
    assert issued(core.on(e.HomeArrived(0, 0))) == [(0, 1)]


def test_lanes_are_filled_in_turn(core: TrainCore) -> None:
    core.on(e.LeaveAsked())
    for lane in (0, 1):
        take(core, lane)
    core.leaving = False
    assert issued(core.on(e.LaneLost(7))) == [(0, 0), (1, 0), (0, 1), (1, 1)]


def test_after_the_last_epoch_nothing_is_issued() -> None:
    core = core_with(epochs=1, window=10)
    assert len(issued(take(core))) == 4
    assert not core.finished
    for seq in range(4):
        core.on(e.HomeArrived(0, seq))
    assert (core.finished, core.lane_finished(0)) == (True, True)


def test_who_leaves_issues_nothing_and_is_settled_when_all_is_home(core: TrainCore) -> None:
    take(core)
    assert core.on(e.LeaveAsked()) == []
    assert issued(core.on(e.HomeArrived(0, 0))) == []
    assert not core.settled
    core.on(e.HomeArrived(0, 1))
    assert core.settled


# --- standings ---------------------------------------------------------------------------------------------


def test_a_lane_goes_on_where_another_sentinel_has_ended(core: TrainCore) -> None:
    (issue,) = only(take(core, issued=7, cursor=Cursor(1, 3), home=6, answered=6), e.Issue)
    assert (issue.seq, issue.cursor, issue.after) == (7, Cursor(1, 3), Cursor(2, 0))


def test_what_another_sentinel_has_issued_is_answered_and_gone_on_from(core: TrainCore) -> None:
    take(core)
    for seq in (0, 1):
        core.on(output(seq))
    core.on(output(2, after=Cursor(3, 3)))
    assert core.standing(0).issued == 3
    assert core.standing(0).cursor == Cursor(3, 3)


def test_a_homecoming_that_was_heard_before_the_standing_arrived_is_not_lost(core: TrainCore) -> None:
    # Past fault: with a full window nothing came home any more, and the lane stood still for ever.
    core.on(e.HomeArrived(0, 5))
    core.on(e.HomeArrived(0, 6))
    assert issued(take(core, issued=7, cursor=Cursor(0, 0), home=5, answered=7)) == [(0, 7), (0, 8)]


def test_a_lane_taken_again_does_not_forget_who_came_home(core: TrainCore) -> None:
    take(core)
    core.on(e.HomeArrived(0, 0))
    take(core, issued=2, cursor=Cursor(0, 2), home=0)
    assert core.standing(0).home == 1


def test_a_lost_lane_is_left_alone(core: TrainCore) -> None:
    take(core)
    core.on(e.LaneLost(0))
    assert core.lanes == frozenset()
    assert core.on(output(0)) == []
    assert core.on(e.HomeArrived(0, 0)) == []


# --- answers ------------------------------------------------------------------------------------------------


def test_an_output_is_evaluated_and_answered_with_its_trail_and_offset(core: TrainCore) -> None:
    take(core)
    (asked,) = only(core.on(output(0, offset=9)), e.Evaluate)
    answer = core.on(evaluated(asked))
    (sent,) = only(answer, e.SendGradient)
    assert (sent.message.seq, sent.message.source, sent.message.trail) == (0, 9, TRAIL)
    assert sent.message.dy is not None
    assert len(only(answer, e.Report)) == 1


def test_an_output_that_was_there_before_is_dropped(core: TrainCore) -> None:
    take(core)
    core.on(output(0))
    assert core.on(output(0, offset=1)) == []
    assert core.statistics.duplicates == 1


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"run": OTHER}, "of run"),
        ({"mode": Mode.VALIDATE}, "validate"),
        ({"trail": TRAIL[:1]}, "trail of 1"),
        ({"seq": 3}, "too early"),
    ],
)
def test_an_output_that_does_not_belong_is_refused(core: TrainCore, facts: dict[str, Any], reason: str) -> None:
    take(core)
    (refused,) = core.on(output(0, **facts) if "seq" not in facts else output(facts["seq"]))
    assert isinstance(refused, e.Refuse) and reason in refused.reason


def test_a_void_output_is_answered_void_without_evaluation(core: TrainCore) -> None:
    take(core)
    (sent,) = core.on(output(0, void="too large"))
    assert isinstance(sent, e.SendGradient)
    assert (sent.message.void, sent.message.dy) == ("too large", None)
    assert core.statistics.voids == 1


def test_a_void_answer_waits_for_the_answers_before_it(core: TrainCore) -> None:
    # Past fault: it went at once, before the answer to the batch before it: every gate refused that gap for ever.
    take(core)
    (asked,) = only(core.on(output(0)), e.Evaluate)
    assert core.on(output(1, void="too large")) == []
    sent = only(core.on(evaluated(asked)), e.SendGradient)
    assert [s.message.seq for s in sent] == [0, 1]


def test_gradients_of_a_burst_leave_together_once_all_that_have_come_are_there() -> None:
    core = core_with(window=5, burst=3)
    take(core)
    asked = [only(core.on(output(seq, followed=seq != 2)), e.Evaluate)[0] for seq in (0, 1)]
    assert only(core.on(evaluated(asked[0])), e.SendGradient) == []
    assert [s.message.seq for s in only(core.on(evaluated(asked[1])), e.SendGradient)] == [0, 1], "the third is late"
    asked = [only(core.on(output(seq)), e.Evaluate)[0] for seq in (2, 3)]
    assert [s.message.seq for s in only(core.on(evaluated(asked[0])), e.SendGradient)] == [2], "it is followed by none"


def test_a_loss_that_is_not_finite_voids_the_batch_and_is_not_reported(core: TrainCore) -> None:
    take(core)
    (asked,) = only(core.on(output(0)), e.Evaluate)
    (sent,) = core.on(evaluated(asked, void="not finite"))
    assert isinstance(sent, e.SendGradient) and sent.message.void == "not finite"


def test_what_is_being_evaluated_is_answered_though_the_lane_is_lost(core: TrainCore) -> None:
    take(core)
    (asked,) = only(core.on(output(0)), e.Evaluate)
    core.on(e.LaneLost(0))
    assert not core.settled
    assert len(only(core.on(evaluated(asked)), e.SendGradient)) == 1
    assert core.settled


# --- staleness ----------------------------------------------------------------------------------------------


def test_issuing_stops_while_a_lanes_open_batch_is_too_old() -> None:
    core = core_with(window=1, max_staleness=1)
    take(core, 0)
    take(core, 1)
    for seq in range(2):
        core.on(e.HomeArrived(0, seq))
    assert core.held_up_by == 1
    assert core.standing(0).issued == core.standing(0).home == 2, "there is room, but nothing is issued"
    assert issued(core.on(e.HomeArrived(1, 0))) == [(0, 2), (1, 1)]


def test_another_processs_lane_holds_issuing_up_too() -> None:
    core = core_with(window=1, max_staleness=1)
    take(core, 0)
    core.on(e.LaneTold(1, issued=1, home=0))
    for seq in range(2):
        core.on(e.HomeArrived(0, seq))
    assert core.held_up_by == 1
    assert len(issued(core.on(e.HomeArrived(1, 0)))) == 1


def test_a_lane_that_is_taken_is_as_old_as_the_log_says_not_as_was_told() -> None:
    # Past fault: a dead sentinel had told of a batch that never reached the log; it held all lanes up for ever.
    core = core_with(window=1, max_staleness=1)
    take(core, 0)
    core.on(e.LaneTold(1, issued=1, home=0))
    for seq in range(2):
        core.on(e.HomeArrived(0, seq))
    assert core.held_up_by == 1
    assert (1, 0) in issued(take(core, 1))
    assert core.held_up_by is None
