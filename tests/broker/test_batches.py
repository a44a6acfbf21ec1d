"""Record batches are what aiokafka's own code reads and writes; what is damaged is no batch."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from akkafka.broker.batches import Content, batches, encoded

content = st.none() | st.binary(max_size=300)
headers = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=9)), max_size=3).map(tuple)
records = st.lists(st.tuples(st.integers(0, 2**41), content, content, headers), min_size=1, max_size=5)


@settings(deadline=None)
@given(given=records, sequence=st.integers(0, 2**31 - 1))
def test_aiokafka_reads_what_is_written(given: list[Content], sequence: int) -> None:
    batch: Any = MemoryRecords(b"".join(encoded(given, 7, 1, sequence))).next_batch()
    assert batch.validate_crc()
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (7, 1, sequence)
    assert [(r.timestamp, r.key, r.value, tuple(r.headers)) for r in batch] == given


@settings(deadline=None)
@given(given=records, packed=st.sampled_from((0, 1)))
def test_what_aiokafka_writes_is_read(given: list[Content], packed: int) -> None:
    builder: Any = DefaultRecordBatchBuilder(2, packed, False, 7, 0, 0, 1 << 20)
    for number, (timestamp, key, value, named) in enumerate(given):
        builder.append(number, timestamp, key, value, list(named))
    ((found, behind),) = batches(memoryview(bytes(builder.build())), "t", 3, 0)
    assert behind == len(given)
    assert [(r.timestamp_ms, r.key, r.value, r.headers) for r in found] == given
    assert [(r.topic, r.partition, r.offset) for r in found] == [("t", 3, n) for n in range(len(given))]


def test_a_batch_that_is_cut_off_waits_for_the_next_answer_and_a_flipped_bit_is_named() -> None:
    whole = b"".join(encoded([(5, b"k", b"v" * 50, ())], 7, 0, 0))
    ((found, behind),) = batches(memoryview(whole + whole[:-1]), "t", 0, 0)
    assert (len(found), behind) == (1, 1)
    with pytest.raises(CorruptRecordException, match="checksum"):
        list(batches(memoryview(whole[:-3] + b"\xff" + whole[-2:]), "t", 0, 0))
