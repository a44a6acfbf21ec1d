"""Brings a broker's records before the judge, while training may go on."""

from __future__ import annotations

from collections.abc import Collection

from akkafka.audit.judge import Cut, Judge, Stretch, subject_of
from akkafka.broker.base import Broker, OffsetGoneError, Reader, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.reading import read_range, reading
from akkafka.errors import LogLostError

TRIES = 5  # what is trimmed or compacted while it is read looks like a fault for a moment


async def examine(broker: Broker, network: Network) -> Judge:
    """The judge after everything was heard; a fault counts only if the log stands still or it is found each time."""
    async with reading(broker, "audit") as reader:
        for _ in range(TRIES - 1):
            try:
                judge, moved = await _once(broker, reader, network)
            except OffsetGoneError:
                continue
            if not (judge.findings.told and moved):
                return judge
        return (await _once(broker, reader, network))[0]


async def _once(broker: Broker, reader: Reader, network: Network) -> tuple[Judge, bool]:
    cut = await _cut(broker, network)
    judge = Judge(subject_of(network), cut)
    for where in judge.order():
        judge.open(where)
        await _feed(reader, judge, where, cut[where])
        judge.close(where)
    bounds = await broker.bounds(list(cut))
    judge.conclude({where: end for where, (_, end) in bounds.items()})
    return judge, any(bounds[where] != (stretch.low, stretch.high) for where, stretch in cut.items())


async def _feed(reader: Reader, judge: Judge, where: TopicPartition, stretch: Stretch) -> None:
    low = stretch.low
    while True:
        try:
            async for record in read_range(reader, where, low, stretch.high):
                judge.take(record)
            return
        except OffsetGoneError as error:
            if error.low <= low:  # not trimmed meanwhile: its end is gone
                raise LogLostError(str(error), hint=error.hint) from error
            low = error.low
            if not judge.reopen(where, low):
                raise


async def _cut(broker: Broker, network: Network) -> Cut:
    """Edges first, then journals, then edges again: what the first look at an edge saw, the journals explain."""
    judge = Judge(subject_of(network), {})  # for its list of partitions
    edges, others = list(judge.lanes), [where for where in judge.order() if where not in judge.lanes]
    journals = [where for where in others if where.topic in _journals(network)]
    sure = await broker.bounds(edges)
    cut = {where: Stretch(low, high, high) for where, (low, high) in (await broker.bounds(journals)).items()}
    rest = [where for where in others if where not in cut]
    cut |= {where: Stretch(low, high, high) for where, (low, high) in (await broker.bounds(rest)).items()}
    again = await broker.bounds(edges)
    return cut | {where: Stretch(*again[where], sure[where][1]) for where in edges}


def _journals(network: Network) -> Collection[str]:
    return {network.topics.journal(gate) for gate in range(network.gate_count)}
