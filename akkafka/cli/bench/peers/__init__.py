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


PEERS: dict[str, Peer] = {
    "ray": Peer(
        "ray_actors",
        "bare pipeline of Ray actors, one for each layer, and a driver",
        # pip resolves it on Python 3.11 to 3.14; older ones have not been tried
        ("ray>=2.60,<3",),
    ),
    "in-process": Peer("in_process", "numpy in one process, one thread, synchronous"),
}
