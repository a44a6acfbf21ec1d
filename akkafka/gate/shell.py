"""A gate's rim: reads, computes, sends and saves what the core asks for, and tells how it goes."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import psutil

from akkafka.broker.base import Broker, OffsetGoneError, Record, TopicPartition
from akkafka.broker.library import Library
from akkafka.broker.network import Network
from akkafka.broker.outlet import Outlet
from akkafka.broker.patience import patiently
from akkafka.broker.process import say
from akkafka.broker.side import SideChannel
from akkafka.broker.trimming import keep_trimming
from akkafka.errors import LogLostError
from akkafka.gate import events as e
from akkafka.gate.beginning import wait_for_weights
from akkafka.gate.caution import Direction
from akkafka.gate.company import Company
from akkafka.gate.compute import SHARED_SHORT_S, SHORT_S, ComputeThread
from akkafka.gate.core import GateCore
from akkafka.gate.inputs import DIRECTIONS, Inputs
from akkafka.gate.journal import Journal
from akkafka.gate.keeper import SnapshotKeeper
from akkafka.gate.model import Model
from akkafka.gate.needs import Needs
from akkafka.gate.numerics import numerics
from akkafka.gate.restore import Restored, counting_rule, place_gate, restore, ring
from akkafka.gate.settings import CoreSettings
from akkafka.gate.snapshot import attempt_key
from akkafka.protocol import wire
from akkafka.protocol.figures import GateFigures
from akkafka.protocol.messages import Attempt, Backward, Forward, Message
from akkafka.protocol.stamps import leaving, sent
from akkafka.protocol.topics import MAX_MESSAGE_BYTES

BEAT_S = 0.2
TICK_S = 0.5
KERNELS = "its kernels: they are compiled once, and found in the cache from then on"
FLUSH_S = 20.0  # how long a leaving gate waits for what it has begun
_ENVELOPE_BYTES = 1 << 16  # of a message, besides its arrays


def library_for(broker: Broker, network: Network, process: str) -> Library:
    """An empty one, as large as the definition allows."""
    return Library(broker, network, process, network.definition.wire.reference_limit_bytes)


@dataclass(slots=True)
class _Usage:
    """What this process has used since the last beat."""

    at: float
    busy: float


class Gate:
    """One gate at work. `run` ends when asked to leave, or raises what makes going on wrong."""

    MODEL: ClassVar[type[Model]] = Model
    """What computes."""

    def __init__(
        self,
        broker: Broker,
        network: Network,
        gate: int,
        process: str,
        library: Library | None = None,
        *,
        shared: bool = False,
        threads: int = 1,
    ) -> None:
        """`library`: data sets that this process has at hand already. `shared`: it hosts other gates, too.

        `threads`: that each batch's rows are divided among.
        """
        self.gate, self.process = gate, process
        self.name = network.definition.gates[gate].name
        self.title = f"gate {gate} ({self.name})"
        self._broker, self._network = broker, network
        self._topics = network.topics
        self._model = self.MODEL(network.definition, gate, network.run, process, threads)
        self._numerics = numerics(threads)
        self._side = SideChannel(broker, network, process)
        self._ended = asyncio.Event()
        self._changed = asyncio.Event()
        self._error: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._state: Literal["starting", "working", "leaving"] = "starting"
        self._record: Record | None = None  # the one being handled, for dead letters
        self._self = psutil.Process()
        self._needs = Needs(network.lane_count, network.definition.schedule.window)
        library = library or library_for(broker, network, process)
        self._inputs = Inputs(broker, network, gate, process, library, self._side)
        self._company = Company()
        self._short_s = SHARED_SHORT_S if shared else SHORT_S

    async def run(self, leave: asyncio.Event) -> None:
        """Work until `leave` is set."""
        self._usage = _Usage(time.monotonic(), 0.0)
        self._thread = ComputeThread(self._model, self._do, self._fail, f"compute-{self.gate}", self._short_s)
        begin = partial(place_gate, self._broker, self._network, self.gate, self._model)
        try:
            if not await wait_for_weights(self._broker, self._network, self.gate, leave, say):
                self._thread.close()
                return
            say(f"{self.title}: reading from the log where it stands")
            restored, places = await patiently(begin, leave)
        except BaseException:
            self._thread.close()
            raise
        for fault in restored.faults:
            say(f"{self.title}: {fault}; passed over, an older snapshot or the journal stands for it")
        self._open_parts(restored)
        self._core = GateCore(
            self._settings(),
            restored.state,
            {v: s for v, s in restored.states.items() if v != restored.state.version},
            [place.start for place in places],
            restored.tried,
        )
        self._core.named.extend(restored.named)
        await self._inputs.open()
        await asyncio.gather(patiently(self._outlet.open), patiently(self._journal.open))
        self._inputs.assign("forward", [place.forward_offset for place in places])
        self._inputs.assign("backward", restored.state.sources)
        self._state = "working"
        say(f"{self.title}: working from version {restored.state.version}")
        try:
            await self._work(leave)
        finally:
            await self._close()
        say(f"{self.title}: left at version {self._core.certain.version}")

    # --- life -------------------------------------------------------------------------------------

    async def _work(self, leave: asyncio.Event) -> None:
        self._do(e.Ticked(time.monotonic()))
        for direction in DIRECTIONS:
            self._spawn(self._inputs.pump(direction, partial(self._take, direction)))
        self._spawn(self._beat())
        self._spawn(self._tick())
        self._spawn(keep_trimming(self._broker, self._needless, self.title, keep_log=self._network.keep_log))
        leaving = asyncio.create_task(leave.wait())
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait({leaving, ended}, return_when=asyncio.FIRST_COMPLETED)
            if self._error is None:
                await self._leave()
        finally:
            leaving.cancel()
            ended.cancel()
        if self._error is not None:
            raise self._error

    async def _leave(self) -> None:
        """Finish what is begun and save the state; what takes too long is left to the next start: nothing is lost."""
        self._state = "leaving"
        self._do(e.LeaveAsked())
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                while not (self._flushed and not self._outlet.waiting) and not self._error:
                    self._changed.clear()
                    await self._changed.wait()

    @property
    def _flushed(self) -> bool:
        return self._core.idle and self._core.flushed and self._company.empty

    async def _close(self) -> None:
        if self._error is None:
            self._side.tell(self.figures())
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._thread.close()
        await asyncio.gather(
            self._outlet.close(timeout=1.0),
            self._journal.close(),
            self._side.close(),
            self._inputs.close(),
        )

    def _open_parts(self, restored: Restored) -> None:
        self._outlet = Outlet(self._broker, f"{self.process}-edges", self._network.run, self._fail)
        self._journal = Journal(self._broker, self._network, self.gate, self.process, self._do)
        self._keeper = SnapshotKeeper(self._broker, self._network, self.gate, self.process, restored.ledger)

    def _settings(self) -> CoreSettings:
        snapshots = self._network.definition.snapshots
        return CoreSettings(
            run=self._network.run,
            name=self.name,
            gate=self.gate,
            rule=counting_rule(self._network, self.gate),
            delay=ring(self._network),
            window=self._network.definition.gate_window,
            snapshot_bytes=snapshots.every_bytes,
            snapshot_seconds=snapshots.every_seconds,
            check_input=self._model.check_input,
            writer=self.process,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # cancelled before its first step, it would never be awaited

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        self._ended.set()
        self._changed.set()

    # --- events and instructions ------------------------------------------------------------------

    def _do(self, event: e.Event) -> None:
        """Tell the core, act on what it asks for."""
        try:
            for instruction in self._company.of(event, self._core.on(event)):
                self._ACTIONS[type(instruction)](self, instruction)
        except Exception as error:
            self._fail(error)
        self._changed.set()
        for direction in DIRECTIONS:
            self._inputs.hold(direction, self._core.congested(direction))

    def _compute(self, job: e.ComputeForward | e.ComputeBackward | e.Fold) -> None:
        self._thread.put(job)

    def _send_forward(self, instruction: e.SendForward) -> None:
        message = leaving(instruction.message)
        if message.x is not None and message.x.nbytes > MAX_MESSAGE_BYTES - _ENVELOPE_BYTES:
            size = message.x.nbytes
            reason = f"{self.title}: an output of {size} bytes, a message takes {MAX_MESSAGE_BYTES}"
            message = replace(message, x=None, void=reason)
        where = TopicPartition(self._topics.forward(self.gate + 1), message.lane)
        self._outlet.send(
            where,
            message.seq,
            wire.encode(message),
            wire.headers(message) + sent(message),
            lambda seq: self._forward_delivered(message.lane, seq),
        )

    def _forward_delivered(self, lane: int, seq: int) -> None:
        self._needs.delivered(lane, seq)
        if self._core.cautious(lane):
            self._do(e.ForwardDelivered(lane, seq))

    def _send_backward(self, instruction: e.SendBackward) -> None:
        message = leaving(instruction.message)
        where = TopicPartition(self._topics.backward(self.gate), message.lane)
        self._outlet.send(
            where,
            message.seq,
            wire.encode(message),
            wire.headers(message) + sent(message),
            lambda seq: self._do(e.BackwardDelivered(message.lane, seq)),
        )

    def _append(self, instruction: e.AppendRecord) -> None:
        self._journal.append(instruction.value)

    def _note_attempt(self, asked: e.NoteAttempt) -> None:
        async def work() -> None:
            run, backward = self._network.run, asked.direction == "backward"
            note = Attempt(run, self.gate, asked.lane, backward, asked.seq, asked.times, self.process)
            await self._journal.note(attempt_key(asked.lane, asked.direction), wire.encode(note))
            self._do(e.AttemptNoted(asked.lane, asked.direction, asked.seq))

        self._spawn(work())

    def _read_journal(self, instruction: e.ReadJournal) -> None:
        async def work() -> None:
            self._do(await self._journal.read(instruction.start))

        self._spawn(work())

    def _fetch_input(self, instruction: e.FetchInput) -> None:
        async def work() -> None:
            message = await self._inputs.fetch(instruction.lane, instruction.offset)
            self._do(e.InputFetched(instruction.lane, instruction.seq, instruction.offset, message))

        self._spawn(work())

    def _rebuild(self, instruction: e.RebuildState) -> None:
        async def work() -> None:
            version = instruction.version
            again = partial(restore, model=self._model, keep={version}, until=version)
            try:
                restored = await patiently(lambda: again(self._broker, self._network, self.gate))
            except LogLostError:
                await self._check_overtaken()
                raise
            self._do(e.StateRebuilt(restored.states[version]))

        self._spawn(work())

    async def _check_overtaken(self) -> None:
        """Raise OffsetGoneError if others have trimmed the journal beyond what we know of it: we slept meanwhile."""
        where = TopicPartition(self._topics.journal(self.gate), 0)
        low, high = (await self._broker.bounds([where]))[where]
        known = self._core.certain.next_offset
        if low > known:
            raise OffsetGoneError(where, known, low, high)

    def _snapshot(self, instruction: e.TakeSnapshot) -> None:
        async def work() -> None:
            verified = await self._keeper.take(instruction.state, instruction.older, self._core.named)
            self._do(e.SnapshotTaken(instruction.state.version, verified))

        self._spawn(work())

    def _refuse(self, instruction: e.Refuse) -> None:
        topic = self._inputs.topics[instruction.direction]
        record = self._record
        at_hand = record if record is not None and record.offset == instruction.offset else None
        reason = instruction.reason
        reason = reason if reason.startswith(f"{self.title}: ") else f"{self.title}: {reason}"
        self._side.refuse(at_hand, topic, instruction.lane, instruction.offset, reason)

    def _halt(self, instruction: e.Halt) -> None:
        self._fail(instruction.error)

    _ACTIONS: dict[type, Callable[[Any, Any], None]] = {  # noqa: RUF012 (never changed)
        e.ComputeForward: _compute,
        e.ComputeBackward: _compute,
        e.Fold: _compute,
        e.SendForward: _send_forward,
        e.SendBackward: _send_backward,
        e.AppendRecord: _append,
        e.NoteAttempt: _note_attempt,
        e.ReadJournal: _read_journal,
        e.FetchInput: _fetch_input,
        e.RebuildState: _rebuild,
        e.TakeSnapshot: _snapshot,
        e.Refuse: _refuse,
        e.Halt: _halt,
    }

    # --- inputs ----------------------------------------------------------------------------------

    def _take(self, direction: Direction, record: Record, message: Message) -> None:
        self._record = record
        before = self._core.next_input(direction, record.partition)
        if isinstance(message, Forward) and direction == "forward" and message.lane == record.partition:
            self._do(e.ForwardArrived(record.offset, message))
        elif isinstance(message, Backward) and direction == "backward" and message.lane == record.partition:
            self._do(e.BackwardArrived(record.offset, message))
        else:
            reason = f"{self.title}: a {type(message).__name__} that does not belong into this topic and lane"
            self._side.refuse(record, record.topic, record.partition, record.offset, reason)
        if self._core.next_input(direction, record.partition) > before and isinstance(message, Forward | Backward):
            self._needs.accepted(message, record.offset)
        self._record = None

    def _needless(self) -> dict[TopicPartition, int]:
        """What of our inputs nobody needs any more."""
        found: dict[TopicPartition, int] = {}
        for lane, applied in enumerate(self._core.certain.applied):
            for topic, offset in (
                (self._inputs.topics["forward"], self._needs.forward(lane, applied)),
                (self._inputs.topics["backward"], self._needs.backward(lane, applied)),
            ):
                if offset is not None:
                    found[TopicPartition(topic, lane)] = offset
        return found

    # --- time -------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._do(e.Ticked(time.monotonic()))
            self._tell_waiting()

    async def _beat(self) -> None:
        while True:
            self._side.tell(self.figures())
            await asyncio.sleep(BEAT_S)

    def _tell_waiting(self) -> None:
        silent = self._inputs.untold_silence()
        if not silent:
            return
        before = "a sentinel" if self.gate == 0 else f"gate {self.gate - 1}"
        waiting_for = self._inputs.waiting_for or f"batches from {before}"
        if self._broker.away or self._outlet.mending:
            waiting_for = "the broker"
        elif not self._thread.ready:
            waiting_for = KERNELS
        self._inputs.waiting_for = waiting_for
        say(f"{self.title}: waiting for {waiting_for} (nothing has come for {silent:.0f} s)")

    def figures(self) -> GateFigures:
        """What this gate tells of itself."""
        core, now = self._core, time.monotonic()
        busy = self._thread.busy_seconds
        share = (busy - self._usage.busy) / max(now - self._usage.at, 1e-6)
        self._usage = _Usage(now, busy)
        counted = core.statistics
        return GateFigures(
            gate=self.gate,
            name=self.name,
            state=self._state,
            waiting_for=self._inputs.waiting_for or ("" if self._thread.ready else KERNELS),
            version=core.certain.version,
            applied=list(enumerate(core.certain.applied)),
            open=core.open_batches,
            updates=counted.updates,
            voids=counted.voids,
            zeroed=counted.zeroed,
            staleness_sum=counted.staleness_sum,
            staleness_max=counted.staleness_max,
            busy=min(1.0, share),
            cpu_seconds=time.process_time(),
            rss_bytes=self._self.memory_info().rss,
            dead_letters=self._side.dead_letters,
            compensation=self._model.compensation,
            saved_version=self._keeper.saved[0],
            saved_hash=self._keeper.saved[1],
            numerics=self._numerics,
            host=socket.gethostname(),
            pid=os.getpid(),
        )
