"""A lane's next is taken, an earlier one is a duplicate, a later one is refused: nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from akkafka.protocol.sequence import Verdict, judge
from tests.protocol.cases import unhurried

counts = st.integers(0, 2**63 - 1)


@unhurried
@given(counts, counts)
def test_only_the_expected_number_is_next(seq: int, expected: int) -> None:
    verdict = judge(seq, expected)
    assert (verdict is Verdict.NEXT) == (seq == expected)
    assert (verdict is Verdict.DUPLICATE) == (seq < expected)
    assert (verdict is Verdict.AHEAD) == (seq > expected)


@unhurried
@given(st.integers(0, 20), st.lists(st.integers(0, 20), max_size=200))
def test_a_lane_that_goes_by_the_verdict_takes_every_number_once_and_in_order(first: int, arrivals: list[int]) -> None:
    taken: list[int] = []
    for seq in arrivals:
        if judge(seq, first + len(taken)) is Verdict.NEXT:
            taken.append(seq)
    assert taken == list(range(first, first + len(taken)))
