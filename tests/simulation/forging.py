"""Records that do not belong: what a stranger, an old run or a replayed network packet may put into any topic."""

from __future__ import annotations

from dataclasses import replace

from akkafka.broker.base import TopicPartition
from akkafka.data.epochs import Cursor
from akkafka.protocol import wire
from akkafka.protocol.messages import (
    Backward,
    Forward,
    Hop,
    JournalRecord,
    Message,
    Mode,
    Run,
    SnapshotChunk,
    SnapshotManifest,
)

from . import toy
from .choices import one_of
from .world import FOREIGN, RUN, World

_BOGUS = Hop(999, 999, b"\xee" * 8)


def forge(world: World) -> None:
    """One record into some topic."""
    pick = world.choices.pick
    gate = pick(world.scenario.gates)
    kind = pick(5)
    if kind < 3:
        _forge_edge(world, pick(world.scenario.gates + 1), pick(world.scenario.all_lanes))
    elif kind == 3:
        _forge_journal(world, gate)
    else:
        _forge_snapshot(world, gate)


def replay(world: World) -> None:
    """A record that is there already comes once more, as a retried request of long ago might."""
    where = one_of(world.choices, list(world.ends))
    if world.values[where]:
        offset = world.choices.pick(len(world.values[where]))
        if (where, offset) not in world.forged:
            world.append(where, world.values[where][offset])


def _forge_edge(world: World, edge: int, lane: int) -> None:
    pick = world.choices.pick
    forward = pick(2) == 1
    where = world.forward(edge, lane) if forward else world.backward(edge, lane)
    expected = world.end(where).next_seq
    run: Run = RUN
    seq, length, named = expected, edge if forward else world.scenario.gates, lane
    match pick(6):
        case 0:
            world.forge(where, b"garbage")
            return
        case 1:
            run, seq = FOREIGN, expected + pick(3)
        case 2 | 3:
            # A lane that is another's is heard from anywhere, so a homecoming that is just about due is believed.
            seq = expected + 1 + pick(3) * pick(400) + (0 if forward or edge else 1000)
        case 4:
            length = length + 1 if forward else max(0, edge - 1)
        case _:
            named = lane + 1
    trail = (_BOGUS,) * length
    mode = Mode.TRAIN if lane < world.scenario.lanes else Mode.VALIDATE
    world.forge(where, wire.encode(_edge_message(forward, run, mode, named, seq, trail)))


def _edge_message(forward: bool, run: Run, mode: Mode, lane: int, seq: int, trail: tuple[Hop, ...]) -> Message:
    if forward:
        return Forward(run, mode, lane, seq, Cursor(7, 7), Cursor(8, 8), trail, toy.word(1), {"t": toy.word(1)})
    return Backward(run, lane, seq, trail, 0, toy.word(1))


def _forge_journal(world: World, gate: int) -> None:
    pick = world.choices.pick
    where = world.journal(gate)
    record = JournalRecord(RUN, gate, pick(world.scenario.lanes), pick(3), _BOGUS, 0, {"w": toy.word(3)})
    match pick(5):
        case 0:
            world.forge(where, b"garbage")
            return
        case 1:
            record = replace(record, run=FOREIGN, hop=Hop(0, 0, bytes(8)))
        case 2:
            record = replace(record, seq=10_000, hop=Hop(0, 0, bytes(8)))
        case 3:
            record = replace(record, gate=gate + 1, hop=Hop(0, 0, bytes(8)))
        case _:
            record = replace(record, lane=record.lane + pick(2) * 77)  # weights that nobody can have used
    world.forge(where, wire.encode(record))


def _forge_snapshot(world: World, gate: int) -> None:
    pick = world.choices.pick
    where: TopicPartition = world.snapshot(gate)
    manifest = SnapshotManifest(RUN, gate, 500, "forger", bytes(16), 0, {0: 500}, {0: 9}, (bytes(32),), 1)
    match pick(4):
        case 0:
            world.forge(where, b"garbage", b"key")
        case 1:
            world.forge(where, wire.encode(manifest), b"torn")
        case 2:
            foreign = replace(manifest, run=FOREIGN, chunks=())
            world.forge(where, wire.encode(foreign), b"foreign")
        case _:
            world.forge(where, wire.encode(SnapshotChunk(RUN, gate, 500, "forger", 0, b"x")), b"chunk")
