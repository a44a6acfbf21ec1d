"""A batch that ends process after process is given up; one that merely was begun with is not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from akkafka.gate import events as e
from akkafka.gate.caution import LIMIT, Caution, Direction, Key, Step, Tried
from akkafka.gate.core import GateCore
from akkafka.gate.lane import LaneStart
from akkafka.gate.settings import CoreSettings
from akkafka.gate.snapshot import Shelf, attempt_key
from akkafka.gate.state import CountingRule
from akkafka.protocol import wire
from akkafka.protocol.messages import Attempt

from .bench import RUN, Bench, zero

BOTH = pytest.mark.parametrize("direction", ["forward", "backward"])


class Log:
    """How far each lane and direction has come."""

    def __init__(self) -> None:
        self.done: dict[Key, int] = {}

    def __call__(self, lane: int, direction: Direction) -> int:
        return self.done.get((lane, direction), 0)


@BOTH
def test_the_first_batch_of_a_lane_is_put_down_and_the_others_wait_for_what_comes_of_it(direction: Direction) -> None:
    log = Log()
    caution = Caution({}, log)
    assert caution.step(0, direction, 7) is Step.NOTE
    assert caution.step(0, direction, 7) is Step.WAIT, "not yet put down"
    caution.noted(0, direction, 7)
    assert caution.step(0, direction, 7) is Step.GO
    assert caution.step(0, direction, 8) is Step.WAIT, "what came of the first one is not in the log"
    log.done[0, direction] = 8
    assert caution.step(0, direction, 8) is Step.GO
    log.done.clear()
    assert caution.step(0, direction, 9) is Step.GO, "from then on nothing waits"


def test_of_all_lanes_and_directions_one_first_batch_is_tried_at_a_time() -> None:
    log = Log()
    caution = Caution({}, log)
    assert caution.step(0, "forward", 7) is Step.NOTE
    assert caution.step(0, "backward", 3) is caution.step(1, "forward", 0) is Step.WAIT
    before = caution.awaited
    caution.noted(0, "forward", 7)
    assert (before, caution.awaited) == (None, (0, "forward", 7)), "not before it is put down"
    caution.delivered(0, 7)
    assert caution.step(0, "backward", 3) is Step.NOTE
    assert caution.step(0, "forward", 8) is Step.GO, "that one is over"


def test_one_that_cannot_be_begun_lets_others_try_first() -> None:
    caution = Caution({}, Log())
    caution.step(0, "forward", 7)
    caution.noted(0, "forward", 7)
    assert caution.step(0, "backward", 3) is Step.WAIT
    caution.let_others()
    assert caution.step(0, "backward", 3) is Step.NOTE
    assert caution.step(0, "forward", 7) is Step.WAIT


def test_an_output_in_the_log_ends_the_caution_of_its_lane() -> None:
    caution = Caution({}, Log())
    caution.step(0, "forward", 3)
    caution.noted(0, "forward", 3)
    assert caution.cautious(0)
    caution.delivered(0, 3)
    assert caution.step(0, "forward", 4) is Step.GO
    assert not caution.cautious(0) and caution.cautious(1)


@BOTH
def test_what_so_many_processes_began_with_is_hopeless_and_only_that(direction: Direction) -> None:
    for times in range(LIMIT):
        assert not Caution({(0, direction): Tried(7, times)}, Log()).hopeless(0, direction, 7)
    caution = Caution({(0, direction): Tried(7, LIMIT)}, Log())
    assert caution.hopeless(0, direction, 7)
    assert not caution.hopeless(0, direction, 8) and not caution.hopeless(1, direction, 7)
    assert caution.step(0, direction, 8) is Step.NOTE, "the next one is looked at as carefully"


class CautiousBench(Bench):
    """A core that minds what others began with."""

    def __init__(self, tried: Mapping[Key, Tried]) -> None:
        super().__init__()
        settings = CoreSettings(run=RUN, name="fc", gate=0, rule=CountingRule(0), snapshot_seconds=1e30)
        self.core = GateCore(settings, zero(), {}, [LaneStart(), LaneStart()], tried)

    def noted(self) -> e.NoteAttempt:
        """Answer the one note that was asked for."""
        asked = self.one(e.NoteAttempt)
        self.on(e.AttemptNoted(asked.lane, asked.direction, asked.seq))
        return asked


def test_a_core_computes_nothing_before_its_note_is_in_the_log() -> None:
    bench = CautiousBench({(0, "forward"): Tried(0, 1)})
    bench.forward(0)
    bench.forward(1)
    assert not bench.did(e.ComputeForward)
    assert bench.noted() == e.NoteAttempt(0, "forward", 0, times=2)
    bench.compute()
    assert not bench.did(e.ComputeForward), "the second waits for the first one's output"
    bench.on(e.ForwardDelivered(0, 0))
    assert bench.one(e.ComputeForward).message.seq == 1


def test_a_forward_that_ended_its_processes_is_void_and_the_lane_goes_on() -> None:
    bench = CautiousBench({(0, "forward"): Tried(0, LIMIT)})
    bench.forward(0)
    sent = bench.one(e.SendForward).message
    assert sent.void == "gate 0 (fc): its forward pass has ended 3 processes in a row" and sent.x is None
    assert bench.one(e.Refuse).reason == sent.void
    assert not bench.did(e.ComputeForward)
    bench.forward(1)
    assert bench.noted().seq == 1
    bench.compute()
    assert bench.one(e.SendForward).message.void == ""


def test_a_backward_that_ended_its_processes_is_zeroed_once_and_the_lane_goes_on() -> None:
    bench = CautiousBench({(0, "backward"): Tried(0, LIMIT)})
    bench.forward(0)
    bench.noted()
    bench.compute()
    bench.did(e.SendForward)
    bench.on(e.ForwardDelivered(0, 0))
    bench.backward(0)
    job = bench.compute()
    assert isinstance(job, e.ComputeBackward)
    assert job.message.zeroed == "gate 0 (fc): its backward pass has ended 3 processes in a row"
    assert [refused.reason for refused in bench.did(e.Refuse)] == [job.message.zeroed]
    assert bench.one(e.SendBackward).message.zeroed == job.message.zeroed
    bench.delivered(0)
    assert bench.one(e.AppendRecord).record.zeroed == job.message.zeroed
    bench.on(e.Appended(0))
    assert (bench.core.certain.version, bench.core.certain.applied) == (1, (1, 0))


def test_the_last_note_of_a_lane_and_direction_counts_and_is_no_fault() -> None:
    shelf = Shelf(RUN, 0, 2)
    for seq, times, backward in ((3, 1, True), (3, 2, True), (5, 1, False)):
        direction: Direction = "backward" if backward else "forward"
        note = Attempt(RUN, 0, 1, backward, seq, times, "gate-0-host-1")
        shelf.put(attempt_key(1, direction), wire.encode(note))
    assert shelf.tried == {(1, "backward"): Tried(3, 2), (1, "forward"): Tried(5, 1)}
    assert not shelf.faults and shelf.newest() is None
