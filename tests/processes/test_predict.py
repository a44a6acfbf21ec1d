"""`akkafka predict` through live gates: tokens, images and measurements go in, and come out as what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from akkafka.nn.layer import Pass
from akkafka.protocol.config import load_config
from tests.conftest import Run
from tests.processes.fleet import Processes

pytestmark = pytest.mark.kafka

TEXT = """
name = "text"
batch_size = 8
data = { name = "topics:8" }
optimizer = { type = "sgd", lr = 0.1 }
[[gate]]
name = "first"
layers = [{ type = "embedding", count = 97, out = 6 }, { type = "lstm", out = 5 }]
[[gate]]
name = "last"
layers = [{ type = "each", layers = [{ type = "linear", out = 97 }] }]
"""
IMAGES = """
name = "images"
batch_size = 8
data = { name = "mnist" }
optimizer = { type = "sgd", lr = 0.1 }
[[gate]]
name = "first"
layers = [{ type = "scale", scale = 0.01 }, { type = "conv2d", out = 2, kernel = 5, stride = 4 }, { type = "relu" }]
[[gate]]
name = "last"
layers = [{ type = "flatten" }, { type = "linear", out = 10 }]
"""
REGRESSION = """
name = "regression"
loss = "mse"
batch_size = 8
data = { name = "diabetes" }
optimizer = { type = "sgd", lr = 0.1 }
[[gate]]
name = "first"
layers = [{ type = "linear", out = 4 }, { type = "tanh" }]
[[gate]]
name = "last"
layers = [{ type = "linear", out = 1 }]
"""


def in_process(config: Path, x: NDArray[Any]) -> NDArray[Any]:
    """What the layers of version 0 give for x."""
    definition = load_config(config).definition
    for gate, layer in enumerate(definition.layers):
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(definition.weights_seed(gate))))
        x = layer.forward(layer.init(rng), np.ascontiguousarray(x, layer.in_dtype), Pass(False, 0))[0]
    return x


@pytest.mark.parametrize(
    ("config", "x", "label"),
    [
        (TEXT, np.random.default_rng(1).integers(0, 97, (5, 8)), (5, 8)),  # int64, as numpy makes them
        (IMAGES, np.random.default_rng(2).integers(0, 256, (5, 1, 28, 28), np.uint8), (5,)),
        (REGRESSION, np.random.default_rng(3).standard_normal((5, 10)), None),
    ],
    ids=["tokens", "images", "regression"],
)
def test_each_kind_of_data_is_predicted_as_the_layers_do(
    config: str,
    x: NDArray[Any],
    label: tuple[int, ...] | None,
    processes: Processes,
    unique: Callable[[], str],
    tmp_path: Path,
    run: Run,
) -> None:
    path, source, out, name = tmp_path / "n.toml", tmp_path / "x.npz", tmp_path / "y.npz", unique()
    path.write_text(config)
    np.savez(source, x=x)

    async def predicted() -> None:
        define = processes.start("__main__", "define", str(path), "--network", name)
        assert await define.exit_code() == 0, define.printed
        processes.gate(name, 0, 1)
        predict = processes.start("__main__", "predict", "--network", name, "--in", str(source), "--out", str(out))
        assert await predict.exit_code() == 0, processes.told()

    run(predicted())
    with np.load(out) as held:
        y, labels = held["y"], held.get("label")
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, in_process(path, x), rtol=1e-5, atol=1e-6)  # BLAS may have other threads here
    assert (None if labels is None else labels.shape) == label
    if labels is not None:
        assert np.array_equal(labels, y.argmax(axis=-1))
