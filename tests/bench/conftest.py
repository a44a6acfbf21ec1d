"""A network small enough that a peer trains it in a second: pixels of two sizes of blots, told apart by brightness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

CONFIG = """
name = "blots"
seed = 5
batch_size = 16

[data]
name = "npz:blots.npz"

[optimizer]
type = "sgd"
lr = 0.5
clip_norm = 0.3
schedule = { type = "warmup", updates = 10 }

[[gate]]
name = "fc1"
layers = [
  { type = "flatten" },
  { type = "scale", scale = 0.01, shift = -1.0 },
  { type = "linear", out = 8 },
  { type = "relu" },
]

[[gate]]
name = "fc2"
layers = [{ type = "linear", out = 6 }, { type = "relu" }, { type = "scale", scale = 1.5, shift = -0.75 }]

[[gate]]
name = "fc3"
layers = [{ type = "linear", out = 2, init = "zeros" }]

[run]
epochs = 2
"""


@pytest.fixture
def blots(tmp_path: Path) -> Path:
    """A directory with `blots.toml` and its data: 330 samples, so 21 batches an epoch, the last one smaller."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 430)
    x = (rng.integers(0, 100, (430, 4, 4)) + 120 * y[:, None, None]).astype(np.uint8)
    np.savez(tmp_path / "blots.npz", x=x[:330], y=y[:330], x_val=x[330:], y_val=y[330:])
    (tmp_path / "blots.toml").write_text(CONFIG, encoding="utf-8")
    return tmp_path
