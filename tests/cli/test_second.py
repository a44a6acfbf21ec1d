"""What a second `akkafka train` means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from akkafka.cli.training.second import Facts, Way, judge
from akkafka.cli.training.standing import LaneStand
from akkafka.data.epochs import Cursor
from akkafka.errors import ConfigError, NetworkError


def lanes(*places: tuple[int, int], home: bool = True) -> list[LaneStand]:
    """Two lanes share a source of 45 batches; each at (epoch, batch)."""
    stands = []
    for lane, (epoch, batch) in enumerate(places):
        issued = (epoch * 45 + batch) // 2
        stands.append(LaneStand(lane, 2, issued, issued - (0 if home else 1), Cursor(epoch, batch)))
    return stands


NOTHING = Facts("net", ())
FINISHED = Facts("net", lanes((5, 1), (5, 0)), applied=True)
IN_THE_MIDDLE = Facts("net", lanes((3, 20), (3, 21)), applied=True)


def test_an_unknown_network_is_new() -> None:
    assert judge(NOTHING, 5, fresh=False, resume=False).way is Way.NEW
    assert judge(NOTHING, 5, fresh=True, resume=False).way is Way.NEW


def test_nothing_can_be_resumed_where_nothing_is() -> None:
    with pytest.raises(NetworkError, match="no network 'net' to go on with"):
        judge(NOTHING, 5, fresh=False, resume=True)


def test_fresh_and_resume_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        judge(FINISHED, 5, fresh=True, resume=True)


def test_a_defined_network_that_nobody_trained_is_simply_trained() -> None:
    assert judge(Facts("net", lanes((0, 0), (0, 0))), 5, fresh=False, resume=False).way is Way.ON


def test_an_unfinished_network_goes_on_and_says_so() -> None:
    verdict = judge(IN_THE_MIDDLE, 5, fresh=False, resume=False)
    assert verdict.way is Way.ON
    assert "goes on in epoch 4" in verdict.say
    assert "--fresh" in verdict.say


def test_fresh_starts_an_unfinished_network_anew() -> None:
    assert judge(IN_THE_MIDDLE, 5, fresh=True, resume=False).way is Way.ANEW


def test_a_finished_network_starts_anew_and_says_so() -> None:
    verdict = judge(FINISHED, 5, fresh=False, resume=False)
    assert verdict.way is Way.ANEW
    assert "finished (5 epochs)" in verdict.say


def test_a_finished_network_starts_anew_even_for_more_epochs_unless_resumed() -> None:
    assert judge(FINISHED, 9, fresh=False, resume=False).way is Way.ANEW
    assert judge(FINISHED, 9, fresh=False, resume=True).way is Way.ON


def test_resuming_a_finished_network_needs_more_epochs() -> None:
    with pytest.raises(ConfigError, match="5 epochs") as refused:
        judge(FINISHED, 5, fresh=False, resume=True)
    assert "6 or more" in refused.value.hint


def test_an_unfinished_network_is_not_thrown_away_for_fewer_epochs_than_it_has() -> None:
    with pytest.raises(ConfigError, match="--epochs 2"):
        judge(IN_THE_MIDDLE, 2, fresh=False, resume=False)


@pytest.mark.parametrize(
    "facts",
    [
        replace(FINISHED, applied=False),
        replace(FINISHED, lanes=lanes((5, 1), (5, 0), home=False)),
        replace(FINISHED, lanes=lanes((5, 1), (4, 40))),
        replace(FINISHED, goal=6),
    ],
    ids=["a journal lacks a batch", "a batch is not home", "a lane is behind", "it was to make more epochs"],
)
def test_a_network_is_unfinished_while(facts: Facts) -> None:
    assert not facts.finished
    assert judge(facts, 9, fresh=False, resume=False).way is Way.ON


def test_a_known_goal_decides_not_where_the_epochs_happen_to_end() -> None:
    assert replace(FINISHED, goal=5).finished
    assert replace(FINISHED, goal=3).finished


def test_a_network_that_others_train_now_is_left_alone() -> None:
    busy = replace(IN_THE_MIDDLE, trainers=["sentinel train (pid 7 on host)"])
    for fresh in (False, True):
        with pytest.raises(NetworkError, match="pid 7 on host"):
            judge(busy, 5, fresh=fresh, resume=False)


def test_gates_that_wait_for_work_do_not_keep_a_training_from_going_on_but_from_starting_anew() -> None:
    gates = replace(IN_THE_MIDDLE, others=["gate 0 (pid 8 on host)"])
    assert judge(gates, 5, fresh=False, resume=False).way is Way.ON
    with pytest.raises(NetworkError, match="pid 8 on host"):
        judge(gates, 5, fresh=True, resume=False)
