"""What may go once newer snapshots stand, and in which order; never what anybody can still ask for."""

from __future__ import annotations

from dataclasses import replace

from akkafka.gate.ledger import Kept, Ledger, kept_of, ledger_of, oldest_needed
from akkafka.gate.snapshot import Shelf, Snapshot, to_records
from akkafka.gate.state import GateState

from .bench import RUN, after, record_of, zero


def kept(version: int, *older: int, offset: int | None = None) -> Kept:
    name = str(version).encode()
    return Kept(version, version if offset is None else offset, frozenset(older), (name + b"/m", name + b"/0"))


def test_all_before_the_snapshot_before_the_newest_may_go() -> None:
    shots = [kept(40), kept(20), kept(10)]
    assert oldest_needed(shots, 40, 5, []) is shots[1]
    assert oldest_needed(shots[:1], 40, 5, []) is None
    assert oldest_needed([], 40, 5, []) is None


def test_weights_that_a_later_record_names_hold_an_older_snapshot() -> None:
    shots = [kept(40), kept(20), kept(10)]
    assert oldest_needed(shots, 40, 5, [(21, 19)]) is shots[2]
    assert oldest_needed([shots[0], kept(20, 19)], 40, 5, [(21, 19)]) is not None
    assert oldest_needed(shots, 40, 5, [(20, 18), (21, 20), (11, 10)]) is shots[1], "the record itself is in it"


def test_what_is_within_reach_holds_an_older_snapshot() -> None:
    # Past fault: a process that had slept through two snapshots woke and forwarded a batch with weights that were gone.
    shots = [kept(40), kept(36), kept(10)]
    assert oldest_needed(shots, 40, 4, []) is shots[1]
    assert oldest_needed(shots, 40, 5, []) is shots[2]
    assert oldest_needed(shots, 40, 31, []) is None


def test_manifests_go_before_chunks_and_all_of_it_only_once() -> None:
    ledger = Ledger([kept(10)], [kept(7), Kept(3, 0, frozenset(), (b"orphan",))])
    ledger.verified(kept(20, offset=23))
    assert ledger.let_go(20, 15, []) is None
    ledger.verified(kept(40))
    gone = ledger.let_go(40, 15, [])
    assert gone is not None
    assert gone.keys == (b"10/m", b"7/m", b"orphan", b"10/0", b"7/0")
    assert gone.journal == 23
    again = ledger.let_go(40, 15, [])
    assert again is not None and again.keys == ()
    assert [k.version for k in ledger.kept] == [40, 20]


def test_snapshots_stay_few_while_what_is_within_reach_holds_an_old_one() -> None:
    ledger, journal = Ledger(), 0
    for version in range(10, 400, 10):
        ledger.verified(kept(version))
        gone = ledger.let_go(version, 95, [])
        journal = gone.journal if gone is not None else journal
        assert len(ledger.kept) <= 4
        assert version < 110 or version - 2 * 95 - 40 <= journal <= version - 95, f"at {version}: {journal}"
    assert journal == ledger.kept[-1].next_offset


def test_leftovers_that_are_newer_stay_until_they_are_overtaken() -> None:
    ledger = Ledger([kept(20), kept(10)], [kept(15)])
    gone = ledger.let_go(20, 5, [])
    assert gone is not None and gone.keys == ()
    assert ledger.leftovers == [kept(15)]


def state_of(version: int) -> GateState:
    return replace(after(zero(), record_of(0, 0, zero().hop(0))), version=version)


def test_a_process_that_begins_knows_whole_torn_and_unfinished_snapshots_apart() -> None:
    shelf = Shelf(RUN, 0, 2)
    for version, writer in ((5, "a"), (9, "b")):
        for key, value in to_records(RUN, 0, writer, state_of(version), {1: zero()}):
            shelf.put(key, value)
    orphan, value = to_records(RUN, 0, "c", state_of(7), {})[0]
    shelf.put(orphan, value)
    newest = shelf.newest()
    assert isinstance(newest, Snapshot)
    ledger = ledger_of(shelf, newest)
    assert ledger.kept == [kept_of(newest.manifest, newest.older)]
    assert ledger.kept[0].older == {0}
    assert sorted(k.version for k in ledger.leftovers) == [5, 7]
    assert ledger.leftovers[1].keys == (orphan,)
    assert ledger_of(shelf, None).kept == []
