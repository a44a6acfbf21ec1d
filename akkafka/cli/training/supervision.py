"""What the supervisor of a training does when something happens: events in, instructions out; no clock, no process.

A training goes through the phases of `Phase`, in that order; being asked to stop leads from any of them to DRAINING.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

HEALTHY_S = 20.0  # who has worked for so long starts with a clean record
BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 4.0, 5.0)
MAX_FAILURES = 6  # quick ones in a row
MAX_FAILURES_AWAY = 20  # of a process that cannot reach the broker: a restart of Kafka may take a minute
MAX_KILLS = 20  # from outside, without any progress in between: somebody, or a lack of memory, means it
# Killed from outside, not by a fault of its own: no reason to give up while training gets on in between.
FROM_OUTSIDE = frozenset((0, -1, -2, -9, -15))  # asked to leave; SIGHUP, SIGINT, SIGKILL, SIGTERM
BROKER_AWAY = 4  # exit code of errors.BrokerError
HOPELESS = frozenset((2, 3, 5, 6, 7))  # exit codes of errors that the next start would only repeat

DRAIN_S = 30.0  # for sentinels to bring home what is begun
CLOSE_S = 30.0  # for gates to write their last snapshot
LATER_S = 10.0  # who is not needed for the first batch waits for it, and no longer than this
STUCK_DRAIN_S = 3.0  # when a gate is gone for good, no batch comes home any more


class Role(enum.Enum):
    """What a process does."""

    GATE = "gate"
    TRAIN = "train"
    VALIDATE = "validate"


@dataclass(frozen=True, slots=True)
class Worker:
    """A process to be run."""

    name: str
    role: Role
    command: tuple[str, ...]  # behind the interpreter
    last_resort: tuple[str, ...] = ()  # of a validator: one pass, should the last one fail
    later: bool = False  # not needed for the first batch, which comes the sooner the fewer processes start beside it


class Phase(enum.Enum):
    """Where a training is."""

    TRAINING = "training"  # all processes run; who dies is started again
    SETTLING = "settling"  # every training sentinel has ended: the gates take the last batches into their journals
    VALIDATING = "validating"  # one more pass over the validation set, with the final weights
    DRAINING = "draining"  # asked to stop: sentinels finish what is begun
    CLOSING = "closing"  # gates write their last snapshot
    ENDED = "ended"


# --- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begun:
    """Start all processes that do not run yet."""

    running: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Ended:
    """A process has ended; `code` as subprocess has it: negative for a signal."""

    name: str
    code: int


@dataclass(frozen=True, slots=True)
class LanesRead:
    """From the log: whether every training lane has issued all its epochs, and all of it is home.

    The answer to ReadLanes; may come unasked, when nothing has happened for a while.
    """

    finished: bool


@dataclass(frozen=True, slots=True)
class JournalsFull:
    """Every gate's journal holds every issued batch."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Ctrl-C or SIGTERM; the second time: at once."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """Batches have come home."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed."""


Event = Begun | Ended | LanesRead | JournalsFull | StopAsked | Progressed | Ticked

# --- instructions ---------------------------------------------------------------------------------


class Order(enum.Enum):
    """A signal to a process."""

    FINISH = "SIGTERM"
    ONE_MORE_PASS = "SIGUSR1"
    DIE = "SIGKILL"


@dataclass(frozen=True, slots=True)
class Start:
    """Start a process."""

    worker: Worker


@dataclass(frozen=True, slots=True)
class Send:
    """Send a signal to a process."""

    name: str
    order: Order


@dataclass(frozen=True, slots=True)
class ReadLanes:
    """Look into the log whether training is over; answer with LanesRead."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Say something; `about` names the process whose last lines are worth showing."""

    text: str
    about: str = ""


Instruction = Start | Send | ReadLanes | Tell


@dataclass(slots=True)
class _Process:
    worker: Worker
    running: bool = False
    started_at: float = 0.0
    due_at: float | None = None  # when to start it again
    failures: int = 0
    done: bool = False  # ended as it should
    held: bool = False  # not yet started for the first time


@dataclass(slots=True)
class Supervision:
    """See the module's docstring. `on(event, now)` returns what has to be done, in order; `now` in seconds."""

    workers: Sequence[Worker]
    phase: Phase = Phase.TRAINING
    stopped: bool = False  # asked to stop before the end
    killed: bool = False  # asked twice
    culprit: str = ""  # who was given up
    culprit_code: int = 0
    validated: bool = False  # the last pass was made
    _processes: dict[str, _Process] = field(init=False)
    _deadline: float | None = None
    _now: float = 0.0
    _progressed_at: float = float("-inf")
    _release_at: float = float("inf")
    _out: list[Instruction] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._processes = {worker.name: _Process(worker) for worker in self.workers}

    def on(self, event: Event, now: float) -> list[Instruction]:
        """Take an event; return what has to be done."""
        self._now = now
        match event:
            case Begun():
                self._begin(event.running)
            case Ended():
                self._ended(self._processes[event.name], event.code)
            case LanesRead():
                self._lanes_read(event.finished)
            case JournalsFull():
                self._journals_full()
            case StopAsked():
                self._stop()
            case Progressed():
                self._progressed_at = now
                self._release()
            case Ticked():
                self._tick()
        out, self._out = self._out, []
        return out

    @property
    def ended(self) -> bool:
        """Nothing runs, nothing will be started."""
        return self.phase is Phase.ENDED

    @property
    def restarts(self) -> list[str]:
        """Names of processes that have failed and are to be started again."""
        return [name for name, process in self._processes.items() if process.due_at is not None]

    # --- events -----------------------------------------------------------------------------------

    def _begin(self, running: frozenset[str]) -> None:
        for name, process in self._processes.items():
            if name in running:
                process.running, process.started_at = True, self._now
            elif process.worker.later:
                process.held = True
            else:
                self._start(process)
        self._release_at = self._now + LATER_S

    def _release(self) -> None:
        """Start those that have waited for the first batch."""
        for process in self._processes.values():
            if process.held and self.phase is Phase.TRAINING:
                self._start(process)

    def _ended(self, process: _Process, code: int) -> None:
        process.running = False
        if self.phase in (Phase.DRAINING, Phase.CLOSING):
            self._ended_when_asked(process, code)
        elif process.worker.role is Role.TRAIN and (code == 0 or process.done):
            process.done = True
            self._maybe_trained()
        elif process.worker.role is Role.VALIDATE and self.phase is Phase.VALIDATING:
            self._last_pass_ended(process, code)
        else:
            self._restart_or_give_up(process, code)

    def _ended_when_asked(self, process: _Process, code: int) -> None:
        process.done = True
        if code not in (0, -9, -15) and not self.killed:
            self._out.append(Tell(f"{process.worker.name} {how(code)} while it was to finish", process.worker.name))
        self._maybe_next()

    def _maybe_trained(self) -> None:
        if self.phase is Phase.TRAINING and all(p.done for p in self._of(Role.TRAIN)):
            self.phase = Phase.SETTLING
            self._out.append(ReadLanes())

    def _lanes_read(self, finished: bool) -> None:
        if finished and self.phase is Phase.TRAINING:
            self._end_trainers()
        if finished or self.phase is not Phase.SETTLING:
            return
        self.phase = Phase.TRAINING  # somebody has ended a sentinel from outside
        for process in self._of(Role.TRAIN):
            process.done = False
            self._restart_or_give_up(process, 0)

    def _end_trainers(self) -> None:
        """The log says that training is over: who has not noticed is told."""
        self.phase = Phase.SETTLING
        trainers = list(self._of(Role.TRAIN))
        for process in trainers:
            process.done, process.due_at = True, None
        self._signal(trainers, Order.FINISH)

    def _journals_full(self) -> None:
        if self.phase is not Phase.SETTLING:
            return
        self.phase = Phase.VALIDATING
        validators = list(self._of(Role.VALIDATE))
        if not validators:
            self._close()
        for process in validators:
            if process.running:
                self._out.append(Send(process.worker.name, Order.ONE_MORE_PASS))
            else:
                self._last_resort(process)

    def _last_pass_ended(self, process: _Process, code: int) -> None:
        if code == 0:
            self.validated = True
            process.done = True
            self._close()
        elif process.worker.last_resort:
            self._last_resort(process)
        else:
            self._out.append(
                Tell(f"the last validation failed: {process.worker.name} {how(code)}", process.worker.name)
            )
            process.done = True
            self._close()

    def _last_resort(self, process: _Process) -> None:
        """A validator that was just starting knows no signals yet: run it for one pass."""
        process.worker = Worker(process.worker.name, Role.VALIDATE, process.worker.last_resort)
        self._start(process)

    def _stop(self) -> None:
        if self.ended:
            return
        if self.stopped:
            self.killed = True
            self._out.append(Tell("ending everything at once"))
            self._signal(self._processes.values(), Order.DIE)
        else:
            self.stopped = True
            self._out.append(Tell("finishing what is begun; once more ends everything at once"))
            if self.phase not in (Phase.DRAINING, Phase.CLOSING):
                self._drain(DRAIN_S)
        self._maybe_next()

    def _tick(self) -> None:
        for process in self._processes.values():
            if process.due_at is not None and self._now >= process.due_at:
                self._start(process)
        if self._now >= self._release_at:
            self._release()
        if self._deadline is not None and self._now >= self._deadline:
            self._overdue()

    def _overdue(self) -> None:
        late = [p for p in self._processes.values() if p.running and self._asked_to_end(p)]
        self._deadline = None
        for process in late:
            self._out.append(Tell(f"{process.worker.name} does not finish in time and is killed", process.worker.name))
        self._signal(late, Order.DIE)

    def _asked_to_end(self, process: _Process) -> bool:
        return self.phase is Phase.CLOSING or process.worker.role is not Role.GATE

    # --- what follows -----------------------------------------------------------------------------

    def _restart_or_give_up(self, process: _Process, code: int) -> None:
        if self._now - process.started_at >= HEALTHY_S or self._blameless(process, code):
            process.failures = 0
        process.failures += 1
        name = process.worker.name
        if code in HOPELESS or process.failures > _patience(code):
            self._give_up(process, code)
            return
        wait = BACK_OFF_S[min(process.failures, len(BACK_OFF_S)) - 1]
        process.due_at = self._now + wait
        self._out.append(Tell(f"{name} {how(code)}; it is started again in {wait:g} s", name if code else ""))

    def _blameless(self, process: _Process, code: int) -> bool:
        return code in FROM_OUTSIDE and self._progressed_at > process.started_at

    def _give_up(self, process: _Process, code: int) -> None:
        self.culprit, self.culprit_code = process.worker.name, code
        process.done = True
        times = f" ({process.failures} times in a row)" if process.failures > 1 else ""
        self._out.append(
            Tell(f"{process.worker.name} {how(code)}{times} and is given up: training ends", process.worker.name)
        )
        self._drain(STUCK_DRAIN_S if process.worker.role is Role.GATE else DRAIN_S)
        self._maybe_next()

    def _drain(self, patience_s: float) -> None:
        self.phase = Phase.DRAINING
        self._deadline = self._now + patience_s
        for process in self._processes.values():
            process.due_at = None
        self._signal((p for p in self._processes.values() if p.worker.role is not Role.GATE), Order.FINISH)

    def _close(self) -> None:
        self.phase = Phase.CLOSING
        self._deadline = self._now + CLOSE_S
        for process in self._processes.values():
            process.due_at = None
        self._signal(self._processes.values(), Order.DIE if self.killed else Order.FINISH)
        self._maybe_next()

    def _maybe_next(self) -> None:
        """From DRAINING to CLOSING to ENDED, as processes end."""
        running = [p for p in self._processes.values() if p.running]
        if not running:
            self.phase = Phase.ENDED
        elif self.phase is Phase.DRAINING and all(p.worker.role is Role.GATE for p in running):
            self._close()

    def _start(self, process: _Process) -> None:
        process.due_at, process.held, process.running, process.started_at = None, False, True, self._now
        self._out.append(Start(process.worker))

    def _signal(self, processes: Iterable[_Process], order: Order) -> None:
        self._out.extend(Send(p.worker.name, order) for p in processes if p.running)

    def _of(self, role: Role) -> Iterable[_Process]:
        return (p for p in self._processes.values() if p.worker.role is role)


def _patience(code: int) -> int:
    """Quick failures in a row that are borne."""
    if code == BROKER_AWAY:
        return MAX_FAILURES_AWAY
    return MAX_KILLS if code in FROM_OUTSIDE else MAX_FAILURES


def how(code: int) -> str:
    """How a process ended, in words."""
    if code == 0:
        return "has ended"
    if code < 0:
        import signal

        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"has failed with exit code {code}"
