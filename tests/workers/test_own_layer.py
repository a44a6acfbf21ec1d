"""The sample layer keeps the laws of layers, and real processes train with it and refuse any other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from akkafka.broker.network import define
from akkafka.errors import ConfigError, ShapeError
from akkafka.nn.layer import FLOAT32, Pass
from akkafka.nn.spec import build_sequence, layer_spec
from akkafka.protocol.config import load_config

from ..conftest import Run
from ..processes.fleet import Process, Processes, Watch, connected
from .conftest import WORKERS

Allow = Callable[..., None]
OWN = WORKERS / "own_layer"
QUICK = ("batch_size=256", "lanes.train=1", "schedule.window=2")
BATCHES = 6  # in an epoch of QUICK
REFUSED = 7  # NetworkError


# The layer


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.5])
def test_backward_is_the_slope_of_the_forward(allow: Allow, slope: float) -> None:
    allow("own_layer")
    layer = build_sequence([layer_spec({"type": "folded-relu", "slope": slope})], (2, 3), FLOAT32)
    rng = np.random.default_rng(1)
    x, dy = (rng.standard_normal((5, 2, 3), dtype=np.float32) for _ in range(2))
    y, tape = layer.forward({}, x, Pass(True, 0))
    dx, grads = layer.backward({}, tape, dy)
    assert dx is not None and grads == {} and y.dtype == dx.dtype == np.float32
    np.testing.assert_allclose(y, np.where(x > 0, x, -slope * x), rtol=1e-6)
    step = np.float32(1e-3)
    ends = [layer.forward({}, x + d, Pass(True, 0))[0] for d in (step, -step)]
    np.testing.assert_allclose(dx, dy * (ends[0] - ends[1]) / (2 * step), rtol=1e-2, atol=1e-3)
    assert layer.backward({}, tape, dy, need_dx=False) == (None, {})


def test_settings_that_it_does_not_have_are_refused(allow: Allow) -> None:
    allow("own_layer")
    with pytest.raises(ConfigError, match="unknown key 'slop'"):
        layer_spec({"type": "folded-relu", "slop": 0.1})
    with pytest.raises(ConfigError, match=r"slope: .*less than 1"):
        layer_spec({"type": "folded-relu", "slope": 1.0})
    with pytest.raises(ShapeError, match="takes float32"):
        build_sequence([layer_spec({"type": "folded-relu"})], (4,), np.dtype(np.uint8))


# Real processes


def started(fleet: Processes, *words: str, folder: Path = OWN) -> Process:
    """A process with a folder on PYTHONPATH."""
    return fleet.start(*words, env={"PYTHONPATH": str(folder)})


@pytest.mark.kafka
def test_a_network_with_an_own_layer_trains_and_processes_with_another_one_are_refused(
    processes: Processes, run: Run, unique: Callable[[], str], allow: Allow, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(OWN / "own_layer", other / "own_layer", ignore=shutil.ignore_patterns("__pycache__"))
    source = other / "own_layer" / "folded_relu.py"
    source.write_text(source.read_text().replace("np.maximum", "np.minimum"))

    async def scene() -> None:
        name, flags = unique(), ("--allow", "own_layer")
        gate = ("gate", "--layer", "0", "--network", name)
        unaware = started(processes, *gate)  # the package lies on its path, but it may not use it
        await unaware.prints("waiting for a definition of network")
        async with connected(processes.bootstrap) as broker:
            allow("own_layer")
            network = await define(broker, load_config(OWN / "folded-digits.toml", QUICK).definition, name)
            changed = started(processes, *gate, *flags, folder=other)
            assert [await each.exit_code() for each in (unaware, changed)] == [REFUSED, REFUSED]
            for layer in range(3):
                started(processes, "gate", "--layer", str(layer), "--network", name, *flags)
            trainer = started(processes, "sentinel", "train", "--network", name, "--epochs", "4", *flags)
            assert await trainer.exit_code() == 0
            await Watch(broker, network).every_batch_once(4 * BATCHES)
        package = network.definition.packages[0]
        assert f"layer 'folded-relu' comes from package {package}, which this process does not have" in unaware.printed
        assert "start again with --allow own_layer" in unaware.printed
        assert f"expected package {package}, found own_layer 0.1.0 (sha256 " in changed.printed

    run(scene())
