"""`akkafka bench kernels`: finds or makes an environment with PyTorch, races there, prints the table."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from akkafka.cli.bench.environment import python_of
from akkafka.cli.bench.machine import machine
from akkafka.cli.console import say, table
from akkafka.cli.training.children import ONE_THREAD
from akkafka.cli.training.report import check_writable, write_json
from akkafka.errors import AkkafkaError, ConfigError

PACKAGE: Final = Path(__file__).resolve().parents[3]
NEEDED: Final = ("numpy", "numba", "llvmlite", "pydantic", "scikit-learn", "msgpack", "pooch", "platformdirs")
TORCH: Final = "torch>=2.6,<3"
HEAD: Final = ("case", "shape", "akkafka", "torch", "of torch's", "numpy", "of numpy's")


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    only: tuple[str, ...]  # cases whose names have one of these words; all if empty
    rounds: int
    out: Path | None


def kernels(request: Request) -> None:
    """Run it and print the table; raises AkkafkaError for what is wrong."""
    check_writable(request.out)
    found = raced(python(), request)
    if not found["rows"]:
        raise ConfigError(f"--only {' '.join(request.only)}: no case has such a name")
    here = machine()
    print("\n".join(lines_of(found["rows"])))
    print(
        f"\nmedians of {request.rounds} rounds, microseconds of CPU, one thread; ratios: medians of the rounds' ratios"
    )
    print(f"machine: {here.line}; torch {found['torch']}", flush=True)
    if request.out is not None:
        write_json(request.out, {"rounds": request.rounds, "machine": here.facts(), **found})
        say(f"figures: {request.out}")


def python() -> Path:
    """This interpreter if it has PyTorch, else that of an environment with the same versions of all else."""
    if importlib.util.find_spec("torch") is not None:
        return Path(sys.executable)
    same = [f"{name}=={importlib.metadata.version(name)}" for name in NEEDED]
    return python_of("torch", (TORCH, *same), say)


def raced(interpreter: Path, request: Request) -> Mapping[str, Any]:
    """What the race prints; its progress comes through. Raises AkkafkaError if it fails."""
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory(prefix="akk-") as name:
        job = Path(name) / "job.json"
        job.write_text(json.dumps({"only": list(request.only), "rounds": request.rounds}), encoding="utf-8")
        done = subprocess.run(
            [str(interpreter), "-m", "akkafka.cli.bench.kernels.race", str(job)],
            env=os.environ | ONE_THREAD | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise AkkafkaError(f"the race ended with exit code {done.returncode}, see above")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def lines_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table."""
    return table(HEAD, [_cells(row) for row in rows])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    took = row["microseconds"]
    plain = (f"{took['numpy']:.0f}", f"{row['ratio_to_numpy']:.2f}") if "numpy" in took else ("", "")
    ours, theirs = f"{took['akkafka']:.0f}", f"{took[row['fastest_torch']]:.0f}"
    return row["case"], row["shape"], ours, theirs, f"{row['ratio_to_torch']:.2f}", *plain
