"""A whole log in memory, to be judged without a broker, and to be damaged first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from akkafka.audit.judge import Judge, Stretch, subject_of
from akkafka.broker.base import Record, TopicPartition
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.network import Network
from akkafka.protocol import wire
from akkafka.protocol.messages import Message

BATCHES = 24  # two lanes, four epochs of six batches


@dataclass(slots=True)
class Held:
    """What one partition holds."""

    low: int
    high: int
    records: list[Record]


@dataclass(slots=True)
class Log:
    """All that an audit reads."""

    network: Network
    held: dict[TopicPartition, Held]

    def journal(self, gate: int) -> Held:
        return self.held[TopicPartition(self.network.topics.journal(gate), 0)]

    def snapshot(self, gate: int) -> Held:
        return self.held[TopicPartition(self.network.topics.snapshot(gate), 0)]

    def forward(self, gate: int, lane: int = 0) -> Held:
        return self.held[TopicPartition(self.network.topics.forward(gate), lane)]

    def backward(self, gate: int, lane: int = 0) -> Held:
        return self.held[TopicPartition(self.network.topics.backward(gate), lane)]

    def judged(self) -> Judge:
        cut = {where: Stretch(held.low, held.high, held.high) for where, held in self.held.items()}
        judge = Judge(subject_of(self.network), cut)
        for where in judge.order():
            judge.open(where)
            for record in self.held[where].records:
                judge.take(record)
            judge.close(where)
        judge.conclude({where: held.high for where, held in self.held.items()})
        return judge

    def faults(self) -> list[str]:
        return [str(finding) for finding in self.judged().findings.told]


def recorded(broker: MemoryBroker, network: Network) -> Log:
    """A copy of what the broker holds."""
    held = {}
    for where in Judge(subject_of(network), {}).order():
        low, high = broker.log.bounds(where)
        held[where] = Held(low, high, list(broker.log.read(where, low, 1_000_000)))
    return Log(network, held)


def drop(held: Held, at: int) -> None:
    """The record is gone, and its offset with it."""
    del held.records[at]


def lose(held: Held, at: int) -> None:
    """The record was never written: those behind it have moved up."""
    del held.records[at]
    for i, record in enumerate(held.records[at:], at):
        held.records[i] = replace(record, offset=record.offset - 1)
    held.high -= 1


def double(held: Held, at: int) -> None:
    """The record is there a second time, at the end."""
    held.records.append(replace(held.records[at], offset=held.high))
    held.high += 1


def insert(held: Held, at: int, value: bytes) -> None:
    """Between two others, or at the end."""
    before = held.records[at - 1]
    held.records.insert(at, replace(before, offset=before.offset + 1, value=value))
    for i, later in enumerate(held.records[at + 1 :], at + 1):
        held.records[i] = replace(later, offset=later.offset + 1)
    held.high += 1


def cut_head(held: Held, low: int) -> None:
    """Trimmed before this offset."""
    held.records = [record for record in held.records if record.offset >= low]
    held.low = low


def cut_end(held: Held, high: int) -> None:
    """The broker has lost its end."""
    held.records = [record for record in held.records if record.offset < high]
    held.high = high


def change(held: Held, at: int, how: Callable[[bytes], bytes]) -> None:
    """Another value in its place."""
    value = held.records[at].value
    assert value is not None
    held.records[at] = replace(held.records[at], value=how(value))


def flip(value: bytes) -> bytes:
    """One bit in the middle is another one."""
    at = len(value) // 2
    return value[:at] + bytes((value[at] ^ 4,)) + value[at + 1 :]


def trimmed(log: Log) -> Log:
    """As gates would: the journal of gate 1 behind its older snapshot."""
    cut_head(log.journal(1), log.judged().gates[1].snapshots[-1].state.next_offset)
    return log


def rewritten(how: Callable[[Message], Message]) -> Callable[[bytes], bytes]:
    return lambda value: wire.encode(how(wire.decode(value)))
