"""Who akkafka is measured against: a peer is a file with a function `run(job) -> Result`, and a row in this table.

A peer's file knows numpy, the standard library, `job.py` and `plain.py`, and imports what it is about inside `run`: it
runs in an environment that has nothing else. This package and those above it import nothing for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """One row."""

    module: str  # in this package
    about: str  # for the table
    requirements: tuple[str, ...] = ()  # for pip, beside akkafka's own numpy; none: akkafka's own Python will do
    at_hand: str = ""  # a package: if akkafka's own Python has it, that will do as well
    threads: int = 1  # of BLAS in each of its processes
    micro_batches: int = 4  # where batches are cut up
    cuts: bool = False  # it cuts batches up, into as many as it has stages, or more


_TORCH = ("torch>=2.6,<3",)

PEERS: dict[str, Peer] = {
    "ray": Peer(
        "ray_actors",
        "bare pipeline of Ray actors, one for each layer, and a driver",
        # pip resolves it on Python 3.11 to 3.14; older ones have not been tried
        ("ray>=2.60,<3",),
    ),
    "torch-2": Peer(
        "torch_1f1b", "torch's 1F1B over gloo, 2 micro-batches", _TORCH, "torch", micro_batches=2, cuts=True
    ),
    "torch-4": Peer(
        "torch_1f1b", "torch's 1F1B over gloo, 4 micro-batches", _TORCH, "torch", micro_batches=4, cuts=True
    ),
    "torch-8": Peer(
        "torch_1f1b", "torch's 1F1B over gloo, 8 micro-batches", _TORCH, "torch", micro_batches=8, cuts=True
    ),
    "in-process": Peer("in_process", "numpy in one process, one thread, synchronous"),
    "in-process-2": Peer("in_process", "numpy in one process, BLAS on two threads, synchronous", threads=2),
    "layers": Peer("layers", "akkafka's own layers in one process, one thread, synchronous"),
}
