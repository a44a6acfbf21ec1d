"""A validating or testing sentinel at work: passes over a set, through the very gates that train meanwhile."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod

from akkafka.broker.base import Broker, BrokerUnavailableError, Record, TopicPartition
from akkafka.broker.network import Network
from akkafka.broker.patience import patiently
from akkafka.broker.process import say
from akkafka.errors import NetworkError
from akkafka.nn.losses import derived, loss_named
from akkafka.protocol.figures import LaneFigures, PassFigures, reading
from akkafka.protocol.messages import Backward, Forward, Mode
from akkafka.sentinel import events as e
from akkafka.sentinel.lanes import LanePlace, passing_places
from akkafka.sentinel.loss import Evaluator
from akkafka.sentinel.needs import OutputNeeds
from akkafka.sentinel.passes import PassCore, PassSettings
from akkafka.sentinel.roles import BEAT_S, Rim, group_name

STUCK_S = 3.0
WINDOW = 2  # batches of a pass in flight in each lane: enough to hide the way, few enough to leave training its turn


@dataclass(frozen=True, slots=True, eq=False)
class PassResult:
    """What a pass over a set of batches brought, in the order of the data."""

    outputs: tuple[e.Evaluated, ...]
    seconds: float
    started_ms: int

    @property
    def void(self) -> str:
        """Why a batch could not be evaluated; empty if all could."""
        return next((result.void for result in self.outputs if result.void), "")


class PassRunner:
    """Runs one pass after another over the lanes that its group gives it."""

    def __init__(
        self,
        broker: Broker,
        network: Network,
        mode: Mode,
        process: str,
        batch: Callable[[e.Issue], Forward],
        evaluator: Callable[[Callable[[e.Evaluated], None]], Callable[[e.Evaluate], None]],
    ) -> None:
        self.rim = Rim(broker, network, mode, process)
        self._broker, self._network, self._mode, self._process = broker, network, mode, process
        self._batch = batch
        self.core = PassCore(PassSettings(network.run, mode, network.gate_count, WINDOW))
        self._evaluate = evaluator(self.do)
        self._needs = OutputNeeds(None)
        self._number = 0
        self._ended: e.PassEnded | None = None
        self._changed = asyncio.Event()
        self._progress_at = time.monotonic()

    async def open(self) -> None:
        """Join the role's group and begin to read."""
        lanes = self._network.lanes_of(self._mode)
        if not lanes:
            raise NetworkError(
                f"network {self._network.name!r} has no lane to {self._mode}",
                hint=f"Define it with one: [lanes] {self._mode} = 1.",
            )
        rim = self.rim
        await rim.open()
        rim.spawn(rim.follow_membership(group_name(self._network, self._mode.value), lanes, self._lanes_changed))
        rim.spawn(rim.pump(rim.outputs, self._output))
        rim.spawn(self._beat())
        rim.trim(self._needless)

    async def close(self) -> None:
        """Leave the group."""
        self.rim.side.tell(self.rim.figures([]))
        await self.rim.close()

    async def run_pass(self, batches: int) -> PassResult:
        """Every batch once; raises what makes going on wrong."""
        started, started_ms = time.monotonic(), int(time.time() * 1000)
        self._number += 1
        self._ended = None
        self._progress_at = started
        self.do(e.PassAsked(f"{self._process}/{self._number}", self._number, batches))
        ended = asyncio.ensure_future(self.rim.ended.wait())
        try:
            while (result := self._result()) is None:
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait({changed, ended}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                if self.rim.error is not None:
                    raise self.rim.error
        finally:
            ended.cancel()
        return PassResult(result.results, time.monotonic() - started, started_ms)

    def _result(self) -> e.PassEnded | None:
        return self._ended

    def do(self, event: object) -> None:
        """Tell the core, act on what it asks for."""
        try:
            for instruction in self.core.on(event):
                self._act(instruction)
        except Exception as error:
            self.rim.fail(error)
            self._changed.set()

    def _act(self, instruction: e.Instruction) -> None:
        match instruction:
            case e.Issue():
                self.rim.send_forward(self._batch(instruction))
            case e.Evaluate():
                self._progress_at = time.monotonic()
                self._evaluate(instruction)
            case e.PassEnded():
                self._ended = instruction
                self._changed.set()
            case e.Refuse():
                topic = self.rim.topics.forward(self._network.gate_count)
                self.rim.refuse(topic, instruction.lane, instruction.offset, instruction.reason)
            case _:
                raise TypeError(f"a pass does not ask for {instruction!r}")

    def _output(self, record: Record, message: Forward | Backward) -> None:
        if isinstance(message, Forward):
            before = self._answered(record.partition)
            self.do(e.OutputArrived(record.offset, message))
            if self._answered(record.partition) > before:
                self._needs.accepted(record.partition, message.seq, record.offset)
        else:
            self.rim.refuse(record.topic, record.partition, record.offset, "a gradient where outputs belong")

    def _answered(self, lane: int) -> int:
        return self.core.standing(lane).answered if lane in self.core.lanes else 0

    def _needless(self) -> dict[TopicPartition, int]:
        """What of our lanes nobody needs any more."""
        topic = self.rim.topics.forward(self._network.gate_count)
        found = {TopicPartition(topic, lane): self._needs.outputs(lane) for lane in self.core.lanes}
        return {where: offset for where, offset in found.items() if offset is not None}

    # --- lanes ------------------------------------------------------------------------------------

    async def _lanes_changed(self, lanes: frozenset[int]) -> None:
        for lane in self.core.lanes - lanes:
            self.do(e.LaneLost(lane))
        taken = lanes - self.core.lanes
        await self._take(taken)
        self.rim.state = "working" if lanes else "standby"
        if not lanes:
            say(f"all lanes to {self._mode} are taken: standing by (the definition has {self._lane_count})")

    @property
    def _lane_count(self) -> int:
        return len(self._network.lanes_of(self._mode))

    async def _take(self, lanes: frozenset[int]) -> None:
        await self.rim.outlet.drained()
        places = await patiently(lambda: passing_places(self._broker, self._network, lanes))
        self.rim.read_outputs(self.core.lanes - lanes, places)
        for place in places.values():
            self.do(e.LaneTaken(place.standing))

    async def _beat(self) -> None:
        while True:
            lanes = [self._lane_figures(lane) for lane in sorted(self.core.lanes)]
            self.rim.side.tell(self.rim.figures(lanes))
            if self.core.working:
                missing = f"{self._network.gate_count} gates to work (are they all up? `akkafka status` tells)"
                self.rim.tell_waiting(missing if self.core.lanes else f"a free lane to {self._mode}")
                await self._unstick()
            await asyncio.sleep(BEAT_S)

    def _lane_figures(self, lane: int) -> LaneFigures:
        at = self.core.standing(lane)
        return LaneFigures(lane=lane, issued=at.issued, home=at.answered, epoch=self._number)

    async def _unstick(self) -> None:
        """Take lanes anew whose batches were lost: another owner's came first in the log under their numbers."""
        if time.monotonic() - self._progress_at < STUCK_S or not self.core.open_batches:
            return
        self._progress_at = time.monotonic()
        lanes = self.core.lanes
        with suppress(BrokerUnavailableError):
            places = await passing_places(self._broker, self._network, lanes)
            lost = frozenset(lane for lane, place in places.items() if self._passed_by(lane, place))
            if lost:
                await self._take(lost & self.core.lanes)

    def _passed_by(self, lane: int, place: LanePlace) -> bool:
        """True if all outputs were read, and the open end is beyond a batch that we still wait for."""
        where = TopicPartition(self.rim.topics.forward(self._network.gate_count), lane)
        read_all = self.rim.outputs.position(where) >= place.output_offset
        return read_all and lane in self.core.lanes and place.standing.answered > self.core.oldest_open(lane)


class EvaluationSentinel:
    """Validates or tests: once, or every so many seconds, for ever."""

    def __init__(self, runner: PassRunner, batches: int, samples: int, data: str, mode: Mode) -> None:
        self._runner, self._batches, self._samples, self._data, self._mode = runner, batches, samples, data, mode

    async def run(self, leave: asyncio.Event, now: asyncio.Event, *, every: float, once: bool) -> None:
        """Passes until asked to leave; `now` asks for one more, fresh pass, and then to leave."""
        await self._runner.open()
        try:
            while not leave.is_set():
                final = once or now.is_set()
                began = time.monotonic()
                if await self._pass(leave, now if not final else asyncio.Event()) and final:
                    return
                if not final:
                    await _pause(every - (time.monotonic() - began), leave, now)
        finally:
            await self._runner.close()

    async def _pass(self, leave: asyncio.Event, now: asyncio.Event) -> bool:
        """True if a whole pass was made and told."""
        task = asyncio.ensure_future(self._runner.run_pass(self._batches))
        stops = [asyncio.ensure_future(event.wait()) for event in (leave, now)]
        try:
            await asyncio.wait({task, *stops}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for stop in stops:
                stop.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return False
        self._tell(task.result())
        return True

    def _tell(self, result: PassResult) -> None:
        if result.void:
            say(f"{self._mode}: no result, a batch was void: {result.void}")
            return
        figures = summary(result, self._mode, self._data, self._runner.rim.network.definition.loss)
        self._runner.rim.side.tell(figures)
        versions = " ".join(str(low) if low == high else f"{low}-{high}" for low, high in figures.versions)
        telling = self._runner.rim.network.definition.telling
        reached = reading({name: figures.metrics[name] for name in telling if name in figures.metrics})
        say(
            f"{self._mode}: loss {figures.loss:.4f}, {reached} "
            f"({figures.samples} samples, {figures.seconds:.1f} s, versions {versions})"
        )


def summary(result: PassResult, mode: Mode, data: str, loss_name: str) -> PassFigures:
    """Means over all samples, summed in the order of the data: the same bits whatever came in first."""
    samples = sum(output.samples for output in result.outputs)
    loss = math.fsum(output.loss * output.samples for output in result.outputs) / samples
    correct = sum(output.correct for output in result.outputs)
    trails = [output.message.trail for output in result.outputs]
    versions = [(min(h.version for h in hops), max(h.version for h in hops)) for hops in zip(*trails, strict=True)]
    return PassFigures(
        role=mode,
        data=data,
        samples=samples,
        loss=loss,
        accuracy=correct / samples,
        metrics={**_metrics(result.outputs, samples), **derived(loss_name, loss)},
        seconds=result.seconds,
        started_ms=result.started_ms,
        versions=versions,
    )


def _metrics(outputs: Sequence[e.Evaluated], samples: int) -> dict[str, float]:
    """Means of the batches' metrics, summed in the order of the data."""
    names = outputs[0].metrics if outputs else ()
    return {name: math.fsum(o.metrics.get(name, 0.0) * o.samples for o in outputs) / samples for name in names}


def loss_evaluator(
    network: Network,
) -> Callable[[Callable[[e.Evaluated], None]], Callable[[e.Evaluate], None]]:
    """Evaluates outputs with the network's loss."""
    definition = network.definition
    largest = definition.batch_size * prod(definition.layers[-1].out_shape)

    def make(answer: Callable[[e.Evaluated], None]) -> Callable[[e.Evaluate], None]:
        return Evaluator(loss_named(definition.loss, definition.loss_settings), largest, answer, "float32").put

    return make


async def _pause(seconds: float, *events: asyncio.Event) -> None:
    """Sleep, but not beyond the first of the events."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
