"""What a gate has at hand of each lane: inputs that wait, batches that are open, outputs that may not leave yet."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from akkafka.gate import events as e
from akkafka.gate.state import GateState
from akkafka.protocol.messages import Forward, Hop


@dataclass(frozen=True, slots=True)
class LaneStart:
    """Where a gate takes a lane up: read from the last records of its own outputs."""

    next_forward: int = 0  # seq
    open: tuple[tuple[int, Hop], ...] = ()  # (seq, our entry of its trail) of batches forwarded, not yet applied


@dataclass(slots=True, eq=False)
class Stashed:
    """What a gate remembers of a batch between its forward and its update."""

    hop: Hop
    tape: Any = None  # None: forwarded by an earlier process, or its weights were rolled back


@dataclass(slots=True, eq=False)
class Outgoing:
    """An output that waits until the version it was computed with exists."""

    source: e.ForwardArrived  # kept, so that it can be computed again
    state: GateState
    message: Forward


@dataclass(slots=True, eq=False)
class Pending:
    """A gradient on its way into the log: sent, delivered, appended, in the order of the versions."""

    computed: e.BackwardComputed
    state: GateState | None  # after this record; None: the base it was computed on is gone
    delivered: bool = False
    appended: bool = False


@dataclass(slots=True, eq=False)
class Lane:
    """All that a gate has at hand of one lane."""

    number: int
    next_forward: int
    next_backward: int
    forwards: deque[tuple[int, e.ForwardArrived]] = field(default_factory=deque)  # (order of arrival, event)
    backwards: deque[tuple[int, e.BackwardArrived]] = field(default_factory=deque)
    outbox: deque[Outgoing] = field(default_factory=deque)
    stash: dict[int, Stashed] = field(default_factory=dict)
    inputs: dict[int, Forward] = field(default_factory=dict)  # fetched again
    asked: set[int] = field(default_factory=set)  # seqs whose input is being fetched


@dataclass(slots=True)
class Statistics:
    """What is counted, since this process began."""

    updates: int = 0
    voids: int = 0
    zeroed: int = 0
    duplicates: int = 0
    refused: int = 0
    staleness_sum: int = 0
    staleness_max: int = 0
    rollbacks: int = 0
