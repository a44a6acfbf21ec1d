"""Batches whose forward lies too far back: zeroed by whoever finds them, and never in anybody's way.

Past fault: a process slept through two snapshots, woke, and was the first to forward a batch. Nobody had its weights
any more, so the batch's lane stood still for ever; and had the sleeper recorded the gradient, no gate could have gone
on.
"""

from __future__ import annotations

from dataclasses import replace

from akkafka.gate import events as e
from akkafka.gate.core import GateCore
from akkafka.gate.lane import LaneStart
from akkafka.gate.settings import CoreSettings
from akkafka.gate.state import CountingRule

from .bench import RUN, Bench, Carefree, after, entry, record_of, zero

REACH = 2
OLD = zero().hop(0)


class NearBench(Bench):
    """Weights are within reach for two updates."""

    def __init__(self) -> None:
        super().__init__()
        settings = CoreSettings(run=RUN, name="fc", gate=0, rule=CountingRule(0, reach=REACH), snapshot_seconds=1e30)
        self.core = GateCore(settings, zero(), {}, [LaneStart(), LaneStart()], {})
        self.core._attempts.caution = Carefree({}, self.core._attempts.in_the_log)


def test_a_record_counts_up_to_its_reach_and_not_beyond() -> None:
    rule = CountingRule(0, reach=REACH)
    assert rule.counts(replace(zero(), version=2), record_of(0, 0, OLD))
    assert not rule.counts(replace(zero(), version=3), record_of(0, 0, OLD))
    assert rule.counts(replace(zero(), version=3), record_of(0, 0, OLD, zeroed="it was late"))
    assert rule.counts(replace(zero(), version=3), record_of(0, 0, OLD, void="too large"))
    assert CountingRule(0).counts(replace(zero(), version=10**6), record_of(0, 0, OLD))


def test_a_batch_beyond_reach_is_zeroed_and_its_lane_goes_on() -> None:
    bench = NearBench()
    bench.forward(0, lane=1)
    bench.compute()
    for seq in range(3):
        bench.round(seq)
    bench.did(e.SendBackward)
    bench.backward(0, lane=1, hop=OLD)
    (refused,) = bench.did(e.Refuse)
    assert "made with weights of 3 updates ago, they are at hand for 2" in refused.reason
    bench.compute()
    sent = bench.one(e.SendBackward).message
    assert (sent.zeroed, sent.void, sent.dy) == (refused.reason, "", None)
    bench.delivered(0, lane=1)
    record = bench.did(e.AppendRecord)[-1].record
    assert (record.zeroed, record.void) == (refused.reason, "")
    bench.on(e.Appended(3))
    assert (bench.core.certain.version, bench.core.certain.applied) == (4, (3, 1))


def test_a_batch_within_reach_makes_its_step() -> None:
    bench = NearBench()
    bench.forward(0, lane=1)
    bench.compute()
    for seq in range(2):
        bench.round(seq)
    bench.did(e.SendBackward)
    bench.backward(0, lane=1, hop=OLD)
    bench.compute()
    assert bench.one(e.SendBackward).message.zeroed == ""


def test_a_void_batch_beyond_reach_stays_void() -> None:
    bench = NearBench()
    for seq in range(3):
        bench.round(seq)
    bench.did(e.SendBackward)
    bench.backward(0, lane=1, hop=OLD, void="too large")
    bench.compute()
    sent = bench.one(e.SendBackward).message
    assert (sent.void, sent.zeroed) == ("too large", "")
    assert not bench.did(e.Refuse)


def test_a_record_that_others_have_put_out_of_reach_is_made_anew_with_a_gradient_of_zero() -> None:
    bench = NearBench()
    bench.forward(0, lane=1)
    bench.compute()
    bench.backward(0, lane=1, hop=OLD)
    bench.compute()
    bench.delivered(0, lane=1)
    bench.did(e.AppendRecord)
    bench.on(e.Appended(3))  # three of another process's have come before ours
    assert bench.one(e.ReadJournal).start == 0
    state, others = zero(), []
    for seq in range(3):
        record = record_of(seq, 0, state.hop(seq))
        others.append(entry(record))
        state = after(state, record)
    ours = entry(record_of(0, 1, OLD, writer="me"))
    bench.on(e.JournalRead([*others, ours], 4))
    bench.compute_all()
    sent = bench.did(e.SendBackward)[-1].message
    assert "updates ago" in sent.zeroed
    bench.delivered(0, lane=1)
    appended = bench.one(e.AppendRecord).record
    assert (appended.lane, appended.seq) == (1, 0) and appended.zeroed and not appended.void
    bench.on(e.Appended(4))
    assert (bench.core.certain.version, bench.core.certain.applied, bench.core.certain.next_offset) == (4, (3, 1), 5)
    assert bench.core.idle
