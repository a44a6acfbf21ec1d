"""Points of each axis are networks that can be trained, and what is made of their rounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from akkafka.cli.bench.draw import draw_axes, draw_hops
from akkafka.cli.bench.hop import Hop
from akkafka.cli.bench.hop import lines as hop_lines
from akkafka.cli.bench.hop import medians as hop_medians
from akkafka.cli.bench.machine import Calm
from akkafka.cli.bench.pipeline import Setting, Steady
from akkafka.cli.bench.scaling import AXES, Request, gates_config, lines, report, scaling, summed
from akkafka.cli.training.placement import processes_of
from akkafka.errors import ConfigError
from akkafka.protocol.config import load_config
from akkafka.protocol.messages import Mode


def steady(samples: int, cpu: float, broker: float) -> Steady:
    return Steady(10.0, 50, samples, {"gate-0": cpu, "broker": broker}, {}, 30.0, {}, {}, Calm(0.0, 0.0))


@pytest.mark.parametrize("axis", AXES)
def test_every_point_is_a_network_that_differs_by_its_axis_alone(axis: str, tmp_path: Path) -> None:
    points = AXES[axis](Setting(Path("mnist"), ("seed=3",)), tmp_path)
    assert len(points) == len({point.value for point in points}) >= 3
    for point in points:
        config = load_config(point.setting.config, point.setting.overrides)
        definition, value = config.definition, int(point.value)
        seen = {
            "batch": definition.batch_size,
            "window": definition.gate_window,
            "gates": len(definition.gates),
            "lanes": len(definition.plan.of(Mode.TRAIN)),
            "processes": len(processes_of(config.run.processes, len(definition.gates))),
        }
        assert seen[axis] == value and point.axis == axis
        assert definition.seed == 3


def test_inner_gates_cost_the_same(tmp_path: Path) -> None:
    (tmp_path / "net.toml").write_text(gates_config(8), encoding="utf-8")
    definition = load_config(tmp_path / "net.toml").definition
    shapes = {(layer.in_shape, layer.out_shape) for layer in definition.layers[1:-1]}
    assert shapes == {((64,), (64,))}


def test_a_point_is_the_median_of_its_rounds() -> None:
    found = summed("batch", "256", [steady(1000, 1.0, 0.5), steady(9000, 3.0, 1.5), steady(2000, 2.0, 1.0)])
    assert (found.samples_per_second, found.batch_ms, found.cpu_ms, found.broker_cpu_ms) == (200.0, 200.0, 60.0, 20.0)
    assert lines([found])[-1].split() == ["256", "200", "200.0", "60.0", "20.0", "30"]
    assert report([found]) == {
        "axes": {
            "batch": [
                {
                    "value": "256",
                    "samples_per_second": 200.0,
                    "batch_ms": 200.0,
                    "cpu_ms": 60.0,
                    "broker_cpu_ms": 20.0,
                    "latency_ms": 30.0,
                }
            ]
        }
    }


def test_hops_are_told_by_size_with_medians_over_rounds() -> None:
    rounds = [
        Hop(2000, 3.0, 4.0, 10.0, 0.5, 0.2),
        Hop(1000, 1.0, 2.0, 5.0, 0.3, 0.1),
        Hop(2000, 5.0, 9.0, 30.0, 0.7, 0.4),
    ]
    assert [(hop.size, hop.p50_ms, hop.megabytes_per_second) for hop in hop_medians(rounds)] == [
        (1000, 1.0, 5.0),
        (2000, 4.0, 20.0),
    ]
    assert hop_lines(rounds)[-1].split() == ["2", "4.00", "6.50", "20", "0.60", "0.30"]


def test_pictures_of_axes_and_hops_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = [summed(axis, value, [steady(1000, 1.0, 0.5)]) for axis in ("batch", "lanes") for value in ("1", "2")]
    draw_axes(found, tmp_path / "axes.png")
    draw_axes(found[:2], tmp_path / "axis.png")
    draw_hops([Hop(1000, 1.0, 2.0, 5.0, 0.3, 0.1), Hop(2000, 1.0, 2.0, 5.0, 0.3, 0.1)], tmp_path / "hops.png")
    for name in ("axes", "axis", "hops"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_axis_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no axis 'depth'") as refused:
        scaling(Request(Path("mnist"), (), None, ("depth",), 1.0, 1, None, None))
    assert "gates" in refused.value.hint
