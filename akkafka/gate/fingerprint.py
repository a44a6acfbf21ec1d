"""One hash over all arrays of a state, to compare what a gate has in memory with what the log makes of it."""

from __future__ import annotations

import hashlib

import numpy as np

from akkafka.gate.state import GateState, Params


def fingerprint(state: GateState) -> str:
    """blake2b (16 bytes, hex) over weights and optimizer state: names, dtypes, shapes and bits; 1 ms for a megabyte."""
    digest = hashlib.blake2b(digest_size=16)
    for group, arrays in (("weights", state.params), ("optimizer", state.optimizer)):
        _add(digest, group, arrays)
    return digest.hexdigest()


def _add(digest: hashlib.blake2b, group: str, arrays: Params) -> None:
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{group}/{name}/{array.dtype.str}/{array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
