"""Which gates share a process, and how many threads each process may use, so that cores are never oversubscribed. Pure.

Each gate has one compute thread, whose BLAS may split a product among several; numba's kernels have one. So the cores
are shared out among the gates, in whichever processes: on two cores with three gates each has one, a single gate on
eight cores has eight. BLAS adds up in another order with another number of threads, so the count is a part of what a
gate tells of itself (`numerics`): bits are compared between equal ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Final

from akkafka.errors import ConfigError

BLAS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_RANGE = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?")


def cores_here() -> int:
    """Logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def threads_of(gates: int, cores: int) -> int:
    """BLAS threads of each of so many gates: their sum is at most `cores`, but for one each."""
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
    named: list[int] = []
    for text in told:
        hosted = gates_in(text)
        if not hosted:
            raise ConfigError(
                f"[run] processes: {text!r} is neither a gate nor a range such as '1-2'", hint=_hint(gates)
            )
        named += hosted
    if named != list(range(gates)):
        raise ConfigError(
            f"[run] processes = {list(told)} names gates {named}, the network has 0 to {gates - 1}", hint=_hint(gates)
        )
    return list(told)


def gates_in(layers: str) -> range:
    """The gates that a process hosts by its `--layer`; empty for what is neither a number nor a range."""
    match = _RANGE.fullmatch(layers)
    return range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)


def _hint(gates: int) -> str:
    return f"Each gate once, in order; for all in one process: ['0-{gates - 1}']. `akkafka plan` proposes some."
