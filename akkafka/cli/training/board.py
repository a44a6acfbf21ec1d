"""What all figures come to: epochs, passes, gates. Pure; figures may come twice, late, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from akkafka.cli.training.homecomings import Heard, Homecomings
from akkafka.nn.losses import perplexity
from akkafka.protocol.figures import BatchFigures, Body, GateFigures, PassFigures, SentinelFigures, TrainFigures
from akkafka.protocol.messages import Mode

SMOOTH = 0.3  # weight of the newest interval in what is shown as "now"


@dataclass(frozen=True, slots=True)
class EpochLine:
    """An epoch, or what was seen of it."""

    epoch: int  # from 1
    loss: float  # mean over samples, measured on the way: weights changed meanwhile
    metrics: Mapping[str, float]  # those that tell, by name, likewise
    samples: int
    seconds: float  # since the epoch before it ended


@dataclass(frozen=True, slots=True)
class PassLine:
    """A validation."""

    seconds: float  # since training began
    loss: float
    metrics: Mapping[str, float]  # those that tell, by name
    versions: Sequence[tuple[int, int]]
    samples: int
    took_s: float


@dataclass(frozen=True, slots=True)
class FoundWindow:
    """What a sentinel has found with `window = "auto"`."""

    window: int
    why: str
    at_ms: int  # wall clock


@dataclass(slots=True)
class _Epoch:
    samples: int = 0
    loss: float = 0.0  # summed over samples
    sums: dict[str, float] = field(default_factory=dict)  # of metrics, over samples
    last_ns: int = 0

    def add(self, metric: str, total: float) -> None:
        """Of a batch, over its samples."""
        self.sums[metric] = self.sums.get(metric, 0.0) + total


@dataclass(slots=True)
class GateRow:
    """A gate, over all processes that hosted it."""

    gate: int
    name: str = ""
    state: str = ""
    waiting_for: str = ""
    version: int = 0
    staleness_now: float = 0.0
    staleness_max: int = 0
    busy_sum: float = 0.0
    beats: int = 0
    rss_bytes: int = 0  # the most that was seen
    numerics: str = ""
    seen_ms: int = 0
    applied: dict[int, int] = field(default_factory=dict)  # lane -> next seq
    begun: int | None = None  # the version before the first update of this training
    by_process: dict[str, tuple[int, int]] = field(default_factory=dict)  # process -> (updates, sum of staleness)
    spoiled: dict[str, tuple[int, int]] = field(default_factory=dict)  # process -> (void batches, zeroed ones)

    @property
    def updates(self) -> int:
        """In this training: by the versions, as a process that is killed has not told of its last ones."""
        return 0 if self.begun is None else self.version - self.begun

    @property
    def voids(self) -> int:
        """Batches that could not be processed, by all processes that were seen."""
        return sum(voids for voids, _ in self.spoiled.values())

    @property
    def zeroed(self) -> int:
        """Batches applied with a gradient of zero, as theirs could not be formed, likewise."""
        return sum(zeroed for _, zeroed in self.spoiled.values())

    @property
    def staleness_mean(self) -> float:
        """Over all updates that processes have told of."""
        told = sum(updates for updates, _ in self.by_process.values())
        return sum(total for _, total in self.by_process.values()) / told if told else 0.0

    @property
    def busy(self) -> float:
        """Mean share of time that the compute thread worked, while it worked at all."""
        return self.busy_sum / self.beats if self.beats else 0.0

    def take(self, process: str, time_ms: int, figures: GateFigures) -> None:
        """A beat."""
        updates, total = self.by_process.get(process, (0, 0))
        if figures.updates > updates:
            fresh = (figures.staleness_sum - total) / (figures.updates - updates)
            self.staleness_now += SMOOTH * (fresh - self.staleness_now)
            self.busy_sum += figures.busy
            self.beats += 1
        self.by_process[process] = (figures.updates, figures.staleness_sum)
        if figures.voids or figures.zeroed:
            self.spoiled[process] = (figures.voids, figures.zeroed)
        self.name = figures.name
        if figures.state != "standby" or not self.state:  # who stands by is not what the gate does
            self.state, self.waiting_for = figures.state, figures.waiting_for
        if self.begun is None and figures.state != "standby":
            self.begun = max(0, figures.version - figures.updates)
        self.version = max(self.version, figures.version)
        self.staleness_max = max(self.staleness_max, figures.staleness_max)
        self.rss_bytes = max(self.rss_bytes, figures.rss_bytes)
        self.numerics = figures.numerics or self.numerics
        self.seen_ms = max(self.seen_ms, time_ms)
        for lane, seq in figures.applied:
            self.applied[lane] = max(self.applied.get(lane, 0), seq)


@dataclass(slots=True)
class Board:
    """All figures so far. `lanes`: the training lanes; `telling`: the metrics to be shown, the foremost first."""

    lanes: Sequence[int]
    telling: Sequence[str] = ("accuracy",)
    begun_ns: int = 0  # wall clock of the first batch's issue
    homes: Homecomings = field(default_factory=Homecomings)
    epochs: list[EpochLine] = field(default_factory=list)  # complete ones
    passes: list[PassLine] = field(default_factory=list)
    gates: dict[int, GateRow] = field(default_factory=dict)
    sentinels: dict[str, SentinelFigures] = field(default_factory=dict)
    windows: dict[str, FoundWindow] = field(default_factory=dict)  # by the sentinel that has found it
    _heard: dict[int, Heard] = field(default_factory=dict)  # by lane
    _open: dict[int, _Epoch] = field(default_factory=dict)
    _reached: dict[int, int] = field(default_factory=dict)  # lane -> epoch of its newest batch
    _finished: set[int] = field(default_factory=set)  # lanes that will bring no more

    def take(self, process: str, time_ms: int, body: Body) -> None:
        """One record of the metrics topic."""
        match body:
            case TrainFigures():
                for batch in body.batches:
                    self._batch(batch)
            case GateFigures():
                self.gates.setdefault(body.gate, GateRow(body.gate)).take(process, time_ms, body)
            case SentinelFigures():
                self.sentinels[process] = body
                self._window(process, time_ms, body)
                self._finished.update(lane.lane for lane in body.lanes if lane.finished)
            case PassFigures() if body.role is Mode.VALIDATE:
                since = max(0.0, time_ms / 1e3 - self.begun_ns / 1e9) if self.begun_ns else 0.0
                told = {"accuracy": body.accuracy, **body.metrics}
                metrics = {name: told[name] for name in self.telling if name in told}
                self.passes.append(PassLine(since, body.loss, metrics, body.versions, body.samples, body.seconds))
            case _:
                return
        self._close_epochs()

    def close(self) -> None:
        """Nothing more will come: what was seen of the last epochs counts."""
        for epoch in sorted(self._open):
            self._close_epoch(epoch)

    def home_by_figures(self) -> int:
        """Training batches that were seen."""
        return self.homes.count

    @property
    def current(self) -> EpochLine | None:
        """The earliest epoch that is under way."""
        return self._line(min(self._open)) if self._open else None

    def rate(self, now_ns: int, window_s: float = 3.0) -> float:
        """Samples a second, lately."""
        since = now_ns - int(window_s * 1e9)
        counted, oldest = 0, now_ns
        for home_ns, samples in reversed(self.homes.recent):
            if home_ns < since:
                break
            counted, oldest = counted + samples, min(oldest, home_ns)
        return counted / window_s if counted else 0.0

    def lagging(self, issued: dict[int, int], gates: Iterable[int]) -> list[int]:
        """Gates that have not applied everything, as far as their beats tell."""
        return [
            gate
            for gate in gates
            if gate not in self.gates or any(self.gates[gate].applied.get(n, 0) < seq for n, seq in issued.items())
        ]

    @property
    def spoiled(self) -> tuple[int, int]:
        """(void batches, at every gate; zeroed ones, at the gate that has most), as far as was seen."""
        rows = self.gates.values()
        return max((row.voids for row in rows), default=0), max((row.zeroed for row in rows), default=0)

    @property
    def settled_ns(self) -> int:
        """Wall clock at which the last window was found; 0 if none was."""
        return max((found.at_ms for found in self.windows.values()), default=0) * 1_000_000

    def _window(self, process: str, time_ms: int, told: SentinelFigures) -> None:
        known = self.windows.get(process)
        if told.window_why and (known is None or known.why != told.window_why):
            self.windows[process] = FoundWindow(told.window, told.window_why, time_ms)

    # --- epochs -----------------------------------------------------------------------------------

    def _batch(self, batch: BatchFigures) -> None:
        if batch.lane not in self.lanes or not self._heard.setdefault(batch.lane, Heard()).first(batch.seq):
            return
        issued_ns = batch.home_ns - int(batch.latency_ms * 1e6)
        self.begun_ns = min(self.begun_ns or issued_ns, issued_ns)
        self.homes.add(batch.home_ns, batch.samples)
        self._reached[batch.lane] = max(self._reached.get(batch.lane, 0), batch.epoch)
        if any(line.epoch == batch.epoch + 1 for line in self.epochs[-8:]):
            return  # told too late: the epoch's line is out
        epoch = self._open.setdefault(batch.epoch, _Epoch())
        epoch.samples += batch.samples
        epoch.loss += batch.loss * batch.samples
        epoch.add("accuracy", batch.correct)
        for name, value in batch.metrics.items():
            epoch.add(name, value * batch.samples)
        epoch.last_ns = max(epoch.last_ns, batch.home_ns)

    def _close_epochs(self) -> None:
        """An epoch is over when every lane has brought a batch of a later one, or brings none any more."""
        for epoch in sorted(self._open):
            if not all(lane in self._finished or self._reached.get(lane, -1) > epoch for lane in self.lanes):
                return
            self._close_epoch(epoch)

    def _close_epoch(self, epoch: int) -> None:
        self.epochs.append(self._line(epoch))
        del self._open[epoch]

    def _line(self, epoch: int) -> EpochLine:
        seen = self._open[epoch]
        before = self.begun_ns + int(sum(line.seconds for line in self.epochs) * 1e9)
        count = max(seen.samples, 1)
        seconds = max(0.0, (seen.last_ns - before) / 1e9)
        loss = seen.loss / count
        means = {name: total / count for name, total in seen.sums.items()} | {"perplexity": perplexity(loss)}
        metrics = {name: means[name] for name in self.telling if name in means}
        return EpochLine(epoch + 1, loss, metrics, seen.samples, seconds)
