"""What a training looks like while it goes on: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from akkafka.cli.console import size, spoiled_words, table
from akkafka.cli.training.board import Board, EpochLine, FoundWindow, PassLine
from akkafka.protocol.figures import found_window, reading

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

QUIET_S = 10.0  # plain: after so long without a line, one says how far it is
FRAMES = 4  # a second: enough for eyes, little for the cores that train


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to be shown."""

    board: Board
    epochs: int  # in all
    title: str
    phase: str
    begun: float  # monotonic


class Show(Protocol):
    """A way to show it."""

    def say(self, line: str) -> None:
        """A line that stays."""

    def refresh(self, scene: Scene) -> None:
        """Called often: show what is new."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def epoch_line(line: EpochLine, epochs: int) -> str:
    """One epoch."""
    rate = line.samples / line.seconds if line.seconds else 0.0
    return (
        f"epoch {line.epoch:>{len(str(epochs))}}/{epochs}  loss {line.loss:.4f}  {reading(line.metrics, '  ')}  "
        f"{line.seconds:6.2f} s  {rate:9,.0f} samples/s"
    )


def pass_line(line: PassLine) -> str:
    """One validation."""
    versions = ",".join(str(low) if low == high else f"{low}-{high}" for low, high in line.versions)
    return (
        f"validation at {line.seconds:.1f} s  loss {line.loss:.4f}  {reading(line.metrics, '  ')}  "
        f"({line.samples} samples, versions {versions})"
    )


def progress_line(scene: Scene, now_ns: int) -> str:
    """How far it is, in one line."""
    board, current = scene.board, scene.board.current
    if current is None:
        return f"{scene.phase}: {board.home_by_figures()} batches"
    staleness = " ".join(f"{row.staleness_now:.1f}" for _, row in sorted(board.gates.items()))
    return (
        f"{scene.phase}: epoch {current.epoch}/{scene.epochs}  "
        f"loss {current.loss:.4f}  {reading(current.metrics, '  ')}  "
        f"{board.rate(now_ns):,.0f} samples/s  staleness {staleness}"
        + "".join(f"  {told}" for told in [spoiled_words(*board.spoiled)] if told)
    )


@dataclass(slots=True)
class _News:
    """Lines that have not been said yet."""

    epochs: int = 0
    passes: int = 0
    windows: set[FoundWindow] = field(default_factory=set)

    def lines(self, scene: Scene) -> list[str]:
        board = scene.board
        fresh = [epoch_line(line, scene.epochs) for line in board.epochs[self.epochs :]]
        fresh += [pass_line(line) for line in board.passes[self.passes :]]
        self.epochs, self.passes = len(board.epochs), len(board.passes)
        found = [window for window in board.windows.values() if window not in self.windows]
        self.windows.update(found)
        fresh += [found_window(window.window, window.why) for window in found]
        return fresh


@dataclass(slots=True)
class PlainShow:
    """Lines, each whole and at once: for files, pipes and logs."""

    _news: _News = field(default_factory=_News)
    _spoke: float = field(default_factory=time.monotonic)

    def say(self, line: str) -> None:
        """See Show."""
        self._spoke = time.monotonic()
        try:
            print(line, flush=True)
        except BrokenPipeError:
            _nobody_reads()

    def refresh(self, scene: Scene) -> None:
        """See Show."""
        for line in self._news.lines(scene):
            self.say(line)
        if time.monotonic() - self._spoke > QUIET_S and scene.board.homes.count:
            self.say(progress_line(scene, time.time_ns()))

    def close(self) -> None:
        """See Show."""


def _nobody_reads() -> None:
    """Who read us has gone (`| head`): as if asked to stop. What is begun is finished and stays in the log."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    os.kill(os.getpid(), signal.SIGTERM)


class LiveShow:
    """A table that is drawn anew, lines that stay above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False)
        self._live: Live = Live(console=self._console, auto_refresh=False, transient=True)
        self._started = False
        self._drawn = 0.0
        self._news = _News()

    def say(self, line: str) -> None:
        """See Show."""
        self._console.print(line, markup=False, soft_wrap=True)

    def refresh(self, scene: Scene) -> None:
        """See Show."""
        for line in self._news.lines(scene):
            self.say(line)
        now = time.monotonic()
        if now - self._drawn < 1 / FRAMES:
            return
        self._drawn = now
        if not self._started:
            self._started = True
            self._live.start()
        self._live.update(_picture(scene), refresh=True)

    def close(self) -> None:
        """See Show."""
        if self._started:
            self._live.stop()


def _picture(scene: Scene) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    gates = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("gate", "state", "version", "staleness", "busy", "memory"):
        gates.add_column(column, justify="left" if column in ("gate", "state") else "right")
    for gate, row in sorted(scene.board.gates.items()):
        gates.add_row(
            f"{gate} {row.name}",
            f"{row.state} {row.waiting_for}".strip(),
            f"{row.version}",
            f"{row.staleness_now:.2f}",
            f"{row.busy:.0%}",
            size(row.rss_bytes),
        )
    took = time.monotonic() - scene.begun
    return Group(Text(f"{scene.title}  {took:.0f} s", style="bold"), Text(progress_line(scene, time.time_ns())), gates)


def make_show() -> Show:
    """The one that fits stdout."""
    return LiveShow() if sys.stdout.isatty() else PlainShow()


def summary(board: Board, samples_per_second: float, wall_s: float) -> list[str]:
    """The table at the end."""
    rows = [
        (
            f"{gate} {row.name}",
            str(row.updates),
            str(row.version),
            f"{row.staleness_mean:.2f}",
            str(row.staleness_max),
            f"{row.busy:.0%}",
            size(row.rss_bytes),
        )
        for gate, row in sorted(board.gates.items())
    ]
    head = ("gate", "updates", "version", "staleness mean", "max", "busy", "memory")
    facts = [f"{samples_per_second:,.0f} samples/s (steady state), {wall_s:.1f} s in all"]
    if board.epochs:
        last = board.epochs[-1]
        facts.insert(0, f"training, epoch {last.epoch}: loss {last.loss:.4f}, {reading(last.metrics)}")
    if board.passes:
        final = board.passes[-1]
        facts.insert(1 if board.epochs else 0, f"validation: loss {final.loss:.4f}, {reading(final.metrics)}")
    facts += [found_window(found.window, found.why) for found in board.windows.values()]
    facts += [told for told in [spoiled_words(*board.spoiled)] if told]
    return ["", *table(head, rows), "", *facts]
