"""What all simulated processes share: the log, its whole history, and what still flies about in the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple, Protocol

from akkafka.broker.base import Record, TopicPartition, TopicSpec
from akkafka.broker.memory_log import MemoryLog
from akkafka.errors import AkkafkaError
from akkafka.gate.caution import LIMIT
from akkafka.gate.core import GateCore
from akkafka.protocol.messages import Backward, Forward, Run
from akkafka.protocol.topics import Topics
from akkafka.sentinel.events import PassEnded
from akkafka.sentinel.passes import PassCore
from akkafka.sentinel.training import TrainCore

from . import codec
from .choices import Choices
from .lane_end import Edge, LaneEnd, Standing
from .scenario import Scenario

RUN = Run(b"defined!", b"first...")
FOREIGN = Run(b"defined!", b"second..")


@dataclass(frozen=True, slots=True)
class Cores:
    """The classes under test; mutations bring their own."""

    gate: type[GateCore] = GateCore
    train: type[TrainCore] = TrainCore
    passes: type[PassCore] = PassCore


@dataclass(frozen=True, slots=True)
class Refused:
    """A dead letter."""

    where: TopicPartition
    offset: int
    reason: str


@dataclass(slots=True)
class Request:
    """What a producer that is no more has left in the network: it lands whole and in order, or never."""

    where: TopicPartition
    values: list[bytes]


class Landed(NamedTuple):
    """A record that was appended once, whatever was trimmed or compacted afterwards."""

    time: int
    value: bytes | None


class Listener(Protocol):
    """A process that may have nothing to do, or to read, until something is written to what it reads."""

    idle: bool
    unread: bool


@dataclass(slots=True)
class World:
    """See the module's docstring."""

    scenario: Scenario
    choices: Choices
    cores: Cores = field(default_factory=Cores)
    time: int = 0
    history: dict[TopicPartition, list[Landed]] = field(default_factory=dict)
    values: dict[TopicPartition, list[bytes]] = field(default_factory=dict)
    forged: set[tuple[TopicPartition, int]] = field(default_factory=set)
    refused: list[Refused] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    passes: list[tuple[int, PassEnded]] = field(default_factory=list)  # (batches asked for, result)
    halts: list[AkkafkaError] = field(default_factory=list)
    trims: int = 0  # of journals
    edge_trims: int = 0
    kills: int = 0  # by batches that end who computes them
    tried: Counter[tuple[int, str, int, int]] = field(default_factory=Counter)  # gate, direction, lane, seq: notes
    log: MemoryLog = field(init=False)
    topics: Topics = field(init=False)
    ends: dict[TopicPartition, LaneEnd] = field(default_factory=dict)
    listeners: dict[TopicPartition, list[Listener]] = field(default_factory=dict)
    _forward: list[list[TopicPartition]] = field(init=False)
    _backward: list[list[TopicPartition]] = field(init=False)
    _names: int = 0

    def __post_init__(self) -> None:
        s = self.scenario
        self._forward, self._backward = (_edges(direction, s) for direction in ("forward", "backward"))
        self.log = MemoryLog(clock=lambda: self.time)
        self.topics, specs = _topics(s.gates, s.all_lanes)
        for spec in specs:
            self.log.create(spec)
            for lane in range(spec.partitions):
                where = TopicPartition(spec.name, lane)
                self.history[where], self.values[where] = [], []
        for i in range(s.gates + 1):
            for lane in range(s.all_lanes):
                self.ends[self.forward(i, lane)] = LaneEnd(_forward_fits(i, lane))
                self.ends[self.backward(i, lane)] = LaneEnd(_backward_fits(s.gates, lane))

    def unlucky(self, lane: int, seq: int) -> bool:
        """Whether there may be a reason to leave a training batch out: poison, or as many dead as it takes."""
        given_up = any(n >= LIMIT and key[2:] == (lane, seq) for key, n in self.tried.items())
        return given_up or (lane, seq) in self.scenario.poison

    # --- names ------------------------------------------------------------------------------------

    def forward(self, gate: int, lane: int) -> TopicPartition:
        return self._forward[gate][lane]

    def backward(self, gate: int, lane: int) -> TopicPartition:
        return self._backward[gate][lane]

    def journal(self, gate: int) -> TopicPartition:
        return TopicPartition(f"akkafka.simulation.journal.{gate}", 0)

    def snapshot(self, gate: int) -> TopicPartition:
        return TopicPartition(f"akkafka.simulation.snapshot.{gate}", 0)

    def new_name(self, role: str) -> str:
        self._names += 1
        return f"{role}-{self._names}"

    # --- the log ----------------------------------------------------------------------------------

    def append(self, where: TopicPartition, value: bytes | None, key: bytes | None = None) -> int:
        self.time += 1
        self.history[where].append(Landed(self.time, value))
        self.values[where].append(value or b"")
        for listener in self.listeners.get(where, ()):
            listener.idle, listener.unread = False, True
        return self.log.append(where, value, key)

    def forge(self, where: TopicPartition, value: bytes | None, key: bytes | None = None) -> None:
        self.forged.add((where, self.append(where, value, key)))

    def read(self, where: TopicPartition, offset: int, limit: int = 1_000_000) -> list[Record]:
        return self.log.read(where, offset, limit)

    def trim(self, where: TopicPartition, before: int | None) -> None:
        if before is not None:
            self.edge_trims += before > self.log.bounds(where)[0]
            self.log.trim(where, before)

    def listen(self, where: TopicPartition, listener: Listener) -> None:
        """Tell it when something is written there."""
        there = self.listeners.setdefault(where, [])
        if listener not in there:
            there.append(listener)

    def end(self, where: TopicPartition) -> LaneEnd:
        """How far a lane of an edge has come."""
        end, values = self.ends[where], self.values[where]
        if end.position < len(values):
            end.follow(values)
        return end

    def standing(self, where: TopicPartition) -> Standing:
        """What a shell finds out about a lane."""
        end = self.end(where)
        if not self.scenario.walks:
            last = end.newest(self.values[where])
            return Standing(last.seq + 1 if last is not None else 0, last, end.position)
        return Standing(end.next_seq, end.first[-1][1] if end.first else None, end.position)

    def refuse(self, where: TopicPartition, offset: int, reason: str) -> None:
        self.refused.append(Refused(where, offset, reason))

    def leave_in_network(self, where: TopicPartition, values: Sequence[bytes]) -> None:
        """A prefix of what was on its way may still land."""
        sent = self.choices.pick(len(values) + 1)
        if sent:
            self.requests.append(Request(where, list(values[:sent])))

    def land(self, request: Request) -> None:
        self.requests.remove(request)
        for value in request.values:
            self.append(request.where, value)


@cache
def _topics(gates: int, lanes: int) -> tuple[Topics, list[TopicSpec]]:
    topics = Topics("simulation", gates, lanes)
    return topics, [TopicSpec(topic.name, topic.partitions, topic.settings) for topic in topics.all()]


def _edges(direction: str, s: Scenario) -> list[list[TopicPartition]]:
    """The lanes of the edges of one direction: they are asked for all the time."""
    names = [f"akkafka.simulation.{direction}.{i}" for i in range(s.gates + 1)]
    return [[TopicPartition(name, lane) for lane in range(s.all_lanes)] for name in names]


def _forward_fits(gate: int, lane: int) -> Callable[[bytes | None], Edge | None]:
    def fits(value: bytes | None) -> Edge | None:
        m = codec.read(value)
        return m if isinstance(m, Forward) and (m.run, m.lane, len(m.trail)) == (RUN, lane, gate) else None

    return fits


def _backward_fits(gates: int, lane: int) -> Callable[[bytes | None], Edge | None]:
    def fits(value: bytes | None) -> Edge | None:
        m = codec.read(value)
        return m if isinstance(m, Backward) and (m.run, m.lane, len(m.trail)) == (RUN, lane, gates) else None

    return fits
