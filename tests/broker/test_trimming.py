"""Trimming by need: up to a first copy, never the last; who was overtaken begins anew, who lost data does not."""

from __future__ import annotations

import asyncio

import pytest

from akkafka.broker import trimming
from akkafka.broker.base import OffsetGoneError, TopicPartition, TopicSpec
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.trimming import FirstCopies, Overtaken, keep_trimming

from ..conftest import Run

LANE = TopicPartition("lane", 0)


def copies(*taken: tuple[int, int]) -> FirstCopies:
    found = FirstCopies()
    for seq, offset in taken:
        found.take(seq, offset)
    return found


def test_all_before_the_first_copy_of_what_is_needed_may_go() -> None:
    lane = copies((4, 10), (5, 12), (6, 15))
    assert lane.needless(3) is None
    assert lane.needless(4) == 10, "what lies before the first that was taken is older"
    assert lane.needless(4) is None, "told once"
    assert lane.needless(6) == 15
    assert lane.needless(6) is None, "told once"


def test_the_newest_stays_whatever_is_needed() -> None:
    assert copies((4, 10), (5, 12)).needless(100) == 12
    assert copies((4, 10)).needless(100) == 10
    assert copies((0, 0)).needless(100) is None, "nothing lies before"
    assert FirstCopies().needless(100) is None


def test_a_late_copy_does_not_count() -> None:
    lane = copies((4, 10), (5, 12), (4, 30), (5, 31), (6, 33))
    assert lane.needless(5) == 12
    assert lane.needless(6) == 33


def gone(wanted: int, low: int = 5, high: int = 9) -> OffsetGoneError:
    return OffsetGoneError(LANE, wanted, low, high)


def test_who_slept_while_others_trimmed_begins_anew() -> None:
    said: list[str] = []
    Overtaken(said.append, lambda: 0.0).begin_anew(gone(3))
    assert said == ["others have gone on meanwhile: lane[0] was trimmed up to offset 5, 3 was wanted; "
                    "beginning anew from the log"]  # fmt: skip


def test_an_end_that_is_gone_is_no_trimming() -> None:
    with pytest.raises(OffsetGoneError, match="offset 12 is gone"):
        Overtaken(print, lambda: 0.0).begin_anew(gone(12))


def test_who_cannot_begin_again_and_again_has_found_a_hole() -> None:
    now = [0.0]
    overtaken = Overtaken(lambda line: None, lambda: now[0])
    for _ in range(trimming.TRIES):
        overtaken.begin_anew(gone(3))
    with pytest.raises(OffsetGoneError):
        overtaken.begin_anew(gone(3))
    now[0] += trimming.IN_A_ROW_S + 1
    overtaken.begin_anew(gone(3))


def test_who_is_slower_than_its_twin_may_begin_anew_as_often_as_it_is_overtaken() -> None:
    overtaken = Overtaken(lambda line: None, lambda: 0.0)
    for wanted in range(50):
        overtaken.begin_anew(gone(wanted, low=60, high=70))


def test_trimming_goes_on_through_absences_and_refusals(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimming, "EVERY_S", 0.0)
    broker = MemoryBroker()
    broker.log.create(TopicSpec("lane", 1))
    for _ in range(6):
        broker.log.append(LANE, b"x")
    answers = iter([{LANE: 2}, {}, {LANE: 99}, {LANE: 4}])  # each is acted upon when the next one is asked for
    lows: list[int] = []
    enough = asyncio.Event()

    def needless() -> dict[TopicPartition, int]:
        lows.append(broker.log.bounds(LANE)[0])
        broker.faults.away = len(lows) == 2
        if len(lows) == 7:
            enough.set()
        return next(answers, {})

    async def work() -> None:
        task = asyncio.ensure_future(keep_trimming(broker, needless, "test"))
        await enough.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(work())
    assert lows == [0, 0, 0, 2, 2, 4, 4], "what could not be trimmed is trimmed later; what is refused is let be"
