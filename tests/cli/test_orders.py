"""What supervisor and fork server say to each other arrives as it was said, however the stream is cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from akkafka.cli.training.orders import Fork, Forked, Line, Lines, Load, Over, Signal, encoded

NUMBERS = st.integers(0, 2**31)
TEXTS = st.text(st.characters(codec="utf-8"))
LINES: st.SearchStrategy[Line] = st.one_of(
    st.builds(Load, st.lists(TEXTS)),
    st.builds(Fork, NUMBERS, st.lists(TEXTS), TEXTS, st.dictionaries(TEXTS, TEXTS)),
    st.builds(Signal, NUMBERS, st.integers(1, 64)),
    st.builds(Forked, NUMBERS, NUMBERS),
    st.builds(Over, NUMBERS, st.integers(-64, 255)),
)


@given(st.lists(LINES), st.lists(st.integers(0, 400)))
def test_whatever_is_said_arrives_however_it_is_cut(said: list[Line], cuts: list[int]) -> None:
    stream, lines, heard = b"".join(map(encoded, said)), Lines(), []
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for begin, end in pairwise(places):
        heard += lines.of(stream[begin:end])
    assert heard == said
