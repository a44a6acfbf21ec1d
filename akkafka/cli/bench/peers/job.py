"""What every peer is given and what it gives back: the same samples in the same order, the same first weights.

Read by peers in environments of their own, so this room knows nothing but numpy and the standard library.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Op = dict[str, Any]  # {"type": …, settings …}: what a layer does, in akkafka's words (plain.py knows them)
F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Job:
    """A training to be run. Arrays lie as .npy files in `folder`: see `Samples` and `first_weights`."""

    folder: str
    batch_size: int
    window: int  # batches in flight at most
    layers: tuple[tuple[Op, ...], ...]  # by stage, in order
    clip_norm: float | None  # 2-norm that a stage's gradient is cut down to
    rates: tuple[float, ...]  # learning rate of every update; their number is that of the batches
    threads: int = 1  # of BLAS, in a peer that is one process
    micro_batches: int = 4  # of a peer that cuts batches up
    definition: str = ""  # canonical JSON, for the peer that is akkafka's own layers
    target: float = 0.0  # validation accuracy whose time is looked for; 0: none is

    @property
    def keep_every(self) -> int:
        """Updates from one set of weights that is kept to the next, validated once the clock has stopped; 0: none.

        Twelve in an epoch of MNIST in batches of 1024.
        """
        return 5 if self.target else 0

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Job:
        """What `write` left."""
        told = json.loads(path.read_text(encoding="utf-8"))
        return cls(**told | {"layers": tuple(map(tuple, told["layers"])), "rates": tuple(told["rates"])})

    @property
    def stages(self) -> int:
        """How many stages the pipeline has, each one of akkafka's gates."""
        return len(self.layers)


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Pixels (N, *shape) uint8, class numbers (N,) int64, and which rows each epoch's batches take."""

    x: U8
    y: NDArray[np.int64]
    order: NDArray[np.uint32]  # (epochs, N): an epoch's rows, shuffled
    x_validation: U8
    y_validation: NDArray[np.int64]

    @classmethod
    def of(cls, job: Job) -> Samples:
        """Read into memory, whole."""
        folder = Path(job.folder)
        x, y, order, x_validation, y_validation = (
            np.load(folder / f"{name}.npy") for name in ("x", "y", "order", "x_validation", "y_validation")
        )
        return cls(x, y, order, x_validation, y_validation)

    def batches(self, batch_size: int) -> Iterator[tuple[int, U8, NDArray[np.int64]]]:
        """(epoch, pixels, class numbers) of every batch, copied when asked for; an epoch's last may be smaller."""
        for epoch, rows in enumerate(self.order):
            for first in range(0, len(rows), batch_size):
                chosen = rows[first : first + batch_size]
                yield epoch, self.x.take(chosen, axis=0), self.y.take(chosen)


def first_weights(job: Job) -> list[dict[str, F32]]:
    """Weights and biases of each stage by "<position>.weight" and "<position>.bias", as the definition's seed has it.

    linear: (n_in, n_out), (n_out,). conv2d: (out, in, height, width), (out,).
    """
    return [dict(np.load(Path(job.folder) / f"weights{i}.npz")) for i in range(job.stages)]


@dataclass(slots=True)
class Result:
    """What a peer did. Printed as one line of JSON, the last one."""

    home: list[tuple[int, int]] = field(default_factory=list)  # (ns of wall clock, samples) of each finished batch
    losses: list[float] = field(default_factory=list)  # by epoch, mean over its samples
    validation_accuracy: float = 0.0
    begun: int = 0  # ns of wall clock, before the first batch
    reached: int = 0  # updates after which the job's target was first seen; 0: never, or there is none
    versions: dict[str, str] = field(default_factory=dict)  # of what it is made of

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, told: dict[str, Any]) -> Result:
        """From the parsed line."""
        return cls(**told | {"home": [(int(ns), int(samples)) for ns, samples in told["home"]]})
