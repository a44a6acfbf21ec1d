"""A batch whose computation ends the process, again and again, is left out, and the training gets past it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akkafka.audit.examine import examine
from akkafka.audit.report import facts_of
from akkafka.broker.network import find
from akkafka.nn.allow import allow_packages
from akkafka.nn.spec import LAYERS

from ..conftest import Run
from .fleet import Processes, connected

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

BATCHES = 8
MARK = 1000.0  # all numbers of one sample; the others are of the size of 1
LAYER = '''
import os, signal
from dataclasses import dataclass
from typing import Literal

import numpy as np

from akkafka.nn.layers.samewise import Samewise, float32_only
from akkafka.nn.spec import LAYERS, LayerSpec


class DeadlySpec(LayerSpec):
    """As a fault in somebody's native code would be."""

    type: Literal["deadly"] = "deadly"
    """Ends the process that computes a certain sample."""
    direction: Literal["forward", "backward"] = "forward"
    """In which pass."""

    def build(self, in_shape, in_dtype):
        return Deadly(float32_only("deadly", in_shape, in_dtype), self.direction)


@dataclass(frozen=True, slots=True)
class Deadly(Samewise):
    direction: str

    def forward(self, params, x, run):
        self._look(x, "forward")
        return x, x

    def backward(self, params, tape, dy, *, need_dx=True):
        self._look(tape, "backward")
        return (dy if need_dx else None), {}

    def _look(self, x, direction):
        if direction == self.direction and np.abs(x).max() > 100.0:
            os.kill(os.getpid(), signal.SIGSEGV)


LAYERS["deadly"] = DeadlySpec
'''
CONFIG = """
name = "deadly"
batch_size = 8

[data]
name = "npz:marked.npz"

[optimizer]
type = "sgd"
lr = 0.01

[schedule]
window = 3

[[gate]]
name = "first"
layers = [{ type = "linear", out = 4 }, { type = "deadly", direction = "DIRECTION" }]

[[gate]]
name = "second"
layers = [{ type = "linear", out = 2 }]

[run]
epochs = 1
"""


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with the package, and data of which one sample is far from all others."""
    folder = tmp_path / "own"
    (folder / "deadly_layer").mkdir(parents=True)
    (folder / "deadly_layer" / "__init__.py").write_text(LAYER)
    monkeypatch.syspath_prepend(folder)
    yield folder
    LAYERS.pop("deadly", None)
    sys.modules.pop("deadly_layer", None)


async def audited(bootstrap: str, name: str) -> dict[str, Any]:
    """What `akkafka audit --json` says."""
    async with connected(bootstrap) as broker:
        network = await find(broker, name)
        assert network is not None
        return facts_of(await examine(broker, network))


@pytest.mark.parametrize(("direction", "left_out"), [("forward", "voided"), ("backward", "zeroed")])
def test_a_batch_that_ends_its_processes_is_left_out_and_the_training_ends_well(
    direction: str, left_out: str, deadly: Path, processes: Processes, run: Run, unique: Callable[[], str]
) -> None:
    x = np.random.default_rng(0).normal(size=(8 * BATCHES, 4)).astype(np.float32)
    x[17] = MARK
    y = np.arange(8 * BATCHES) % 2
    np.savez(deadly / "marked.npz", x=x, y=y, x_val=x[:8], y_val=y[:8])
    (deadly / "deadly.toml").write_text(CONFIG.replace("DIRECTION", direction))
    name = unique()
    trainer = processes.start(
        *("__main__", "train", str(deadly / "deadly.toml"), "--network", name, "--allow", "deadly_layer"),
        *("--bootstrap-servers", processes.bootstrap, "--data-dir", str(deadly)),
        *("--report", str(deadly / "report.json"), "--state-dir", str(deadly / "state")),
        env={"PYTHONPATH": str(deadly)},
    )
    assert run(trainer.exit_code(180.0)) == 0
    allow_packages(["deadly_layer"])
    facts = run(audited(processes.bootstrap, name))
    assert facts["holds"], facts["faults"]
    assert [sum(gate[left_out].values()) for gate in facts["gates"]] == [1, 1 if left_out == "voided" else 0]
    assert [sum(gate["voided"].values()) for gate in facts["gates"]] == [1 if left_out == "voided" else 0] * 2
    assert [sum(gate["applied"].values()) + sum(gate["voided"].values()) for gate in facts["gates"]] == [BATCHES] * 2
    assert f"its {direction} pass has ended 3 processes in a row" in json.dumps(facts)
    assert json.loads((deadly / "report.json").read_text())["finished"]
