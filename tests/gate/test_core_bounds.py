"""When a gate does what: fixed schedule, window, and what it keeps, saves and finishes."""

from __future__ import annotations

import pytest

from akkafka.gate import events as e
from akkafka.gate.lane import LaneStart
from akkafka.protocol.messages import Mode

from ..simulation import toy
from .bench import Bench, forward, zero

FIRST = zero().hop(0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- schedule, window ----------------------------------------------------------------------------------------


def test_the_fixed_schedule_forwards_with_the_weights_of_d_versions_ago() -> None:
    bench = Bench(fixed=1, delay=1)
    versions = []
    for seq in range(4):
        bench.forward(seq)
        bench.compute()
        (hop,) = bench.one(e.SendForward).message.trail
        versions.append(hop.version)
        bench.backward(seq, hop=hop)
        bench.compute()
        bench.delivered(seq)
        bench.on(e.Appended(seq))
    assert versions == [0, 0, 1, 2]


def test_the_fixed_schedule_waits_for_the_version_it_needs() -> None:
    bench = Bench(fixed=1, delay=0)
    bench.forward(0)
    bench.compute()
    bench.forward(1)
    assert bench.did(e.ComputeForward) == []
    bench.backward(0)
    bench.compute()
    assert bench.one(e.ComputeForward).state.version == 1


def test_the_fixed_schedule_applies_in_the_order_of_batches() -> None:
    bench = Bench(fixed=2, delay=3)
    for lane in (0, 1):
        bench.forward(0, lane)
        bench.compute()
    bench.backward(0, lane=1)
    assert bench.did(e.ComputeBackward) == []
    bench.backward(0, lane=0)
    bench.compute()
    bench.compute()
    assert [s.message.lane for s in bench.did(e.SendBackward)] == [0, 1]


def test_the_fixed_schedule_has_no_place_for_other_training_lanes() -> None:
    bench = Bench(fixed=1, delay=0)
    bench.forward(0, lane=1)
    assert "fixed schedule" in bench.one(e.Refuse).reason
    bench.forward(0, lane=1, mode=Mode.VALIDATE)
    assert bench.one(e.ComputeForward).message.mode is Mode.VALIDATE


def test_validation_takes_the_newest_weights_and_leaves_nothing_behind() -> None:
    bench = Bench(fixed=1, delay=3)
    bench.round(0)
    bench.did(e.SendForward)
    bench.forward(0, lane=1, mode=Mode.VALIDATE)
    bench.compute()
    assert bench.one(e.SendForward).message.trail[0].version == 1
    assert bench.core.open_batches == 0


def test_a_batch_waits_until_the_one_a_window_behind_it_is_applied() -> None:
    # Past fault: a restarted gate met the next batch before the backlog of gradients, and window 1 was not synchronous.
    bench = Bench(window=1, lanes=[LaneStart(1), LaneStart()])
    bench.forward(1)
    assert bench.asked == []
    bench.backward(0, hop=FIRST)
    bench.on(e.InputFetched(0, 0, 0, forward(0)))
    bench.compute()
    assert bench.one(e.ComputeForward).state.version == 1


def test_a_gate_holds_as_many_batches_as_its_window_and_the_others_wait() -> None:
    bench = Bench(window=2)
    for seq in range(3):
        bench.forward(seq)
    bench.compute()
    bench.compute()
    assert bench.did(e.ComputeForward) == [] and bench.core.open_batches == 2
    bench.backward(0, hop=FIRST)
    bench.compute()
    assert bench.one(e.ComputeForward).message.seq == 2


# --- memory, snapshots, leaving ---------------------------------------------------------------------------------


def test_versions_that_nobody_names_are_forgotten(bench: Bench) -> None:
    bench.forward(0, lane=1)
    bench.compute()
    for seq in range(3):
        bench.round(seq)
    assert sorted(bench.core.states) == [0, 3], "lane 1's open batch names version 0"
    bench.backward(0, lane=1, hop=FIRST)
    bench.compute()
    bench.delivered(0, lane=1)
    bench.on(e.Appended(3))
    assert sorted(bench.core.states) == [4]


def test_lanes_with_too_much_waiting_are_congested() -> None:
    bench = Bench(backlog=2)
    for seq in range(3):
        bench.forward(seq)
    assert bench.core.congested("forward") == {0}
    assert bench.core.congested("backward") == frozenset()
    bench.compute()
    assert bench.core.congested("forward") == frozenset()


def test_a_snapshot_holds_the_certain_state_and_what_open_batches_name() -> None:
    bench = Bench(snapshot_seconds=10.0)
    bench.forward(0, lane=1)
    bench.compute()
    bench.round(0)
    bench.forward(1)
    bench.compute()
    bench.backward(1, hop=bench.core.certain.hop(1))
    bench.compute()
    bench.on(e.Ticked(11.0))
    asked = bench.one(e.TakeSnapshot)
    assert asked.state is bench.core.certain
    assert sorted(asked.older) == [0]


def test_a_snapshot_is_taken_by_bytes_too() -> None:
    bench = Bench(snapshot_bytes=1)
    bench.round(0)
    assert bench.one(e.TakeSnapshot).state.version == 1


def test_one_snapshot_at_a_time_and_none_of_the_same_version() -> None:
    bench = Bench(snapshot_seconds=10.0)
    bench.round(0)
    bench.on(e.Ticked(11.0))
    bench.on(e.Ticked(30.0))
    assert len(bench.did(e.TakeSnapshot)) == 1
    bench.on(e.SnapshotTaken(1, verified=True))
    bench.on(e.Ticked(50.0))
    assert bench.did(e.TakeSnapshot) == []


def test_a_snapshot_that_failed_is_taken_again() -> None:
    bench = Bench(snapshot_seconds=10.0)
    bench.round(0)
    bench.on(e.Ticked(11.0))
    bench.on(e.SnapshotTaken(1, verified=False))
    bench.did(e.TakeSnapshot)
    bench.on(e.Ticked(30.0))
    assert bench.one(e.TakeSnapshot).state.version == 1


def test_who_leaves_finishes_what_is_begun_begins_nothing_more_and_saves(bench: Bench) -> None:
    bench.forward(0)
    bench.compute()
    bench.backward(0)
    bench.forward(1)
    bench.on(e.LeaveAsked())
    bench.compute()
    assert not bench.core.idle
    bench.delivered(0)
    bench.on(e.Appended(0))
    assert bench.did(e.ComputeForward) == []
    assert bench.one(e.TakeSnapshot).state.version == 1
    bench.on(e.SnapshotTaken(1, verified=True))
    assert (bench.core.idle, bench.core.flushed) == (True, True)


def test_a_batch_that_an_earlier_process_forwarded_is_computed_from_its_input() -> None:
    bench = Bench(lanes=[LaneStart(1, ((0, FIRST),)), LaneStart()])
    bench.backward(0, hop=FIRST)
    fetch = bench.one(e.FetchInput)
    assert (fetch.lane, fetch.seq, fetch.offset) == (0, 0, 0)
    bench.on(e.InputFetched(0, 0, 0, forward(0)))
    job = bench.one(e.ComputeBackward)
    assert job.tape is None and job.source is not None and toy.number(job.source.x) == toy.number(forward(0).x)
