"""The figures that a training leaves: steady rate, hashes of weights, the report's JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akkafka.cli.training.board import Board
from akkafka.errors import ConfigError

WARM_SHARE = 0.2  # of the batches are taken as warm-up
WARM_LEAST = 10  # batches at least


@dataclass(frozen=True, slots=True)
class Rate:
    """Samples a second in steady state, and what was cut off before it."""

    samples_per_second: float
    cut: int  # batches taken as warm-up
    counted: int  # batches behind them
    seconds: float  # that those took
    searched: bool = False  # what was cut off is the search for a window

    @property
    def said(self) -> str:
        """How it was measured."""
        if not self.counted:
            return f"not measured: fewer than {WARM_LEAST + 2} batches came home"
        why = "the search for a window" if self.searched else f"{WARM_SHARE:.0%}, at least {WARM_LEAST}"
        return (
            f"{self.counted} batches in {self.seconds:.3f} s, by the times they came home; "
            f"cut as warm-up: the first {self.cut} batches ({why})"
        )


def steady_rate(portions: Sequence[tuple[int, int]], each: int = 1, settled_ns: int = 0) -> Rate:
    """From (home in ns of wall clock, samples) of every `each` batches: the samples behind the warm-up over the time
    they took.

    The clock starts when the last batch of the warm-up is home. No rate for fewer than two portions behind it.
    `settled_ns`: when a window was found; what came home before is warm-up, too, if enough came home behind it.
    """
    ordered = sorted(portions)
    usual = max(WARM_LEAST, int(len(ordered) * WARM_SHARE))
    searched = sum(home <= settled_ns for home, _ in ordered)
    cut = searched if usual < searched <= len(ordered) - WARM_LEAST else usual
    rest = ordered[cut:]
    if len(rest) < 2:
        return Rate(0.0, min(cut, len(ordered)) * each, 0, 0.0)
    seconds = (rest[-1][0] - ordered[cut - 1][0]) / 1e9
    samples = sum(count for _, count in rest)
    rate = samples / seconds if seconds > 0 else 0.0
    return Rate(rate, cut * each, len(rest) * each, seconds, searched=cut > usual)


def rate_of(board: Board) -> Rate:
    """Of the training that is on the board."""
    return steady_rate(board.homes.portions, board.homes.each, board.settled_ns)


Weights = Mapping[str, NDArray[Any]]


def weights_sha256(weights: Weights) -> str:
    """sha256 (hex) over names in order, each with its shape and its numbers as little-endian float32, C order."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = weights[name]
        digest.update(f"{name}{tuple(int(n) for n in array.shape)}".encode())
        digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()


def write_weights(path: Path, gates: Mapping[str, Weights]) -> None:
    """An .npz with a member "<gate>.<param>" for each array; raises ConfigError if it cannot be written."""
    arrays = {f"{gate}.{name}": array for gate, weights in gates.items() for name, array in weights.items()}
    with _writing(path).open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the keywords for its own flag


def write_json(path: Path, figures: Mapping[str, Any]) -> None:
    """The report; raises ConfigError if it cannot be written."""
    _writing(path).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def check_writable(path: Path | None) -> None:
    """Raise ConfigError now rather than after the training."""
    if path is not None:
        was_there = path.exists()
        with _writing(path).open("ab"):
            pass
        if not was_there:
            path.unlink()


def _writing(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}", hint="Name another file.") from error
    return path


def figures(board: Board, hashes: Mapping[int, str], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The report, metrics by their names: accuracy, or what tells more of this network (mae, perplexity, top-5).

    `facts`: what is not on the board (network, definition_hash, seed, broker, wall_seconds, …).
    """
    rate = rate_of(board)
    return {
        **facts,
        "samples_per_second": rate.samples_per_second,
        "samples_per_second_measured": rate.said,
        "windows": [{"window": found.window, "why": found.why} for found in board.windows.values()],
        "epochs": [
            {
                "epoch": line.epoch,
                "loss": line.loss,
                **line.metrics,
                "seconds": line.seconds,
                "samples": line.samples,
            }
            for line in board.epochs
        ],
        "validations": [
            {
                "seconds": line.seconds,
                "loss": line.loss,
                **line.metrics,
                "versions": [list(pair) for pair in line.versions],
                "samples": line.samples,
                "took": line.took_s,
            }
            for line in board.passes
        ],
        "gates": [
            {
                "gate": gate,
                "name": row.name,
                "updates": row.updates,
                "version": row.version,
                "staleness_mean": row.staleness_mean,
                "staleness_max": row.staleness_max,
                "voids": row.voids,
                "zeroed": row.zeroed,
                "busy": row.busy,
                "rss_bytes": row.rss_bytes,
                "numerics": row.numerics,
                "weights_sha256": hashes.get(gate, ""),
            }
            for gate, row in sorted(board.gates.items())
        ],
    }
