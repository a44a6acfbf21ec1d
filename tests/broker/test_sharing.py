"""Laws of sharing lanes out: nobody's lane is lost or doubled, loads are even, nothing moves without need."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from akkafka.broker.sharing import share

lanes = st.frozensets(st.integers(0, 11), max_size=12)
groups = st.dictionaries(st.sampled_from("abcdef"), lanes, max_size=6)


@given(groups, groups)
def test_every_lane_somebody_can_do_has_exactly_one_owner_who_can(
    wants: dict[str, frozenset[int]], held: dict[str, frozenset[int]]
) -> None:
    shares = share(wants, held)
    assert set(shares) == set(wants)
    owned = [lane for member in shares for lane in shares[member]]
    assert sorted(owned) == sorted(frozenset().union(*wants.values()))
    assert all(shares[member] <= wants[member] for member in wants)


@given(groups, groups)
def test_no_single_move_would_make_the_loads_more_even(
    wants: dict[str, frozenset[int]], held: dict[str, frozenset[int]]
) -> None:
    shares = share(wants, held)
    for rich in shares:
        for poor in shares:
            assert not (shares[rich] & wants[poor] and len(shares[rich]) - len(shares[poor]) >= 2)


@given(groups, groups)
def test_a_share_that_is_already_even_stays_as_it_is(
    wants: dict[str, frozenset[int]], held: dict[str, frozenset[int]]
) -> None:
    shares = share(wants, held)
    assert share(wants, shares) == shares


@given(groups, groups)
def test_the_order_in_which_members_are_listed_does_not_matter(
    wants: dict[str, frozenset[int]], held: dict[str, frozenset[int]]
) -> None:
    assert share(dict(reversed(wants.items())), dict(reversed(held.items()))) == share(wants, held)


def test_members_who_can_do_everything_get_all_or_one_more_than_the_others() -> None:
    shares = share({"a": range(8), "b": range(8), "c": range(8)})
    assert sorted(len(lanes) for lanes in shares.values()) == [2, 3, 3]


def test_a_newcomer_takes_only_its_fair_share_from_the_others() -> None:
    held = {"a": frozenset({0, 1, 2}), "b": frozenset({3, 4, 5})}
    shares = share({"a": range(6), "b": range(6), "c": range(6)}, held)
    assert shares == {"a": {0, 1}, "b": {3, 4}, "c": {2, 5}}
