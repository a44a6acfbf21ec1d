"""Pictures of what was measured, as PNG. matplotlib comes in only when one is asked for: the extra `plot`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akkafka.cli.bench.figures import OURS, Round, standings
from akkafka.cli.bench.waterfall import SEGMENTS, Trip
from akkafka.cli.training.report import check_writable
from akkafka.errors import ConfigError

if TYPE_CHECKING:
    from akkafka.cli.bench.hop import Hop
    from akkafka.cli.bench.scaling import Measured

DPI = 120
COLORS = ("#ffbf00", "#bdbdbd", "#8c564b", "#ff7f7f", "#2ca02c", "#9467bd")  # of SEGMENTS
OWN, OTHER = "#1f77b4", "#9a9a9a"


def check_drawing(path: Path | None) -> None:
    """Raise ConfigError now rather than after the measurement: no matplotlib, another suffix, no such place."""
    if path is None:
        return
    if path.suffix != ".png":
        raise ConfigError(f"--plot {path}: pictures are drawn as PNG", hint=f"Name it {path.with_suffix('.png')}.")
    if find_spec("matplotlib") is None:
        raise ConfigError("--plot needs matplotlib, which is not installed", hint="pip install 'akkafka[plot]'")
    check_writable(path)


def figure(rows: int = 1, *, height: float = 4.0) -> tuple[Any, Any]:
    """A figure and its axes, drawn into memory: no display is needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(9.0, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn, drawn.subplots(rows, 1)


def draw_trip(trip: Trip, names: Sequence[str], title: str, path: Path) -> None:
    """One batch, a row for each station, time from left to right."""
    drawn, axes = figure(height=1.6 + 0.4 * len(names))
    axes.barh(names, [0.0] * len(names))  # rows in order of the way
    for segment, (name, color) in enumerate(zip(SEGMENTS, COLORS, strict=True)):
        bars = [bar for bar in trip.bars if bar.segment == segment]
        axes.barh(
            [names[bar.station] for bar in bars],
            [bar.length_ms for bar in bars],
            left=[bar.start_ms for bar in bars],
            color=color,
            label=name,
            height=0.7,
        )
    axes.invert_yaxis()
    axes.set_xlabel("ms since the batch was begun")
    axes.set_title(f"{title}: {trip.total_ms:.1f} ms", fontsize=10)
    axes.legend(ncols=len(SEGMENTS), loc="upper right", fontsize=8)
    drawn.savefig(path)


def draw_hops(hops: Sequence[Hop], path: Path) -> None:
    """Latency and speed over size."""
    drawn, axes = figure(2, height=6.0)
    sizes = [hop.size / 1000 for hop in hops]
    axes[0].plot(sizes, [hop.p50_ms for hop in hops], "o-", label="latency, p50")
    axes[0].plot(sizes, [hop.p95_ms for hop in hops], "o:", label="latency, p95")
    axes[0].plot(sizes, [hop.cpu_ms for hop in hops], "s-", label="CPU of both ends")
    axes[0].plot(sizes, [hop.broker_cpu_ms for hop in hops], "s-", label="CPU of the broker")
    axes[0].set(xscale="log", yscale="log", ylabel="ms a message", title="a hop over the broker")
    axes[0].legend(fontsize=8)
    axes[1].plot(sizes, [hop.megabytes_per_second for hop in hops], "o-")
    axes[1].set(xscale="log", xlabel="KB a message", ylabel="MB/s", ylim=0)
    drawn.savefig(path)


def draw_axes(found: Sequence[Measured], path: Path) -> None:
    """A row for each axis: samples/s, and CPU of a batch beside it."""
    names = list(dict.fromkeys(one.axis for one in found))
    drawn, rows = figure(len(names), height=1.0 + 2.2 * len(names))
    for axes, name in zip([rows] if len(names) == 1 else rows, names, strict=True):
        own = [one for one in found if one.axis == name]
        values = [one.value for one in own]
        axes.plot(values, [one.samples_per_second for one in own], "o-", color=OWN)
        axes.set(xlabel=name, ylabel="samples/s", ylim=0)
        beside = axes.twinx()
        beside.plot(values, [one.cpu_ms for one in own], "s:", color=OTHER)
        beside.set(ylabel="CPU ms a batch", ylim=0)
    drawn.savefig(path)


def draw_rounds(rounds: Sequence[Round], title: str, path: Path) -> None:
    """Medians as bars, each round as a point on its bar."""
    found = standings(rounds)
    drawn, axes = figure(height=1.2 + 0.45 * len(found))
    names = [standing.contender for standing in found]
    axes.barh(
        names, [one.median for one in found], color=[OWN if name == OURS else OTHER for name in names], height=0.6
    )
    for turn in rounds:
        axes.plot(turn.outcome.samples_per_second, turn.contender, "k.", markersize=4)
    axes.invert_yaxis()
    axes.set_xlabel("samples/s in steady state: median, and each round")
    axes.set_title(title, fontsize=10)
    drawn.savefig(path)
