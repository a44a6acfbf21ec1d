"""What figures depend on besides the program: the machine, what it is busy with, versions."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from threadpoolctl import threadpool_info

from akkafka import __version__
from akkafka.gate.numerics import numpys_blas

QUIET = 0.5  # load, or busy cores: above it the machine was not quiet
LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Calm:
    """How busy the machine was before a round."""

    load: float  # load average over one minute; behind a round of ours that round is still in it
    busy_cores: float  # over one second, with nothing of ours running

    @property
    def quiet(self) -> bool:
        """Whether nobody else took a notable share at that moment."""
        return self.busy_cores <= QUIET


def calm() -> Calm:
    """Look for a second."""
    busy = psutil.cpu_percent(interval=LOOK_S) / 100 * (os.cpu_count() or 1)
    return Calm(os.getloadavg()[0], busy)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the bench ran."""

    system: str
    processor: str
    cores: int  # logical ones that this process may use
    memory_bytes: int
    python: str
    akkafka: str
    numpy: str
    blas: str

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @property
    def line(self) -> str:
        """For people."""
        return (
            f"{self.processor}, {self.cores} cores, {self.memory_bytes / 2**30:.0f} GiB; {self.system}; "
            f"Python {self.python}, akkafka {self.akkafka}, numpy {self.numpy}, {self.blas}"
        )


def machine() -> Machine:
    """This one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return Machine(
        f"{platform.system()} {platform.release()}",
        _processor(),
        cores,
        psutil.virtual_memory().total,
        platform.python_version(),
        __version__,
        np.__version__,
        _blas(),
    )


def _processor() -> str:
    """The model's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _blas() -> str:
    """The library behind numpy's matrix products, and the kernels that it chose."""
    pool = numpys_blas(threadpool_info())
    if pool is None:
        return "BLAS unknown"
    return f"{pool['internal_api']} {pool['version']} ({pool.get('architecture', 'unknown')})"
