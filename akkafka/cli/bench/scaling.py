"""`akkafka bench scaling`: how speed and cost move with one setting at a time, each point as `bench pipeline` measures.

batch: samples in a batch. window: batches in flight (a gate's window as well). gates: 784-64-…-64-10, whose inner gates
cost the same, so each added one should take its share and no more. lanes: training lanes of one sentinel. processes:
three gates in one, two and three processes. Points of an axis take turns, so that what drifts meets all alike.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

from akkafka.cli.bench.command import terminated
from akkafka.cli.bench.contest import order
from akkafka.cli.bench.draw import check_drawing, draw_axes
from akkafka.cli.bench.ground import Ground, ground
from akkafka.cli.bench.machine import machine
from akkafka.cli.bench.pipeline import BROKER, Setting, Steady, measured, told
from akkafka.cli.console import say, table
from akkafka.cli.networks import configured
from akkafka.cli.training.report import check_writable, write_json
from akkafka.data import data_dir_from_env
from akkafka.errors import ConfigError

HIDDEN: Final = 64  # width of the networks of axis gates


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    config: Path
    overrides: tuple[str, ...]
    data_dir: Path | None
    axes: tuple[str, ...]
    seconds: float
    rounds: int
    out: Path | None
    plot: Path | None


@dataclass(frozen=True, slots=True)
class Point:
    """One value of an axis."""

    axis: str
    value: str
    setting: Setting


@dataclass(frozen=True, slots=True)
class Measured:
    """A point, over its rounds."""

    axis: str
    value: str
    samples_per_second: float
    batch_ms: float  # between two batches
    cpu_ms: float  # of all processes for a batch
    broker_cpu_ms: float
    latency_ms: float


def batch_points(setting: Setting, folder: Path) -> list[Point]:
    """256 to 4096 samples."""
    return _by_overrides("batch", setting, {str(n): (f"batch_size={n}",) for n in (256, 512, 1024, 2048, 4096)})


def window_points(setting: Setting, folder: Path) -> list[Point]:
    """1 to 16 batches in flight, at gates too: else theirs would be what is measured."""
    windows = (1, 2, 3, 5, 8, 16)
    told = {str(n): (f"schedule.window={n}", f"schedule.gate_window={n}") for n in windows}
    return _by_overrides("window", setting, told)


def lane_points(setting: Setting, folder: Path) -> list[Point]:
    """1 to 4 training lanes, each with its own window."""
    return _by_overrides("lanes", setting, {str(n): (f"lanes.train={n}", "run.sentinels=1") for n in (1, 2, 4)})


def process_points(setting: Setting, folder: Path) -> list[Point]:
    """Three gates in one, two and three processes."""
    ways = ('["0-2"]', '["0", "1-2"]', '["0", "1", "2"]')
    return _by_overrides("processes", setting, {str(n): (f"run.processes={way}",) for n, way in enumerate(ways, 1)})


def gate_points(setting: Setting, folder: Path) -> list[Point]:
    """2 to 16 gates."""
    points = []
    for count in (2, 4, 8, 16):
        file = folder / f"gates-{count}.toml"
        file.write_text(gates_config(count), encoding="utf-8")
        points.append(Point("gates", str(count), replace(setting, config=file)))
    return points


AXES: Final[Mapping[str, Callable[[Setting, Path], list[Point]]]] = {
    "batch": batch_points,
    "window": window_points,
    "gates": gate_points,
    "lanes": lane_points,
    "processes": process_points,
}


def gates_config(count: int) -> str:
    """A network of so many gates (at least 2) for MNIST."""
    hidden = [
        f'[[gate]]\nname = "g{i}"\nlayers = [{{ type = "linear", out = {HIDDEN} }}, {{ type = "relu" }}]\n'
        for i in range(1, count - 1)
    ]
    return "\n".join(
        [
            f'name = "gates-{count}"\nseed = 1\nbatch_size = 1024\n',
            '[data]\nname = "mnist"\n',
            '[optimizer]\ntype = "sgd"\nlr = 0.1\nclip_norm = 0.2\n',
            f"[lanes]\ntrain = 1\n\n[schedule]\nwindow = {2 * count}\n",
            '[[gate]]\nname = "g0"\nlayers = [{ type = "flatten" }, '
            '{ type = "scale", scale = 0.012728, shift = -0.4242 }, '
            f'{{ type = "linear", out = {HIDDEN} }}, {{ type = "relu" }}]\n',
            *hidden,
            f'[[gate]]\nname = "g{count - 1}"\nlayers = [{{ type = "linear", out = 10 }}]\n',
        ]
    )


def scaling(request: Request) -> None:
    """Run it and print a table for each axis; raises AkkafkaError."""
    axes = request.axes or tuple(AXES)
    for axis in axes:
        if axis not in AXES:
            raise ConfigError(f"bench: there is no axis {axis!r}", hint=f"Known are {', '.join(AXES)}.")
    check_writable(request.out)
    check_drawing(request.plot)
    setting = Setting(request.config, request.overrides, None, request.data_dir or data_dir_from_env())
    signal.signal(signal.SIGTERM, terminated)
    found: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="aks-", ignore_cleanup_errors=True) as name:
        planned = {axis: AXES[axis](setting, Path(name)) for axis in axes}
        for point in (point for points in planned.values() for point in points):
            one = point.setting
            configured(one.config, one.overrides, None, one.data_dir)  # a mistake is told before anything runs
        with ground("aks-", say) as here:
            for axis, points in planned.items():
                found += _axis(points, request, here)
                print("\n".join(["", *lines([one for one in found if one.axis == axis])]), flush=True)
    if request.plot is not None:
        draw_axes(found, request.plot)
        say(f"picture: {request.plot}")
    if request.out is not None:
        write_json(request.out, report(found) | {"machine": machine().facts(), "config": request.config.name})
        say(f"figures: {request.out}")


def _axis(points: Sequence[Point], request: Request, here: Ground) -> list[Measured]:
    steadies: dict[str, list[Steady]] = {}
    for number, point in order(points, request.rounds):
        steady = measured(point.setting, request.seconds, here, _naming(point))
        steadies.setdefault(point.value, []).append(steady)
        say(f"round {number}/{request.rounds}  {point.axis} {point.value}: {told(steady)}")
    return [summed(points[0].axis, value, some) for value, some in steadies.items()]


def _naming(point: Point) -> Callable[[str], None]:
    """Progress says whose it is."""
    return lambda line: say(f"{point.axis} {point.value}: {line.strip()}")


def summed(axis: str, value: str, some: Sequence[Steady]) -> Measured:
    """Medians over rounds."""
    return Measured(
        axis,
        value,
        median(one.samples_per_second for one in some),
        median(1000 * one.seconds / max(1, one.batches) for one in some),
        median(sum(map(one.cpu_ms, one.cpu_seconds)) for one in some),
        median(one.cpu_ms(BROKER) if BROKER in one.cpu_seconds else 0.0 for one in some),
        median(one.latency_ms for one in some),
    )


def lines(found: Sequence[Measured]) -> list[str]:
    """One axis."""
    cells = [
        [
            one.value,
            f"{one.samples_per_second:,.0f}",
            f"{one.batch_ms:.1f}",
            f"{one.cpu_ms:.1f}",
            f"{one.broker_cpu_ms:.1f}",
            f"{one.latency_ms:.0f}",
        ]
        for one in found
    ]
    return table([found[0].axis, "samples/s", "ms a batch", "CPU ms", "of the broker", "latency ms"], cells)


def report(found: Sequence[Measured]) -> dict[str, Any]:
    """The JSON, by axis."""
    axes: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        facts = {name: getattr(one, name) for name in Measured.__slots__ if name != "axis"}
        axes.setdefault(one.axis, []).append(facts)
    return {"axes": axes}


def _by_overrides(axis: str, setting: Setting, told: Mapping[str, tuple[str, ...]]) -> list[Point]:
    return [Point(axis, value, replace(setting, overrides=(*setting.overrides, *more))) for value, more in told.items()]
