"""Peers but Ray train the same network: convolutions in numpy and in torch, torch's pipeline, akkafka's layers."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from akkafka.cli.bench.course import lay_out, reduced
from akkafka.cli.bench.networks import NETS, config_of
from akkafka.cli.bench.peers import in_process, layers
from akkafka.cli.bench.peers.job import Job, Result, Samples
from akkafka.cli.bench.peers.plain import Stage, cross_entropy, first_reaching
from akkafka.errors import ConfigError
from akkafka.nn.layer import F32
from akkafka.protocol.config import load_config

from .test_course import Gate

CONV = """[
  { type = "reshape", shape = [1, 4, 4] },
  { type = "scale", scale = 0.01, shift = -1.0 },
  { type = "conv2d", out = 3, kernel = 3, padding = 1 },
  { type = "relu" },
  { type = "conv2d", out = 5, kernel = 3, padding = 1 },
  { type = "relu" },
  { type = "max-pool2d", kernel = 2 },
  { type = "flatten" },
  { type = "linear", out = 8 },
]"""
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")


def job(folder: Path, *, conv: bool, epochs: int = 1) -> Job:
    overrides = [f"gate.fc1.layers={' '.join(CONV.split())}"] if conv else []
    definition = load_config(folder / "blots.toml", overrides, data_dir=folder).definition
    return lay_out(definition, epochs, folder, folder)


def test_convolutions_and_pools_are_those_of_the_gates(blots: Path) -> None:
    made = job(blots, conv=True)
    network = load_config(
        blots / "blots.toml", [f"gate.fc1.layers={' '.join(CONV.split())}"], data_dir=blots
    ).definition
    stages, gates = [Stage.of(made, i) for i in range(3)], [Gate(network, i) for i in range(3)]
    for batch, (_, pixels, targets) in zip(range(6), Samples.of(made).batches(16), strict=False):
        ours, theirs = stages[0].forward(batch, pixels), gates[0].forward(pixels)
        assert np.allclose(ours, theirs, rtol=1e-3, atol=1e-4)
        for stage, gate in zip(stages[1:], gates[1:], strict=True):
            ours, theirs = stage.forward(batch, ours), gate.forward(theirs)
        back: F32 | None = cross_entropy(ours, targets)[1]
        gradient = back
        for stage, gate in reversed(list(zip(stages, gates, strict=True))):
            assert back is not None and gradient is not None
            back, gradient = stage.backward(batch, back), gate.backward(batch, gradient)
    for stage, gate in zip(stages, gates, strict=True):
        for name, array in gate.params.items():
            assert np.allclose(stage.params[name], array, rtol=1e-2, atol=1e-4), name


def test_a_gradient_goes_through_convolutions_to_the_input(blots: Path) -> None:
    """Of a stage that is not the first."""
    network = load_config(
        blots / "blots.toml", [f"gate.fc1.layers={' '.join(CONV.split())}"], data_dir=blots
    ).definition
    stage, gate = Stage.of(job(blots, conv=True), 0), Gate(network, 0)
    stage.first = gate.first = False
    rng = np.random.default_rng(3)
    x, dy = rng.integers(0, 256, (6, 4, 4)).astype(np.uint8), rng.normal(size=(6, 8)).astype(np.float32)
    stage.forward(0, x)
    gate.forward(x)
    ours, theirs = stage.backward(0, dy), gate.backward(0, dy)
    assert ours is not None and theirs is not None and ours.shape == x.shape and ours.any()
    assert np.allclose(ours, theirs, rtol=1e-3, atol=1e-6)


def test_akkafkas_own_layers_in_one_process_learn_what_numpy_learns(blots: Path) -> None:
    made = job(blots, conv=False, epochs=3)
    one, other = in_process.run(made), layers.run(made)
    assert one.losses == pytest.approx(other.losses, rel=1e-3)
    assert len(one.home) == len(other.home) == 63
    assert other.validation_accuracy == pytest.approx(one.validation_accuracy, abs=0.02)


@needs_torch
@pytest.mark.parametrize("conv", [False, True])
def test_a_torch_stage_is_the_numpy_stage(blots: Path, conv: bool) -> None:
    import torch

    from akkafka.cli.bench.peers.torch_1f1b import module_of

    made = job(blots, conv=conv)
    x = Samples.of(made).x[:16]
    stage = Stage.of(made, 0)
    with torch.no_grad():
        theirs = module_of(torch, made.layers[0], stage.params)(torch.from_numpy(x)).numpy()
    assert np.allclose(stage.infer(x), theirs, rtol=1e-4, atol=1e-5)


@needs_torch
def test_torchs_pipeline_trains_synchronously_on_whole_batches(blots: Path) -> None:
    """Weights end where a plain loop over the same batches ends: the schedule changes when, not what."""
    made = replace(job(blots, conv=False, epochs=2), micro_batches=4, target=0.6)
    made.write(blots / "torch.json")
    command = [sys.executable, "-m", "akkafka.cli.bench.peers", "torch_1f1b", str(blots / "torch.json")]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=300, text=True).stdout
    result = Result.of(json.loads(said.splitlines()[-1]))
    assert [samples for _, samples in result.home] == [16] * 40
    stages = [Stage.of(made, i) for i in range(3)]
    sums = [0.0, 0.0]
    whole = [batch for batch in Samples.of(made).batches(16) if len(batch[2]) == 16]
    for number, (epoch, pixels, targets) in enumerate(whole):
        x = stages[0].forward(number, pixels)
        for stage in stages[1:]:
            x = stage.forward(number, x)
        loss, gradient = cross_entropy(x, targets)
        sums[epoch] += loss / 20
        back: F32 | None = gradient
        for stage in reversed(stages):
            assert back is not None
            back = stage.backward(number, back)
    assert result.losses == pytest.approx(sums, rel=1e-3)
    assert result.validation_accuracy > 0.9
    assert 0 < result.reached < 40 and result.begun < result.home[0][0]


def test_a_target_is_reached_with_the_first_kept_weights_that_have_it(blots: Path) -> None:
    made = replace(job(blots, conv=False), target=0.9)
    samples, stages = Samples.of(made), [Stage.of(made, i) for i in range(3)]
    begin = [stage.params for stage in stages]
    result = in_process.trained(made, stages, Result())
    good = [stage.kept[20] for stage in stages]
    assert result.reached > 0 and sorted(stages[0].kept) == [5, 10, 15, 20]
    kept = [{20: learnt, 5: first, 15: learnt, 10: first} for first, learnt in zip(begin, good, strict=True)]
    assert first_reaching(made, stages, kept, samples) == 15
    assert [stage.params for stage in stages] == good


def test_a_target_that_is_out_of_reach_is_never_reached(blots: Path) -> None:
    made = job(blots, conv=False)
    assert in_process.run(replace(made, target=1.01)).reached == 0
    assert in_process.run(made).reached == 0
    assert layers.run(replace(made, target=0.5)).reached > 0 == layers.run(made).reached


def test_networks_by_name_can_be_done_by_peers() -> None:
    for net in NETS:
        definition = load_config(config_of(None, net)).definition
        assert len(reduced(definition).layers) == 3
    assert config_of(None, None) == Path("mnist") and config_of(Path("digits"), None) == Path("digits")


@pytest.mark.parametrize(("config", "net", "told"), [(None, "resnet", "no network 'resnet'"), ("a", "lenet", "--net")])
def test_a_network_that_is_not_there_is_told(config: str | None, net: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        config_of(Path(config) if config else None, net)
