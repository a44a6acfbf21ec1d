"""A gate's state and the fold: weights at version v follow from the definition and v counted journal records."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from akkafka.gate.sums import Sums
from akkafka.protocol.messages import CHAIN_BYTES, TRAIL_CHAIN_BYTES, Hop, JournalRecord
from akkafka.protocol.narrow import wide

Params = Mapping[str, NDArray[Any]]
Stepper = Callable[["GateState", Params | None, Params, int], tuple[Params, Params]]
"""(state, grads, weights at the forward, staleness) -> (weights, optimizer state): new arrays, inputs untouched.

No grads: a gradient of zero, whose weights at the forward do not matter, and no statistics of a batch.
"""


@dataclass(frozen=True, slots=True, eq=False)
class GateState:
    """Everything that the fold changes. Arrays are replaced, never written in place, so a reference is a copy."""

    version: int
    chain: bytes  # hash over all counted records, 16 bytes
    params: Params
    optimizer: Params
    applied: tuple[int, ...]  # by lane: next seq to be applied
    sources: tuple[int, ...]  # by lane: where to read the backward topic on
    next_offset: int  # of the journal: first record that is not in here
    sums: Sums = field(default_factory=Sums)  # over all counted records, for `akkafka audit`

    def hop(self, offset: int) -> Hop:
        """The trail entry of a batch whose input lies at `offset` and that these weights work on."""
        return Hop(offset, self.version, self.chain[:TRAIL_CHAIN_BYTES])


def initial_state(params: Params, optimizer: Params, lanes: int) -> GateState:
    """Version 0."""
    return GateState(0, bytes(CHAIN_BYTES), params, optimizer, (0,) * lanes, (0,) * lanes, 0)


@dataclass(frozen=True, slots=True)
class CountingRule:
    """Which record counts: the next of its lane; under the fixed schedule also the next of all.

    And none that was made with weights too old for anybody to have them: a process that slept while snapshots and
    journal went on may wake, forward a batch with what it has in memory, and even record the gradient. If that counted,
    nobody else could fold it (delay compensation needs those weights), and no trimming would ever be safe. So weights
    are within reach for a fixed number of updates; what was forwarded before is zeroed (gate/core.py).
    """

    gate: int
    fixed_lanes: int = 0  # training lanes of the fixed schedule; 0: arrival
    reach: int | None = None  # updates back; None: without end

    def counts(self, state: GateState, record: JournalRecord) -> bool:
        """True if `record` makes the next version of `state`."""
        if record.gate != self.gate or record.lane >= len(state.applied):
            return False
        if record.hop.version > state.version:
            return False  # nobody can have used weights that did not exist
        if record.seq != state.applied[record.lane]:
            return False
        if record.needs_weights and not self.within_reach(record.hop, state.version):
            return False
        if not self.fixed_lanes:
            return True
        return record.lane < self.fixed_lanes and self.number(record.lane, record.seq) == state.version

    def within_reach(self, hop: Hop, version: int) -> bool:
        """True if a batch of this trail can still make a step on top of `version`."""
        return self.reach is None or hop.version >= version - self.reach

    def number(self, lane: int, seq: int) -> int:
        """n of a batch in the fixed schedule."""
        return seq * self.fixed_lanes + lane


Beside = Callable[[Callable[[], bytes]], Callable[[], bytes]]
"""Begins some work, or leaves it for later; what it returns gives the result."""


def in_turn(work: Callable[[], bytes]) -> Callable[[], bytes]:
    """Later, by who asks for the result."""
    return work


def next_chain(chain: bytes, value: bytes) -> bytes:
    """Chain hash after the record whose bytes are `value`."""
    return hashlib.blake2b(value, key=chain, digest_size=CHAIN_BYTES).digest()


def apply_record(
    state: GateState, record: JournalRecord, value: bytes, then: Params, step: Stepper, beside: Beside = in_turn
) -> GateState:
    """The state after a record that counts; `then`, if it needs them: the weights of version `record.hop.version`.

    `beside`: where the chain hash is made, which takes more time than the step.
    """
    chained = beside(partial(next_chain, state.chain, value))
    params, optimizer = state.params, state.optimizer
    if record.needs_weights:
        grads = {name: wide(gradient) for name, gradient in record.grads.items()}
        params, optimizer = step(state, grads, then, state.version - record.hop.version)
    elif record.zeroed:
        params, optimizer = step(state, None, state.params, state.version - record.hop.version)
    return GateState(
        version=state.version + 1,
        chain=chained(),
        params=params,
        optimizer=optimizer,
        applied=_put(state.applied, record.lane, record.seq + 1),
        sources=_put(state.sources, record.lane, record.source + 1),
        next_offset=state.next_offset + 1,
        sums=state.sums.after(record, state.version),
    )


def pass_over(state: GateState, count: int = 1) -> GateState:
    """The state after records that do not count."""
    return replace(state, next_offset=state.next_offset + count)


def _put(values: tuple[int, ...], at: int, value: int) -> tuple[int, ...]:
    return (*values[:at], value, *values[at + 1 :])
