"""A simulated gate finds its place: outputs first, then snapshots, then the journal, each read when its turn comes.

The order matters: what left the gate was in the journal before it left, so a journal read after the outputs holds all
versions that they name; the other way round a second owner at work looks like a log that has lost something.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from akkafka.gate import recovery
from akkafka.gate.caution import Key, Tried
from akkafka.gate.lane import LaneStart
from akkafka.gate.ledger import Ledger, Named, ledger_of
from akkafka.gate.recovery import Folding, MissingWeightsError, OutputFact
from akkafka.gate.snapshot import Shelf, Snapshot
from akkafka.gate.state import CountingRule, GateState, initial_state
from akkafka.protocol.messages import Hop

from . import toy
from .world import RUN, World

_AT_HEAD = OutputFact(-1, Hop(-1, 0, bytes(8)))  # the lane is whole: what counts first is batch 0


def rule(world: World, gate: int) -> CountingRule:
    return CountingRule(gate, world.scenario.fixed_lanes, world.scenario.rule_reach)


def folding(world: World, gate: int) -> Folding:
    return Folding(rule(world, gate), toy.step, world.scenario.ring)


def first_state(world: World, gate: int) -> GateState:
    w, m = toy.initial(gate)
    return initial_state({"w": toy.word(w)}, {"m": toy.word(m)}, world.scenario.all_lanes)


def read_shelf(world: World, gate: int) -> Shelf:
    shelf = Shelf(RUN, gate, world.scenario.all_lanes)
    where = world.snapshot(gate)
    for record in world.read(where, world.log.bounds(where)[0]):
        shelf.put(record.key, record.value)
    return shelf


def read_journal(world: World, gate: int, start: int) -> list[recovery.JournalEntry]:
    """Raises OffsetGoneError if it was trimmed meanwhile."""
    return [recovery.read_entry(RUN, record.value) for record in world.read(world.journal(gate), start)]


def read_outputs(world: World, gate: int, lane: int) -> list[OutputFact]:
    """First copies of a lane of the gate's own outputs."""
    where = world.forward(gate + 1, lane)
    low, _ = world.log.bounds(where)
    found = (recovery.output_fact(RUN, gate, r.value, lane) for r in world.read(where, low))
    facts = [fact for fact in found if fact is not None]
    if not world.scenario.walks:
        return facts
    return recovery.first_copies(facts) if low else recovery.first_copies([_AT_HEAD, *facts])[1:]


@dataclass(slots=True, eq=False)
class Found:
    """What the start-up has read."""

    state: GateState
    older: dict[int, GateState]
    lanes: list[LaneStart]
    positions: list[int]  # of the forward lanes
    ledger: Ledger
    named: list[Named]
    tried: Mapping[Key, Tried]


@dataclass(slots=True, eq=False)
class GateStart:
    """Call `read_next` until it gives something."""

    world: World
    gate: int
    facts: list[list[OutputFact]] = field(default_factory=list)
    snapshots: list[Snapshot] | None = None
    tried: Mapping[Key, Tried] = field(default_factory=dict)

    def read_next(self) -> Found | None:
        """Raises LogLostError (OffsetGoneError, MissingWeightsError) if what it needs went away meanwhile."""
        if len(self.facts) < self.world.scenario.all_lanes:
            self.facts.append(read_outputs(self.world, self.gate, len(self.facts)))
        elif self.snapshots is None:
            shelf = read_shelf(self.world, self.gate)
            self.snapshots, self.tried = list(shelf.snapshots()), shelf.tried
        else:
            return self._found(self.snapshots)
        return None

    def _found(self, snapshots: list[Snapshot]) -> Found:
        named = {fact.hop.version for facts in self.facts for fact in facts}
        state, states, ledger, noted = self._folded(snapshots, named)
        places = [recovery.lane_start(facts, state.applied[lane]) for lane, facts in enumerate(self.facts)]
        starts = [start for start, _ in places]
        recovery.check_outputs(self.gate, state, [OutputFact(0, hop) for start in starts for _, hop in start.open])
        older = {version: s for version, s in states.items() if version != state.version}
        return Found(state, older, starts, [offset for _, offset in places], ledger, noted, self.tried)

    def _folded(
        self, snapshots: list[Snapshot], keep: set[int]
    ) -> tuple[GateState, dict[int, GateState], Ledger, list[Named]]:
        low, _ = self.world.log.bounds(self.world.journal(self.gate))
        problem: MissingWeightsError | None = None
        for start, older in recovery.begin(snapshots, first_state(self.world, self.gate), low):
            entries = read_journal(self.world, self.gate, start.next_offset)
            named: list[Named] = []
            try:
                state, states = recovery.fold(start, older, entries, folding(self.world, self.gate), keep, named=named)
                begun = next((snapshot for snapshot in snapshots if snapshot.state is start), None)
                return state, states, ledger_of(read_shelf(self.world, self.gate), begun), named
            except MissingWeightsError as error:
                problem = error
        assert problem is not None, f"gate {self.gate}: nothing to begin a fold with"
        raise problem


def rebuilt(world: World, gate: int, version: int) -> GateState | None:
    """The state of an older version from the log, if it is to be had."""
    low, _ = world.log.bounds(world.journal(gate))
    for start, older in recovery.begin(read_shelf(world, gate).snapshots(), first_state(world, gate), low):
        if version in older:
            return older[version]
        if start.version <= version:
            entries = read_journal(world, gate, start.next_offset)
            try:
                state, _ = recovery.fold(start, older, entries, folding(world, gate), until=version)
            except MissingWeightsError:
                continue
            return state
    return None
