"""A gate's exact state, read from the log: for a gate's start, for replay, for the weights that `train` leaves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from akkafka.broker.base import Broker, Reader, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.reading import last_records, read_range, read_to_end, reading
from akkafka.errors import LogLostError
from akkafka.gate.beginning import initial_state_of
from akkafka.gate.caution import Key, Tried
from akkafka.gate.lane import LaneStart
from akkafka.gate.ledger import Ledger, Named, ledger_of
from akkafka.gate.model import Model
from akkafka.gate.recovery import (
    Folding,
    JournalEntry,
    MissingWeightsError,
    OutputFact,
    begin,
    check_outputs,
    fold,
    lane_start,
    output_fact,
    read_entry,
)
from akkafka.gate.snapshot import Shelf, Snapshot
from akkafka.gate.state import CountingRule, GateState
from akkafka.protocol.messages import Mode


@dataclass(frozen=True, slots=True, eq=False)
class Restored:
    """What the log says of a gate."""

    state: GateState
    states: dict[int, GateState]  # by version: those asked for, those that a later record may need
    ledger: Ledger  # what the snapshot topic holds
    named: list[Named]  # by the records behind the snapshot that the fold began with
    faults: list[str]  # what was found broken on the way
    tried: Mapping[Key, Tried]  # what processes before began with


@dataclass(frozen=True, slots=True)
class LanePlace:
    """Where a gate takes a lane up."""

    start: LaneStart
    forward_offset: int  # next input


def counting_rule(network: Network, gate: int) -> CountingRule:
    """Which journal records of a gate count."""
    fixed = network.definition.schedule.kind == "fixed"
    lanes = len(network.definition.plan.of(Mode.TRAIN)) if fixed else 0
    return CountingRule(gate, lanes, network.definition.reach)


def ring(network: Network) -> int:
    """Versions that the fixed schedule looks back."""
    return network.definition.delay if network.definition.schedule.kind == "fixed" else 0


async def restore(
    broker: Broker,
    network: Network,
    gate: int,
    *,
    model: Model | None = None,
    keep: Collection[int] = (),
    until: int | None = None,
) -> Restored:
    """State of `gate` at the journal's end (or at version `until`); raises LogLostError where the log has a hole."""
    model = model or Model(network.definition, gate, network.run, "")
    async with reading(broker, f"restore-{gate}") as reader:
        shelf = await read_shelf(broker, reader, network, gate)
        where = TopicPartition(network.topics.journal(gate), 0)
        low, high = (await broker.bounds([where]))[where]
        folding = Folding(counting_rule(network, gate), model.step, ring(network))
        initial = await initial_state_of(broker, network, gate, model) if low == 0 else None
        problem: LogLostError | None = None
        snapshots: list[Snapshot] = []  # those looked at so far
        for start, older in begin(noting(shelf.snapshots(), snapshots), initial, low):
            if until is not None and start.version > until:
                continue
            if start.next_offset > high:  # written since we looked, or the journal has lost its end
                high = (await broker.bounds([where]))[where][1]
                check_end(network, gate, start, high)
            wanted = {version for version in keep if version not in older}
            if any(version < start.version for version in wanted):
                continue  # weights from before this snapshot are asked for, and it does not have them
            entries = await read_journal(reader, network, where, start.next_offset, high)
            try:
                named: list[Named] = []
                state, states = fold(start, older, entries, folding, keep, until=until, named=named)
            except MissingWeightsError as error:
                problem = error
                continue
            begun = next((shot for shot in snapshots if shot.state is start), None)
            return Restored(state, states, ledger_of(shelf, begun), named, shelf.faults, shelf.tried)
    raise problem or LogLostError(
        f"gate {gate} ({network.definition.gates[gate].name}): the journal begins at offset {low}, no whole snapshot "
        f"reaches that far; broken: {'; '.join(shelf.faults) or 'nothing else'}",
        hint="The broker has lost a part of its log: restore its data, or start anew with `akkafka reset`.",
    )


def check_end(network: Network, gate: int, state: GateState, high: int) -> None:
    """Raise LogLostError if the journal ends before what a snapshot of it holds."""
    if state.next_offset > high:
        raise LogLostError(
            f"gate {gate} ({network.definition.gates[gate].name}): the journal ends at offset {high}, the snapshot of "
            f"version {state.version} was taken at offset {state.next_offset}",
            hint="The broker has lost a part of its log: restore its data, or start anew with `akkafka reset`.",
        )


def noting(found: Iterable[Snapshot], into: list[Snapshot]) -> Iterator[Snapshot]:
    """`found`, each put down as it passes: a snapshot is only opened when its turn comes."""
    for snapshot in found:
        into.append(snapshot)
        yield snapshot


async def read_shelf(broker: Broker, reader: Reader, network: Network, gate: int) -> Shelf:
    """All that the snapshot topic holds."""
    shelf = Shelf(network.run, gate, network.lane_count)
    async for record in read_to_end(broker, reader, TopicPartition(network.topics.snapshot(gate), 0)):
        shelf.put(record.key, record.value)
    return shelf


async def read_journal(
    reader: Reader, network: Network, where: TopicPartition, start: int, end: int
) -> list[JournalEntry]:
    """Journal entries from `start` to before `end`; raises LogLostError at a gap."""
    entries: list[JournalEntry] = []
    async for record in read_range(reader, where, start, end):
        if record.offset != start + len(entries):
            raise LogLostError(
                f"{where.topic}: offset {record.offset} follows {start + len(entries) - 1}",
                hint="The broker has lost a part of its log: restore its data, or start anew with `akkafka reset`.",
            )
        entries.append(read_entry(network.run, record.value))
    return entries


async def read_lanes(broker: Broker, network: Network, gate: int, applied: tuple[int, ...]) -> list[LanePlace]:
    """Where each lane stands, from the last records of the gate's own outputs."""
    topic = network.topics.forward(gate + 1)
    parts = [TopicPartition(topic, lane) for lane in range(network.lane_count)]
    training = set(network.lanes_of(Mode.TRAIN))
    facts: dict[TopicPartition, list[OutputFact]] = {}
    count = network.definition.schedule.window + 1
    async with reading(broker, f"outputs-{gate}") as reader:
        todo, held = parts, await broker.bounds(parts)
        while todo:
            for where, records in (await last_records(broker, reader, todo, count)).items():
                found = [output_fact(network.run, gate, record.value, where.partition) for record in records]
                facts[where] = [fact for fact in found if fact is not None]
            todo = [
                where
                for where in todo
                if where.partition in training
                and held[where][1] - held[where][0] > count
                and not _reach(facts[where], applied[where.partition])
            ]
            count *= 4
    return [LanePlace(*lane_start(facts[where], applied[where.partition])) for where in parts]


def _reach(facts: list[OutputFact], applied: int) -> bool:
    """Whether facts of a lane's end tell how far it has come, and reach back to what is applied.

    They may all be late copies, by a process that slept meanwhile: a batch that is applied was forwarded for sure.
    """
    return any(fact.seq < applied for fact in facts) and any(fact.seq + 1 >= applied for fact in facts)


async def place_gate(broker: Broker, network: Network, gate: int, model: Model) -> tuple[Restored, list[LanePlace]]:
    """All that a gate needs to go on: its state, older states that open batches name, and its lanes' places."""
    restored = await restore(broker, network, gate, model=model)
    places = await read_lanes(broker, network, gate, restored.state.applied)
    hops = [hop for place in places for _, hop in place.start.open]
    if any(hop.version > restored.state.version for hop in hops):
        # Another process is at work: what it sent after we had read the journal may name later versions.
        restored = await restore(broker, network, gate, model=model)
    check_outputs(gate, restored.state, [OutputFact(0, hop) for hop in hops])
    rule = counting_rule(network, gate)
    wanted = {hop.version for hop in hops if rule.within_reach(hop, restored.state.version)}
    if wanted - restored.states.keys():
        restored = await restore(broker, network, gate, model=model, keep=wanted)
    return restored, places
