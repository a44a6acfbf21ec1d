"""The job that peers get is the network that akkafka trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from akkafka.cli.bench.course import lay_out, reduced
from akkafka.cli.bench.peers.job import Job, Samples
from akkafka.cli.bench.peers.plain import Stage, cross_entropy
from akkafka.data import Cursor, Plan
from akkafka.errors import ConfigError
from akkafka.nn.layer import F32, Array, Pass, Tape
from akkafka.nn.losses import softmax_cross_entropy
from akkafka.optim.optimizer import Step
from akkafka.protocol.config import load_config
from akkafka.protocol.definition import Definition


def definition(folder: Path, *overrides: str) -> Definition:
    return load_config(folder / "blots.toml", overrides, data_dir=folder).definition


def laid_out(folder: Path, epochs: int) -> Job:
    made = lay_out(definition(folder), epochs, folder, folder)
    assert Job.read(folder / "job.json") == made
    return made


def test_batches_are_those_of_the_sentinel(blots: Path) -> None:
    samples = Samples.of(laid_out(blots, 2))
    plan = Plan(330, None, 16, definition(blots).seed)
    batches = list(samples.batches(16))
    assert len(batches) == 42
    for k, (epoch, pixels, targets) in enumerate(batches):
        ids = plan.ids(Cursor(*divmod(k, 21)))
        assert epoch == k // 21
        assert np.array_equal(pixels, samples.x[ids]) and np.array_equal(targets, samples.y[ids])


def test_stages_compute_what_gates_compute(blots: Path) -> None:
    """Ten batches through both, one at a time: weights stay the same but for the order of sums."""
    job, network = laid_out(blots, 1), definition(blots)
    stages = [Stage.of(job, i) for i in range(job.stages)]
    gates = [Gate(network, i) for i in range(job.stages)]
    rng = np.random.default_rng(1)  # the last weights begin at 0, which would hide a wrong gradient
    stages[-1].params["0.weight"] = rng.normal(size=stages[-1].params["0.weight"].shape).astype(np.float32)
    gates[-1].params["0.weight"] = stages[-1].params["0.weight"]
    for batch, (_, pixels, targets) in zip(range(10), Samples.of(job).batches(16), strict=False):
        ours, theirs = stages[0].forward(batch, pixels), gates[0].forward(pixels.reshape(-1, 4, 4))
        for stage, gate in zip(stages[1:], gates[1:], strict=True):
            ours, theirs = stage.forward(batch, ours), gate.forward(theirs)
        mean, dy = cross_entropy(ours, targets)
        loss = softmax_cross_entropy(theirs, targets)
        assert mean == pytest.approx(loss.loss, rel=1e-4)
        back: F32 | None = dy
        gradient: F32 | None = loss.dlogits
        for stage, gate in reversed(list(zip(stages, gates, strict=True))):
            assert back is not None and gradient is not None
            back, gradient = stage.backward(batch, back), gate.backward(batch, gradient)
    for stage, gate in zip(stages, gates, strict=True):
        assert stage.params.keys() == gate.params.keys()
        for name, array in gate.params.items():
            assert np.allclose(stage.params[name], array, rtol=1e-3, atol=1e-5)
            assert array.any()


class Gate:
    """Layers and optimizer of a gate as akkafka has them, one batch at a time."""

    def __init__(self, network: Definition, index: int) -> None:
        seed = np.random.SeedSequence(network.weights_seed(index))
        self.layer, self.first = network.layers[index], index == 0
        self.params = self.layer.init(np.random.Generator(np.random.PCG64(seed)))
        self.optimizer = network.gates[index].optimizer.build()
        self.tape: Tape = None

    def forward(self, x: Array) -> F32:
        y, self.tape = self.layer.forward(self.params, x, Pass(True, 0))
        return y

    def backward(self, version: int, dy: F32) -> F32 | None:
        dx, grads = self.layer.backward(self.params, self.tape, dy, need_dx=not self.first)
        step = Step(grads, self.params, staleness=0, version=version)
        self.params, _ = self.optimizer.update(self.params, {}, step)
        return dx


def test_a_gradient_meets_the_weights_that_its_batch_went_forward_with(blots: Path) -> None:
    stage = Stage.of(laid_out(blots, 1), 1)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(16, 8)).astype(np.float32)
    dy = rng.normal(size=(16, 6)).astype(np.float32)
    then = stage.params["0.weight"].copy()
    y = stage.forward(0, x)
    stage.forward(1, x)
    stage.backward(1, dy)  # moves the weights
    dx = stage.backward(0, dy)
    assert dx is not None and np.allclose(dx, (1.5 * dy * (y > -0.75)) @ then.T, rtol=1e-4)
    assert not np.allclose(stage.params["0.weight"], then)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("optimizer.weight_decay=0.1", "without weight decay"),
        ("lanes.train=2", "one training lane"),
    ],
)
def test_a_network_that_peers_cannot_do_is_refused(blots: Path, override: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        lay_out(definition(blots, override), 1, blots, blots)
    assert "mnist" in refused.value.hint


def test_a_layer_that_peers_do_not_have_is_refused_by_the_gates_name(blots: Path) -> None:
    changed(blots, '{ type = "linear", out = 6 }', '{ type = "dropout", p = 0.5 }')
    with pytest.raises(ConfigError, match="gate fc2 has layers dropout, relu, scale"):
        lay_out(definition(blots), 1, blots, blots)


def test_another_optimizer_is_refused(blots: Path) -> None:
    changed(blots, 'type = "sgd"\nlr = 0.5\nclip_norm = 0.3', 'type = "momentum"\nlr = 0.5')
    with pytest.raises(ConfigError, match="one SGD"):
        lay_out(definition(blots), 1, blots, blots)


def changed(folder: Path, old: str, new: str) -> None:
    """Put something else into the config."""
    text = (folder / "blots.toml").read_text(encoding="utf-8")
    assert old in text
    (folder / "blots.toml").write_text(text.replace(old, new), encoding="utf-8")


def test_the_config_that_is_measured_by_default_can_be_done() -> None:
    """Whoever changes the bundled mnist so that peers cannot follow finds it here."""
    assert reduced(load_config(Path("mnist")).definition)
