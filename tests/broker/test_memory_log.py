"""The log in memory: Kafka's rules on offsets, trimming, compaction and limits, without any event loop."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akkafka.broker.base import OffsetGoneError, RecordTooLargeError, TopicPartition, TopicSpec
from akkafka.broker.memory_log import RECORD_OVERHEAD_BYTES, MemoryLog
from akkafka.errors import BrokerError

A = TopicPartition("a", 0)
B = TopicPartition("a", 1)


def log_with(settings: dict[str, str] | None = None) -> MemoryLog:
    ticks = count(1000)
    log = MemoryLog(clock=lambda: next(ticks))
    log.create(TopicSpec("a", 2, settings or {}))
    return log


def test_offsets_count_up_in_each_partition_and_the_clock_stamps_the_records() -> None:
    log = log_with()
    assert [log.append(A, b"x"), log.append(B, b"y"), log.append(A, b"z")] == [0, 0, 1]
    assert [(r.offset, r.value, r.timestamp_ms) for r in log.read(A, 0)] == [(0, b"x", 1000), (1, b"z", 1002)]
    assert log.read(A, 0, 1)[0].offset == 0
    assert log.read(A, 2) == []


def test_reading_outside_of_what_is_held_tells_what_is_held() -> None:
    log = log_with()
    for _ in range(4):
        log.append(A, b"x")
    log.trim(A, 2)
    for wanted in (1, 5):
        with pytest.raises(OffsetGoneError) as caught:
            log.read(A, wanted)
        assert (caught.value.low, caught.value.high) == (2, 4)


def test_compaction_keeps_the_newest_record_of_each_key_and_the_offsets() -> None:
    log = log_with({"cleanup.policy": "compact"})
    for key, value in [(b"k", b"1"), (b"l", b"1"), (b"k", b"2"), (b"m", b"1"), (b"l", None)]:
        log.append(A, value, key)
    log.compact("a", drop_tombstones=False)
    assert [(r.offset, r.key, r.value) for r in log.read(A, 0)] == [(2, b"k", b"2"), (3, b"m", b"1"), (4, b"l", None)]
    log.compact("a")
    assert [r.offset for r in log.read(A, 0)] == [2, 3]
    assert log.bounds(A) == (0, 5)
    assert log.read(A, 4) == []
    assert log.append(A, b"2", b"l") == 5
    assert [r.offset for r in log.read(A, 3)] == [3, 5]


@given(st.lists(st.one_of(st.just("append"), st.integers(0, 12), st.just("compact")), max_size=30))
def test_a_record_keeps_its_offset_through_any_mix_of_trimming_and_compaction(steps: list[str | int]) -> None:
    log = log_with({"cleanup.policy": "compact,delete"})
    low = end = 0
    for step in steps:
        if step == "append":
            assert log.append(A, b"%d" % end, b"%d" % (end % 3)) == end
            end += 1
        elif step == "compact":
            log.compact("a")
        elif int(step) <= end:
            log.trim(A, int(step))
            low = max(low, int(step))
    assert log.bounds(A) == (low, end)
    for offset in range(low, end + 1):
        got = log.read(A, offset)
        assert all(record.value == b"%d" % record.offset and record.offset >= offset for record in got)
        assert not got or got[-1].offset == end - 1


def test_a_record_at_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    log = log_with({"max.message.bytes": "1000"})
    room = 1000 - RECORD_OVERHEAD_BYTES
    assert log.append(A, bytes(room)) == 0
    with pytest.raises(RecordTooLargeError, match="1000"):
        log.append(A, bytes(room + 1))
    with pytest.raises(RecordTooLargeError):
        log.append(A, bytes(room), headers=(("h", b""),))
    assert log.bounds(A) == (0, 1)


def test_what_does_not_exist_is_named() -> None:
    log = log_with()
    with pytest.raises(BrokerError, match="topic b does not exist"):
        log.append(TopicPartition("b", 0), b"x")
    with pytest.raises(BrokerError, match="there is no 2"):
        log.read(TopicPartition("a", 2), 0)
    with pytest.raises(BrokerError, match="at least 1 partition"):
        log.create(TopicSpec("c", 0))


def test_a_log_that_lost_its_tail_gives_the_same_offsets_again() -> None:
    log = log_with()
    for n in range(5):
        log.append(A, b"%d" % n)
    log.lose(A, 3)
    assert log.bounds(A) == (0, 3)
    assert log.append(A, b"new") == 3


def test_appends_wake_watchers_of_that_partition_until_they_stop_watching() -> None:
    log, owner, woken = log_with(), object(), []
    log.watch([A], owner, lambda: woken.append("woken"))
    log.append(B, b"x")
    assert not woken
    log.append(A, b"x")
    log.unwatch([A], owner)
    log.append(A, b"x")
    assert woken == ["woken"]


def test_a_group_remembers_who_holds_what_and_lanes_beyond_the_topic_are_not_shared() -> None:
    log = log_with()
    told: dict[str, frozenset[int]] = {}
    first = log.join("g", "a", [0, 1, 2], lambda lanes: told.update(first=lanes))
    assert told == {"first": {0, 1}}
    second = log.join("g", "a", [0, 1], lambda lanes: told.update(second=lanes))
    assert told == {"first": {0}, "second": {1}}
    assert log.members("g", "a") == {first: {0}, second: {1}}
    log.leave("g", "a", first)
    log.leave("g", "a", first)
    assert told["second"] == {0, 1}
    assert log.members("other", "a") == {}
