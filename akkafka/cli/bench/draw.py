"""Pictures of what was measured, as PNG. matplotlib comes in only when one is asked for: the extra `plot`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from akkafka.cli.bench.figures import OURS, Round, standings
from akkafka.cli.training.report import check_writable
from akkafka.errors import ConfigError

DPI = 120
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
