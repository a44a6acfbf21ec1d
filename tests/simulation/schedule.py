"""The scheduler: a phase in which anything may happen at any time, then a quiet one in which all has to end."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

from . import forging
from .choices import one_of
from .gate_process import GateProcess
from .sentinel_process import PassProcess, TrainProcess
from .world import World

Process = GateProcess | TrainProcess | PassProcess
QUIET_BOUND = 6000  # moves; a tenth of it is usual


class StallError(AssertionError):
    """Nothing more happens, or no end is in sight, and not all is done."""


@dataclass(slots=True, eq=False)
class Schedule:
    """One life of a network."""

    world: World
    gates: list[list[GateProcess]] = field(init=False)  # by gate
    trainers: list[TrainProcess] = field(default_factory=list)
    passers: list[PassProcess] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)  # all of them: by gate, trainers, passers

    def __post_init__(self) -> None:
        self.gates = [[] for _ in range(self.world.scenario.gates)]

    def run(self) -> None:
        """Both phases. Raises StallError."""
        self._start_all()
        if self.world.scenario.faults:
            for _ in range(self.world.scenario.steps):
                if self.world.choices.spent or self.world.halts:
                    break
                self._step()
        self._calm_down()
        self._go_on_quietly()

    def _list(self) -> None:
        """To be called when somebody has come or gone."""
        self.processes = [*chain.from_iterable(self.gates), *self.trainers, *self.passers]

    def _add(self, gate: int) -> None:
        self.gates[gate].append(GateProcess(self.world, gate))
        self._list()

    # --- the phase with faults ------------------------------------------------------------------------

    def _start_all(self) -> None:
        for gate in range(self.world.scenario.gates):
            self._add(gate)
        self._spawn_trainer()
        if self.world.scenario.eval_lanes:
            self._spawn_passer()

    def _step(self) -> None:
        pick = self.world.choices.pick
        if pick(7) == 6:
            self._fault()
            self._bury()
        else:
            process = self._any()
            if process is not None and self._advance(process) and process.over:
                self._bury()

    def _advance(self, process: Process) -> bool:
        moves = process.moves()
        if not moves:
            return False
        act, argument = moves[self.world.choices.pick(len(moves))]
        act(argument)
        return True

    def _bury(self) -> None:
        if not any(process.over for process in self.processes):
            return
        for gate in self.gates:
            gate[:] = [p for p in gate if not p.over]
        self.trainers[:] = [p for p in self.trainers if not p.over]
        self.passers[:] = [p for p in self.passers if not p.over]
        self._list()

    def _fault(self) -> None:
        what = one_of(self.world.choices, _FAULTS)
        what(self)

    def _any(self) -> Process | None:
        processes = self.processes
        return one_of(self.world.choices, processes) if processes else None

    def _crash(self) -> None:
        process = self._any()
        if process is not None:
            process.crash()

    def _freeze_or_wake(self) -> None:
        process = self._any()
        if process is not None:
            process.frozen = not process.frozen

    def _break_edges(self) -> None:
        process = self._any()
        if process is not None:
            process.break_edges()

    def _break_journal(self) -> None:
        gates = [p for gate in self.gates for p in gate]
        if gates:
            one_of(self.world.choices, gates).break_journal()

    def _land_or_drop(self) -> None:
        world = self.world
        if world.requests:
            request = one_of(world.choices, world.requests)
            if world.choices.pick(4) < 3:
                world.land(request)
            else:
                world.requests.remove(request)

    def _spawn_gate(self) -> None:
        gate = self.world.choices.pick(len(self.gates))
        if len(self.gates[gate]) < 2:
            self._add(gate)

    def _spawn_trainer(self) -> None:
        if len(self.trainers) < 2:
            trainer = TrainProcess(self.world)
            self.trainers.append(trainer)
            self._list()
            for lane in range(self.world.scenario.lanes):
                if len(self.trainers) == 1 or self.world.choices.pick(2):
                    trainer.take(lane)

    def _spawn_passer(self) -> None:
        if self.world.scenario.eval_lanes and len(self.passers) < 2:
            passer = PassProcess(self.world, passes=1 + self.world.choices.pick(2))
            self.passers.append(passer)
            self._list()
            for lane in self._eval_lanes:
                passer.take(lane)

    @property
    def _eval_lanes(self) -> range:
        return range(self.world.scenario.lanes, self.world.scenario.all_lanes)

    def _move_lane(self) -> None:
        group = [*self.trainers, *self.passers]
        if not group:
            return
        sentinel = one_of(self.world.choices, group)
        lanes = range(self.world.scenario.lanes) if isinstance(sentinel, TrainProcess) else self._eval_lanes
        lane = one_of(self.world.choices, lanes)
        if not sentinel.frozen:
            if sentinel.has(lane) and self.world.choices.pick(2):
                sentinel.lose(lane)
            else:
                sentinel.take(lane)

    def _tell(self) -> None:
        if len(self.trainers) == 2 and not any(p.frozen for p in self.trainers):
            first = self.world.choices.pick(2)
            self.trainers[first].tell(self.trainers[1 - first])

    def _leave(self) -> None:
        process = self._any()
        if process is not None and not process.frozen:
            process.leave()

    def _tick(self) -> None:
        gates = [p for gate in self.gates for p in gate if not p.frozen]
        if gates and self.world.scenario.snapshots:
            one_of(self.world.choices, gates).tick()

    def _forge(self) -> None:
        if self.world.scenario.forging:
            forging.forge(self.world)

    def _replay(self) -> None:
        forging.replay(self.world)

    def _trim(self) -> None:
        process = self._any()
        if process is not None and not process.frozen and self.world.scenario.trims:
            process.trim()

    def _compact(self) -> None:
        self.world.log.compact(self.world.snapshot(self.world.choices.pick(self.world.scenario.gates)).topic)

    # --- the quiet phase ------------------------------------------------------------------------------

    def _calm_down(self) -> None:
        """No more faults: the frozen wake or end, the network is emptied, everything has somebody to do it."""
        for process in self.processes:
            if process.frozen and self.world.choices.pick(2):
                process.crash()
            process.frozen = False
        self._bury()
        for request in list(self.world.requests):
            if self.world.choices.pick(3):
                self.world.land(request)
        self.world.requests.clear()
        self._staff()

    def _staff(self) -> None:
        for gate, processes in enumerate(self.gates):
            if not processes:
                self._add(gate)
        for lane in range(self.world.scenario.lanes):
            if not any(p.has(lane) and not p.core.leaving for p in self.trainers):
                staying = next((p for p in self.trainers if not p.core.leaving), None)
                if staying is None:
                    staying = TrainProcess(self.world)
                    self.trainers.append(staying)
                    self._list()
                staying.take(lane)
        for passer in self.passers:
            if not passer.done and not any(passer.has(lane) for lane in self._eval_lanes):
                passer.take(self._eval_lanes[0])

    def _go_on_quietly(self) -> None:
        self._rouse()
        for _ in range(QUIET_BOUND):
            if self.world.halts:
                return
            gone = False
            for process in self.processes:
                if not process.idle:
                    process.idle = not self._advance(process)
                    gone |= process.over
            what = self.world.choices.pick(12)
            if what == 11 and self.world.scenario.snapshots:
                self._tick()
            elif 1 <= what <= 3:
                self._trim()
            if gone:
                self._bury()
            if all(process.idle for process in self.processes):
                self._staff()
                self._rouse()
                if not any(process.moves() for process in self.processes):
                    if self._done():
                        return
                    raise StallError(f"nothing moves any more: {self._told()}")
        raise StallError(f"no end after {QUIET_BOUND} rounds: {self._told()}")

    def _rouse(self) -> None:
        """Who had nothing to do looks again; else only when time goes by or something is written that he reads."""
        for process in self.processes:
            process.idle = False

    def _done(self) -> bool:
        s, world = self.world.scenario, self.world
        home = all(world.end(world.backward(0, lane)).next_seq >= len(s.cursors(lane)) for lane in range(s.lanes))
        return home and all(p.done or p.core.leaving for p in self.passers)

    def _told(self) -> str:
        world = self.world
        ends = {
            f"{w.topic.removeprefix('akkafka.simulation.')}[{w.partition}]": world.end(w).next_seq for w in world.ends
        }
        return f"{ends}; {[(p.name, p.core) for p in self.trainers]}"


_FAULTS = (
    Schedule._land_or_drop,
    Schedule._spawn_gate,
    Schedule._spawn_gate,
    Schedule._crash,
    Schedule._freeze_or_wake,
    Schedule._break_edges,
    Schedule._break_journal,
    Schedule._spawn_trainer,
    Schedule._spawn_passer,
    Schedule._move_lane,
    Schedule._move_lane,
    Schedule._tell,
    Schedule._leave,
    Schedule._tick,
    Schedule._tick,
    Schedule._tick,
    Schedule._forge,
    Schedule._forge,
    Schedule._replay,
    Schedule._compact,
    Schedule._trim,
    Schedule._trim,
)
