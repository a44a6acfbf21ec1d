"""What the bits of a gate's numbers depend on besides its definition: BLAS, threads, numba, the processor.

A fold of journalled gradients is elementwise and the same everywhere; what is computed from data (outputs, gradients)
is the same only where this is (design, section 4). Told with a gate's figures and in a training's report.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info, threadpool_limits

from akkafka.nn.divided import by_row
from akkafka.nn.layer import Layer


def share_out(layers: Iterable[Layer]) -> int:
    """How many threads divide the rows of each batch of a process's layers: as many as BLAS was given.

    BLAS is left one, as it must not have threads besides. Where one of the layers can't be divided (nn/divided.py),
    BLAS keeps what it has, for all of them: its number is one for the whole process.
    """
    pool = numpys_blas(threadpool_info())
    threads = 1 if pool is None else pool["num_threads"]
    if threads == 1 or not all(map(by_row, layers)):
        return 1
    threadpool_limits(1, user_api="blas")
    return int(threads)


@cache
def numerics(threads: int = 1) -> str:
    """One line, such as `openblas 0.3.31 (Haswell), 1 thread; rows among 2 threads; numba 0.63.1; AMD EPYC`."""
    rows = f"; rows among {threads} threads" if threads > 1 else ""
    return f"{_blas()}{rows}; numba {version('numba')}; {_processor()}"


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
