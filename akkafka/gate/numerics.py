"""What the bits of a gate's numbers depend on besides its definition: BLAS, its threads, numba, the processor.

A fold of journalled gradients is elementwise and the same everywhere; what is computed from data (outputs, gradients)
is the same only where this is (design, section 4). Told with a gate's figures and in a training's report.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info


@cache
def numerics() -> str:
    """One line, such as `openblas 0.3.31 (Haswell), 1 thread; numba 0.63.1; AMD EPYC`."""
    return f"{_blas()}; numba {version('numba')}; {_processor()}"


def numpys_blas(pools: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The pool of threads behind numpy's products, of those that threadpoolctl finds: scipy brings its own BLAS."""
    blas = [pool for pool in pools if pool["user_api"] == "blas"]
    return next((pool for pool in blas if "numpy" in str(pool.get("filepath", ""))), blas[0] if blas else None)


def _blas() -> str:
    pool = numpys_blas(threadpool_info())
    if pool is None:
        return "BLAS unknown"
    count, kernels = pool["num_threads"], pool.get("architecture", "unknown")
    return f"{pool['internal_api']} {pool['version']} ({kernels}), {count} thread{'s' if count != 1 else ''}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
