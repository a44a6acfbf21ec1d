"""What a schedule is about: the shape of the network, its lanes, its amount of work, and what may go wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np

from akkafka.data.epochs import Cursor
from akkafka.protocol.tally import Tally, tally_of
from akkafka.sentinel.training import LaneCourse

from .choices import Choices, one_of


@dataclass(frozen=True, slots=True)
class Scenario:
    gates: int = 2
    lanes: int = 1  # training lanes
    eval_lanes: int = 1
    window: int = 2
    gate_window: int = 0  # 0: as the window
    burst: int = 1
    fixed: bool = False
    delay: int = 0
    epochs: int = 1
    batches: int = 4  # of an epoch, over all lanes
    pass_batches: int = 2
    backlog: int = 64
    max_staleness: int = 64
    reach: int = 64  # of the arrival schedule; far less than in a real life, so that sleepers meet it
    poison: frozenset[tuple[int, int]] = frozenset()  # (lane, seq) that some gate or the loss cannot process
    killers: frozenset[tuple[int, str, int, int]] = frozenset()  # gate, direction, lane, seq: ends who computes it
    snapshots: bool = True
    trims: bool = False
    rereads_homes: bool = True  # who takes a lane hears its homecomings from where the standing was read
    walks: bool = True  # shells find out how far a lane has come by walking it; else by its last message
    faults: bool = True
    forging: bool = True
    steps: int = 150  # of the phase with faults
    real_codec: bool = field(default=False, compare=False)

    @property
    def all_lanes(self) -> int:
        return self.lanes + self.eval_lanes

    @property
    def held_window(self) -> int:
        """Batches of a lane between a gate's forward and its update, at most."""
        return min(self.window, self.gate_window or self.window)

    @property
    def fixed_lanes(self) -> int:
        return self.lanes if self.fixed else 0

    @property
    def rule_reach(self) -> int:
        """What Definition.reach says."""
        return self.delay if self.fixed else self.reach

    @property
    def ring(self) -> int:
        return self.delay if self.fixed else 0

    def cursors(self, lane: int) -> list[Cursor]:
        """What a training lane has to issue, in order."""
        return [self.cursor(k) for k in range(lane, self.epochs * self.batches, self.lanes)]

    def cursor(self, k: int) -> Cursor:
        return Cursor(k // self.batches, k % self.batches)

    def tally(self, cursor: Cursor) -> Tally:
        """What the batch at `cursor` brings: one sample."""
        return _one_sample(cursor, self.batches)

    def course(self, lane: int) -> LaneCourse:
        return LaneCourse(self.cursor(lane), self.advance)

    def advance(self, cursor: Cursor) -> Cursor:
        return self.cursor(cursor.epoch * self.batches + cursor.batch + self.lanes)


@cache
def _one_sample(cursor: Cursor, batches: int) -> Tally:
    return tally_of(np.array([cursor.batch], np.uint32), cursor.epoch, 0, batches)


def _killers(choices: Choices, lanes: int) -> frozenset[tuple[int, str, int, int]]:
    direction = one_of(choices, ("forward", "backward"))
    return frozenset({(choices.pick(2), direction, choices.pick(lanes), choices.pick(4))})


def drawn(choices: Choices, *, real_codec: bool = False) -> Scenario:
    """Any scenario; small, as faults need few batches to meet."""
    lanes = one_of(choices, (1, 2, 1, 3))
    window = one_of(choices, (2, 1, 3))
    fixed = bool(choices.pick(3) == 1)
    walks = choices.pick(2) == 0
    epochs = one_of(choices, (1, 2, 1))
    return Scenario(
        gates=one_of(choices, (2, 1, 3, 2)),
        lanes=lanes,
        eval_lanes=one_of(choices, (0, 1, 2, 0)),
        window=window,
        fixed=fixed,
        delay=one_of(choices, (window * lanes - 1, 0, 1, 3)) if fixed else 0,
        epochs=epochs,
        batches=one_of(choices, (3, 2, 4, 5) if epochs == 1 else (3, 2, 4, 3)),
        backlog=one_of(choices, (64, 1, 2)),
        # fixed: a batch may wait for others that are not issued yet; a lower bound would hold these up for ever
        max_staleness=one_of(choices, (64, window * lanes) if fixed else (64, 1, 3)),
        reach=one_of(choices, (64, 2 * window * lanes, 3)),
        poison=frozenset({(choices.pick(lanes), choices.pick(4))}) if choices.pick(3) == 1 else frozenset(),
        snapshots=choices.pick(2) == 1,
        trims=choices.pick(2) == 1,
        rereads_homes=choices.pick(2) == 0,
        walks=walks,
        forging=walks and choices.pick(2) == 1,
        steps=one_of(choices, (60, 150, 30)),
        gate_window=0 if fixed else one_of(choices, (0, 1, 2)),
        burst=one_of(choices, (1, 2, 3)),
        killers=_killers(choices, lanes) if choices.pick(4) == 1 else frozenset(),
        real_codec=real_codec,
    )
