"""Which gates share a process, and how many threads each process may use, so that cores are never oversubscribed. Pure.

The cores are shared out among the gates, in whichever processes: on two cores with three gates each has one, a single
gate on eight cores has eight. The number is told by the variables that BLAS libraries go by, so it holds whatever a
gate does with it: it divides the rows of a batch among so many threads, with kernels and all, or where that can't be
done lets BLAS divide its products (gate/numerics.py). Sums are made in another order then, so the count is a part of
what a gate tells of itself (`numerics`): bits are compared between equal ones.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

from akkafka.protocol.ranges import each_once

BLAS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def cores_here() -> int:
    """Logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def threads_of(gates: int, cores: int) -> int:
    """Threads of each of so many gates: their sum is at most `cores`, but for one each."""
    return max(1, cores // gates)


def thread_caps(threads: int) -> Mapping[str, str]:
    """Environment variables, to be set before numpy comes in."""
    return {**dict.fromkeys(BLAS, str(threads)), "NUMBA_NUM_THREADS": "1"}


def processes_of(told: Sequence[str] | None, gates: int) -> list[str]:
    """What each process gets as `--layer`: one gate each unless told otherwise.

    Raises ConfigError unless `told` names each gate of the network once, in order: "0", "1-2", …
    """
    if told is None:
        return [str(gate) for gate in range(gates)]
    hint = f"Each gate once, in order; for all in one process: ['0-{gates - 1}']. `akkafka plan` proposes some."
    each_once("[run] processes", told, gates, hint)
    return list(told)
