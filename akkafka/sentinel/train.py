"""A training sentinel at work: the training core with data, lanes and the log around it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from math import prod

from akkafka.broker.base import Broker, BrokerUnavailableError, Record, TopicPartition
from akkafka.broker.network import Network, claim_lane
from akkafka.broker.patience import patiently
from akkafka.broker.process import say
from akkafka.broker.reading import follow
from akkafka.data.dataset import Dataset
from akkafka.errors import ProtocolError
from akkafka.nn.losses import loss_named
from akkafka.protocol import wire
from akkafka.protocol.figures import (
    BatchFigures,
    GateFigures,
    LaneFigures,
    SentinelFigures,
    TrainFigures,
    found_window,
    from_message,
)
from akkafka.protocol.messages import Backward, Figures, Forward, Mode
from akkafka.sentinel import events as e
from akkafka.sentinel.lanes import training_places
from akkafka.sentinel.loss import Evaluator
from akkafka.sentinel.needs import HomeNeeds, OutputNeeds
from akkafka.sentinel.roles import BEAT_S, Rim, group_name
from akkafka.sentinel.source import (
    Course,
    Wanted,
    claim_source,
    defined_courses,
    load_split,
    matching_lanes,
    parse_shard,
    plan_for,
    published,
    training_batch,
)
from akkafka.sentinel.training import TrainCore, TrainSettings
from akkafka.sentinel.window import Beat, WindowTuner

FIGURES_S = 0.25
SETTLE_S = 10.0  # how long a leaving sentinel waits for its batches to come home


class TrainSentinel:
    """Brings training batches in and answers them until its epochs are done or it is asked to leave."""

    def __init__(
        self, broker: Broker, network: Network, wanted: Wanted, process: str, *, epochs: int | None, window: int | None
    ) -> None:
        self._network, self._broker, self._wanted, self._process = network, broker, wanted, process
        self._epochs = epochs
        self._window = window or network.definition.schedule.window
        self._rim = Rim(broker, network, Mode.TRAIN, process)
        self._tuner = _tuner(network) if window is None and network.definition.schedule.auto_window else None
        self._batches: list[BatchFigures] = []
        self._finished_lanes: set[int] = set()
        self._changed = asyncio.Event()
        window = network.definition.schedule.window
        self._outputs_needed, self._homes_needed = OutputNeeds(window), HomeNeeds(16 * self._window)

    async def run(self, leave: asyncio.Event) -> None:
        """Work until finished or asked to leave."""
        dataset = await asyncio.to_thread(load_split, self._network, self._wanted, Mode.TRAIN, say)
        self._courses = await self._find_courses(dataset)
        self._dataset = dataset
        self._reference = await published(self._broker, self._network, dataset, self._process, leave, say)
        definition = self._network.definition
        self._core = TrainCore(
            TrainSettings(
                run=self._network.run,
                gates=self._network.gate_count,
                window=self._window,
                max_staleness=definition.max_staleness,
                courses={lane: course.lane_course for lane, course in self._courses.items()},
                epochs=self._epochs,
                burst=definition.schedule.burst or (None if self._tuner is not None else 1),
            )
        )
        if self._tuner is not None:
            self._do(e.WindowSet(self._tuner.window))
        largest = definition.batch_size * prod(definition.layers[-1].out_shape)
        loss, form = (
            loss_named(definition.loss, definition.loss_settings),
            definition.edge(self._network.gate_count).backward,
        )
        self._evaluator = Evaluator(loss, largest, self._do, form)
        await self._rim.open()
        reader = self._broker.reader
        self._homes = await patiently(partial(reader, f"{self._process}-homes"))
        self._metrics = await patiently(partial(reader, f"{self._process}-metrics", max_wait_ms=500, min_bytes=1 << 20))
        try:
            await self._work(leave)
        finally:
            self._tell_figures()
            self._rim.side.tell(self._figures())
            self._evaluator.close()
            await asyncio.gather(self._homes.close(), self._metrics.close())
            await self._rim.close()

    async def _find_courses(self, dataset: Dataset) -> dict[int, Course]:
        network, wanted = self._network, self._wanted
        shard = parse_shard(wanted.shard, len(dataset))
        lanes = matching_lanes(network, wanted)
        if lanes:
            defined = defined_courses(network, dataset)
            return {lane: defined[lane] for lane in lanes}
        source = claim_source(network, wanted, dataset)
        self._network = self._rim.network = await claim_lane(self._broker, network, Mode.TRAIN, source, self._process)
        claimed = [n for n, c in self._network.claims.items() if c.mode is Mode.TRAIN and c.source == source]
        say(f"claimed lane {claimed[0]} for data of my own")
        return {lane: Course(plan_for(network, dataset, shard), 0, 1) for lane in claimed}

    async def _work(self, leave: asyncio.Event) -> None:
        await self._follow_homes()
        await self._follow_metrics()
        rim = self._rim
        rim.spawn(self._watch_lanes())
        rim.spawn(rim.pump(rim.outputs, self._output))
        rim.spawn(rim.pump(self._homes, self._home))
        rim.spawn(self._pump_metrics())
        rim.spawn(self._beat())
        rim.spawn(self._report())
        rim.spawn(self._end(leave))
        rim.trim(self._needless)
        await rim.ended.wait()
        if rim.error is not None:
            raise rim.error

    async def _watch_lanes(self) -> None:
        role = "train" if not self._claimed else f"train.lane-{min(self._courses)}"
        await self._rim.follow_membership(group_name(self._network, role), self._courses, self._lanes_changed)

    @property
    def _claimed(self) -> bool:
        return not set(self._courses) <= set(self._network.definition.plan.of(Mode.TRAIN))

    async def _end(self, leave: asyncio.Event) -> None:
        """Set `ended` when all is done, or when asked to leave and what is ours is home."""
        asked = asyncio.ensure_future(leave.wait())
        try:
            while not (asked.done() or self._all_finished()):
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait({asked, changed}, return_when=asyncio.FIRST_COMPLETED, timeout=1.0)
                changed.cancel()
            if asked.done():
                await self._settle()
        finally:
            asked.cancel()
        await self._rim.outlet.drained()
        self._rim.state = "finished" if self._all_finished() else "leaving"
        self._rim.ended.set()

    def _all_finished(self) -> bool:
        """Every training lane is done: ours by our own knowledge, others by what their sentinels told.

        Who left as soon as its own are done would leave nobody behind to take the lanes of one that dies or sleeps.
        """
        core = self._core
        if self._epochs is None or (core.lanes and not core.finished):
            return False
        return bool(self._courses) and set(self._courses) - core.lanes <= self._finished_lanes

    async def _settle(self) -> None:
        say("leaving: no new batches; waiting for those on their way")
        self._rim.state = "leaving"
        self._do(e.LeaveAsked())
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                while not self._core.settled:
                    self._changed.clear()
                    await self._changed.wait()

    # --- lanes ------------------------------------------------------------------------------------

    async def _lanes_changed(self, lanes: frozenset[int]) -> None:
        core, rim = self._core, self._rim
        for lane in core.lanes - lanes:
            self._do(e.LaneLost(lane))
        taken = lanes - core.lanes
        await rim.outlet.drained()  # what we have sent must be in the log before we read where the lanes stand
        places = await patiently(lambda: training_places(self._broker, self._network, taken))
        rim.read_outputs(core.lanes, places)
        rim.heard_at = time.monotonic()
        for place in places.values():
            self._do(e.LaneTaken(place.standing))
        rim.state = "working" if lanes else "standby"
        say(f"training on lanes {sorted(lanes)}" if lanes else "all training lanes are taken: standing by")

    # --- events and instructions ------------------------------------------------------------------

    def _do(self, event: object) -> None:
        try:
            for instruction in self._core.on(event):
                self._act(instruction)
        except Exception as error:
            self._rim.fail(error)
        self._changed.set()

    def _act(self, instruction: e.Instruction) -> None:
        rim = self._rim
        match instruction:
            case e.Issue():
                course = self._courses[instruction.lane]
                rim.send_forward(training_batch(self._network, self._dataset, course, instruction, self._reference))
            case e.Evaluate():
                self._evaluator.put(instruction)
            case e.SendGradient():
                lane = instruction.message.lane
                rim.send_gradient(instruction.message, lambda seq: self._outputs_needed.answered(lane, seq))
                if instruction.message.void:
                    say(f"lane {instruction.message.lane}, batch {instruction.message.seq}: {instruction.message.void}")
            case e.Report():
                self._batches.append(_batch_figures(instruction.evaluated))
            case e.Refuse():
                topic = rim.topics.forward(self._network.gate_count)
                rim.refuse(topic, instruction.lane, instruction.offset, instruction.reason)
            case e.PassEnded():
                raise TypeError("a training core makes no passes")

    def _output(self, record: Record, message: Forward | Backward) -> None:
        if isinstance(message, Forward):
            before = self._next(record.partition).answered
            self._do(e.OutputArrived(record.offset, message))
            if self._next(record.partition).answered > before:
                self._outputs_needed.accepted(record.partition, message.seq, record.offset)
        else:
            self._rim.refuse(record.topic, record.partition, record.offset, "a gradient where outputs belong")

    def _home(self, record: Record, message: Forward | Backward) -> None:
        whole = isinstance(message, Backward) and len(message.trail) == self._network.gate_count
        if whole and message.run == self._network.run:
            before = self._next(record.partition).home
            self._do(e.HomeArrived(message.lane, message.seq))
            if before < self._next(record.partition).home == message.seq + 1:
                self._homes_needed.accepted(record.partition, message.seq, record.offset)
        else:
            self._rim.refuse(record.topic, record.partition, record.offset, "no homecoming of this run")

    def _next(self, lane: int) -> e.LaneStanding:
        """Where an own lane stands; nothing ever moves in another's."""
        return self._core.standing(lane) if lane in self._core.lanes else e.LaneStanding(lane)

    def _needless(self) -> dict[TopicPartition, int]:
        """What of our lanes nobody needs any more."""
        outputs, homes = self._rim.topics.forward(self._network.gate_count), self._rim.topics.backward(0)
        found: dict[TopicPartition, int] = {}
        for lane in self._core.lanes:
            for topic, offset in (
                (outputs, self._outputs_needed.outputs(lane)),
                (homes, self._homes_needed.homes(lane)),
            ):
                if offset is not None:
                    found[TopicPartition(topic, lane)] = offset
        return found

    # --- other lanes ------------------------------------------------------------------------------

    async def _follow_homes(self) -> None:
        parts = [TopicPartition(self._rim.topics.backward(0), n) for n in self._network.lanes_of(Mode.TRAIN)]
        bounds = await patiently(lambda: self._broker.bounds(parts))
        self._homes.assign({where: end for where, (_, end) in bounds.items()})

    async def _follow_metrics(self) -> None:
        where = TopicPartition(self._rim.topics.metrics, 0)
        bounds = await patiently(lambda: self._broker.bounds([where]))
        self._metrics.assign({where: bounds[where][1]})

    async def _pump_metrics(self) -> None:
        while True:
            with suppress(BrokerUnavailableError):
                self._hear(await follow(self._metrics, 1.0))

    def _hear(self, records: Sequence[Record]) -> None:
        for record in records:
            with suppress(ProtocolError):
                message = wire.decode(record.value)
                heard = isinstance(message, Figures) and message.kind in (
                    "sentinel",
                    *(("gate",) if self._tuner else ()),
                )
                if not isinstance(message, Figures) or not heard or message.process == self._process:
                    continue
                body = from_message(message)
                if isinstance(body, GateFigures) and message.run == self._network.run:
                    self._tune(body, message.time_ms / 1000)
                if message.run == self._network.run and isinstance(body, SentinelFigures) and body.role is Mode.TRAIN:
                    self._told(body)

    def _tune(self, body: GateFigures, at: float) -> None:
        """Let a gate's beat move the window."""
        assert self._tuner is not None, "gates are heard only for it"
        if body.state != "working" or not self._core.lanes:
            return
        choice = self._tuner.told(body.gate, Beat(body.busy, body.version, at))
        if choice is not None:
            self._do(e.WindowSet(choice.window))
            if choice.settled:
                say(found_window(choice.window, choice.why))

    def _told(self, body: SentinelFigures) -> None:
        for lane in body.lanes:
            self._do(e.LaneTold(lane.lane, lane.issued, lane.home))
            if lane.finished:
                self._finished_lanes.add(lane.lane)

    # --- figures ----------------------------------------------------------------------------------

    def _figures(self) -> SentinelFigures:
        core = self._core
        lanes = []
        for lane in sorted(core.lanes):
            at = core.standing(lane)
            epoch = at.cursor.epoch if at.cursor is not None else 0
            lanes.append(
                LaneFigures(lane=lane, issued=at.issued, home=at.home, epoch=epoch, finished=core.lane_finished(lane))
            )
        told = self._rim.figures(lanes)
        why = self._tuner.why if self._tuner is not None else ""
        return told.model_copy(update={"window": core.window or self._window, "window_why": why})

    async def _beat(self) -> None:
        while True:
            self._rim.side.tell(self._figures())
            self._rim.tell_waiting(self._what_is_missing())
            await asyncio.sleep(BEAT_S)

    def _what_is_missing(self) -> str:
        core = self._core
        if not core.lanes:
            return "a free training lane"
        held_up_by = core.held_up_by
        if held_up_by is not None:
            return (
                f"lane {held_up_by}: its oldest batch is older than max_staleness, nothing is issued until it is home"
            )
        return f"{self._network.gate_count} gates to work (are they all up? `akkafka status` tells)"

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(FIGURES_S)
            self._tell_figures()

    def _tell_figures(self) -> None:
        if self._batches:
            batches, self._batches = self._batches, []
            self._rim.side.tell(TrainFigures(batches=batches))


def _tuner(network: Network) -> WindowTuner:
    definition = network.definition
    return WindowTuner(definition.schedule.window, [gate.name for gate in definition.gates])


def _batch_figures(evaluated: e.Evaluated) -> BatchFigures:
    message, now = evaluated.message, time.time_ns()
    return BatchFigures(
        lane=message.lane,
        seq=message.seq,
        epoch=message.cursor.epoch,
        batch=message.cursor.batch,
        samples=evaluated.samples,
        loss=evaluated.loss,
        correct=evaluated.correct,
        home_ns=now,
        latency_ms=(now - message.issued_ns) / 1e6,
        metrics={name: value for name, value in evaluated.metrics.items() if name != "accuracy"},
    )
