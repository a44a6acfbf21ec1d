"""Runs a training: processes and figures in, signals and lines out, until `Supervision` says that it is over."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from akkafka.broker.base import Broker, BrokerUnavailableError
from akkafka.broker.network import Network
from akkafka.cli.training import supervision as s
from akkafka.cli.training.board import Board
from akkafka.cli.training.children import Children
from akkafka.cli.training.crew import STANDBY
from akkafka.cli.training.show import Scene, Show
from akkafka.cli.training.standing import read_lanes
from akkafka.cli.training.tail import Tail
from akkafka.protocol.messages import Mode
from akkafka.protocol.ranges import gates_in

TICK_S = 0.05
WAIT_TOLD_S = 5.0
QUIET_S = 2.0  # without a batch: look into the log whether that was all
LAST_LINES = 8
_CLOCK = re.compile(r"^\d\d:\d\d:\d\d ")


@dataclass(slots=True)
class Conducting:
    """See the module's docstring. `stop` may be called at any time."""

    broker: Broker
    network: Network
    epochs: int
    children: Children
    supervision: s.Supervision
    show: Show
    begun: float  # monotonic time of the command's start
    board: Board = field(init=False)
    first_batch_s: float | None = None  # from the command's start until the first batch was issued
    _issued: dict[int, int] | None = None  # by lane, once all is issued
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _active: float = 0.0  # monotonic: when something happened last
    _last_seen: tuple[int, s.Phase] = (0, s.Phase.TRAINING)
    _told_at: float = 0.0
    _looked_at: float = 0.0

    def __post_init__(self) -> None:
        definition = self.network.definition
        self.board = Board(definition.plan.of(Mode.TRAIN), definition.telling)

    def stop(self) -> None:
        """Ctrl-C or SIGTERM."""
        self._on(s.StopAsked())

    async def run(self, *, from_head: bool) -> None:
        """Until nothing runs any more. `from_head`: the network is new, so every figure of it is ours."""
        tail = Tail(self.broker, self.network, self.board.take)
        await tail.open(from_head=from_head)
        following = asyncio.create_task(tail.run())
        self._active = time.monotonic()
        try:
            self._on(s.Begun(self.children.names))
            while not self.supervision.ended:
                await asyncio.sleep(TICK_S)
                if following.done():
                    following.result()  # raises what ended it
                self._step(tail)
        finally:
            for task in (following, *self._tasks):
                task.cancel()
            await asyncio.gather(following, *self._tasks, return_exceptions=True)
            await self._close(tail)

    async def _close(self, tail: Tail) -> None:
        try:
            async with asyncio.timeout(10.0):
                await tail.to_end()
        except (TimeoutError, BrokerUnavailableError):
            self.show.say("the last figures could not be read: the broker does not answer")
        finally:
            await tail.close()
        self.board.close()
        self.show.refresh(self._scene())

    # --- events and instructions ------------------------------------------------------------------

    def _step(self, tail: Tail) -> None:
        for name, code in self.children.ended():
            self._on(s.Ended(name, code))
        self._on(s.Ticked())
        if self.supervision.phase is s.Phase.SETTLING and self._issued is not None and not self._lagging():
            self._on(s.JournalsFull())
        self._note_first_batch()
        self.show.refresh(self._scene())
        self._tell_waiting(tail)
        self._look_when_quiet()

    def _on(self, event: s.Event) -> None:
        for instruction in self.supervision.on(event, time.monotonic()):
            match instruction:
                case s.Start():
                    self.children.start(instruction.worker)
                case s.Send():
                    self.children.send(instruction.name, instruction.order)
                case s.ReadLanes():
                    self._begin_reading()
                case s.Tell():
                    self._tell(instruction)

    def _tell(self, instruction: s.Tell) -> None:
        self.show.say(instruction.text)
        if instruction.about:
            for line in self.children.last_lines(instruction.about, LAST_LINES):
                self.show.say(f"  {instruction.about}: {line}")
            self.show.say(f"  log: {self.children.log(instruction.about)}")

    def _begin_reading(self) -> None:
        self._looked_at = time.monotonic()
        task = asyncio.create_task(self._read_lanes())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _look_when_quiet(self) -> None:
        """A sentinel that has missed the end must not hold it up: the log knows."""
        quiet = time.monotonic() - max(self._active, self._looked_at)
        if (
            self.supervision.phase is s.Phase.TRAINING
            and self.board.homes.count
            and quiet > QUIET_S
            and not self._tasks
        ):
            self._begin_reading()

    async def _read_lanes(self) -> None:
        while True:
            try:
                lanes = await read_lanes(self.broker, self.network)
                break
            except BrokerUnavailableError:
                await asyncio.sleep(0.2)
        finished = all(lane.after.epoch >= self.epochs and lane.home >= lane.issued for lane in lanes)
        self._issued = {lane.lane: lane.issued for lane in lanes} if finished else None
        self._on(s.LanesRead(finished))

    def _lagging(self) -> list[int]:
        return self.board.lagging(self._issued or {}, range(self.network.gate_count))

    # --- words ------------------------------------------------------------------------------------

    def _scene(self) -> Scene:
        phase = self.supervision.phase.value
        return Scene(self.board, self.epochs, f"network {self.network.name}", phase, self.begun)

    def _note_first_batch(self) -> None:
        if self.first_batch_s is None and self.board.begun_ns:
            ago = (time.time_ns() - self.board.begun_ns) / 1e9
            self.first_batch_s = time.monotonic() - self.begun - ago

    def _tell_waiting(self, tail: Tail) -> None:
        """After 5 s without a batch, name what is waited for; again every 5 s."""
        now = time.monotonic()
        if (self.board.homes.count, self.supervision.phase) != self._last_seen:
            if self.board.homes.count > self._last_seen[0]:
                self._on(s.Progressed())
            self._last_seen, self._active = (self.board.homes.count, self.supervision.phase), now
        silent = now - max(self._active, self._told_at)
        if silent < WAIT_TOLD_S:
            return
        self._told_at = now
        for line in self._waiting_for(tail):
            self.show.say(f"waiting, {now - self._active:.0f} s: {line}")

    def _waiting_for(self, tail: Tail) -> list[str]:
        if tail.away:
            return [f"the broker: {tail.away}"]
        if self.supervision.phase is s.Phase.SETTLING:
            return [f"gate {gate} to take the last batches into its journal" for gate in self._lagging()]
        if self.supervision.phase is s.Phase.TRAINING:
            return self._not_working()
        asked = [n for n in sorted(self.children.names) if self.supervision.phase is s.Phase.CLOSING or "gate" not in n]
        return [f"{name}: {self._last_line(name)}" for name in asked]

    def _not_working(self) -> list[str]:
        """Processes that are not at work, with what they say themselves."""
        idle = [f"{name}, which is to be started again" for name in self.supervision.restarts]
        rows = self.board.gates
        hosting = {name: gates_in(name.removeprefix("gate-")) for name in self.children.names}
        working = {
            name
            for name, gates in hosting.items()
            if gates and all(gate in rows and rows[gate].state == "working" for gate in gates)
        }
        idle += [
            f"{name}: {self._last_line(name)}"
            for name in sorted(self.children.names)
            if name not in working and not name.startswith("sentinel-validate") and not name.endswith(STANDBY)
        ]
        idle += [
            f"gate {gate} ({row.name}), which waits for {row.waiting_for}"
            for gate, row in sorted(rows.items())
            if row.state == "working" and row.waiting_for
        ]
        return idle or ["batches to come home"]

    def _last_line(self, name: str) -> str:
        lines: Sequence[str] = self.children.last_lines(name, 1)
        return _CLOCK.sub("", lines[-1])[:160] if lines else "says nothing yet"
