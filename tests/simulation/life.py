"""One schedule from its choices to its verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from akkafka.gate.caution import LIMIT
from akkafka.gate.state import GateState
from akkafka.gate.sums import BUCKETS, LaneSums, Sums, bucket
from akkafka.protocol.tally import added

from . import toy
from .audited import check_audit
from .choices import Choices, Seeded
from .codec import codec
from .gate_start import read_shelf
from .oracle import Oracle, Version
from .reference import final_weights
from .scenario import Scenario, drawn
from .schedule import Schedule
from .world import Cores, World


def live(
    choices: Choices, scenario: Scenario | None = None, cores: Cores | None = None, *, real: bool = False
) -> World:
    """Run a schedule and judge it. Raises AssertionError, or what a core raised."""
    with codec(real=real):
        world = World(scenario or drawn(choices), choices, cores or Cores())
        schedule = Schedule(world)
        schedule.run()
        oracle = Oracle(world)
        oracle.check()
        _check_cores(schedule, oracle)
        _check_snapshots(world, oracle)
        _check_reference(world, oracle)
        _check_kills(world)
        check_audit(world)
    return world


def live_seed(seed: int, cores: Cores | None = None, *, real: bool = False, **fixed: Any) -> World:
    """A schedule from a seed; `fixed` overrides what is drawn."""
    choices = Seeded(seed)
    scenario = drawn(choices)
    if fixed:
        scenario = replace(scenario, **fixed)
    return live(choices, scenario, cores, real=real)


def _check_cores(schedule: Schedule, oracle: Oracle) -> None:
    """What processes serve is what the journal explains, and they hold on to nothing that is over."""
    for gate, processes in enumerate(schedule.gates):
        for process in processes:
            core = process.core
            if core is None:
                continue
            _same(core.certain, oracle.versions[gate], f"{process.name}'s certain state")
            for state in core.states.values():
                assert state.version <= core.certain.version, f"{process.name} speculates at the end"
            if not core.leaving:
                assert core.open_batches == 0, f"{process.name} holds {core.open_batches} batches that are over"
                assert not any(lane.inputs or lane.asked for lane in core._lanes), f"{process.name} holds inputs"
                core._forget_states()  # as the next update would
                extra = [v for v in core.states if v < core.certain.version - schedule.world.scenario.ring]
                assert not extra, f"{process.name} holds versions {extra} that nobody needs"


def _same(state: GateState, versions: list[Version], told: str) -> None:
    assert state.version < len(versions), f"{told}: version {state.version} does not exist"
    version = versions[state.version]
    got = (toy.number(state.params["w"]), toy.number(state.optimizer["m"]), state.chain, state.applied, state.sources)
    expected = (version.w, version.m, version.chain, version.applied, version.sources)
    assert got == expected, f"{told} of version {state.version} is not what the journal makes: {got}, {expected}"
    if state.version + 1 < len(versions):
        assert state.next_offset < versions[state.version + 1].next_offset, f"{told} has passed over what counts"
    assert state.next_offset >= version.next_offset, told
    _check_sums(state.sums, versions[1 : state.version + 1], told)


def _check_sums(sums: Sums, versions: list[Version], told: str) -> None:
    """What the records add up to, counted anew."""
    records = [version.record for version in versions if version.record is not None]
    steps = [bucket(n - record.hop.version) for n, record in enumerate(records) if not record.void]
    assert list(sums.staleness) == [steps.count(at) for at in range(BUCKETS)], f"{told}: staleness {sums.staleness}"
    for lane in range(max(len(sums.lanes), 1)):
        own = [record for record in records if record.lane == lane]
        tallies = [record.tally for record in own if record.tally is not None]
        epoch = tallies[-1].epoch if tallies else 0
        now = [tally for tally in tallies if tally.epoch == epoch]
        past = [tally for tally in tallies if tally.epoch != epoch]
        assert sums.lane(lane) == LaneSums(
            sum(bool(record.void) for record in own),
            len(tallies),
            epoch,
            sum(tally.samples for tally in now),
            added(tally.ids for tally in now),
            sum(tally.samples for tally in past),
            added(tally.ids for tally in past),
            tallies[-1].first if tallies else 0,
            tallies[-1].beyond if tallies else 0,
            sum(bool(record.zeroed) for record in own),
        ), f"{told}: lane {lane}"


def _check_snapshots(world: World, oracle: Oracle) -> None:
    for gate in range(world.scenario.gates):
        for snapshot in read_shelf(world, gate).snapshots():
            _same(snapshot.state, oracle.versions[gate], f"gate {gate}: the snapshot")
            for version, older in snapshot.older.items():
                truth = oracle.versions[gate][version]
                assert (toy.number(older.params["w"]), older.chain) == (truth.w, truth.chain), "an older state is wrong"


def _check_kills(world: World) -> None:
    """A batch that ends whoever computes it ends no more processes than it takes to be sure of that."""
    s = world.scenario
    if not s.faults:
        assert world.kills <= (LIMIT + 2) * len(s.killers), f"{world.kills} processes were ended by {s.killers}"


def _check_reference(world: World, oracle: Oracle) -> None:
    """A fixed schedule, and a window of 1 in one lane, leave the weights of a plain loop, whatever happened."""
    s = world.scenario
    synchronous = s.lanes == 1 and s.held_window == 1
    given_up = any(world.unlucky(lane, seq) for lane in range(s.lanes) for seq in range(len(s.cursors(lane))))
    if given_up or not (s.fixed or synchronous):
        return
    delay = s.delay if s.fixed else 0
    final = [(oracle.versions[gate][-1].w, oracle.versions[gate][-1].m) for gate in range(s.gates)]
    assert final == final_weights(s, delay), "the weights differ from those of the plain loop"
