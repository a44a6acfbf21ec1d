"""Chance that is the same on every machine for ever: hashed counters instead of a generator's stream.

numpy may change the streams of its generators between releases (NEP 19); a network's log must mean the same
in ten years.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from akkafka.errors import ConfigError

_MASK = 2**64 - 1
_GAMMA = 0x9E3779B97F4A7C15
_M1 = 0xBF58476D1CE4E5B9
_M2 = 0x94D049BB133111EB


def mix(z: int) -> int:
    """The finalizer of splitmix64, a bijection of the 64-bit integers.

    Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", variant 13 of D.
    Stafford.
    """
    z = ((z ^ (z >> 30)) * _M1) & _MASK
    z = ((z ^ (z >> 27)) * _M2) & _MASK
    return z ^ (z >> 31)


def keys(n: int, seed: int, epoch: int) -> NDArray[np.uint64]:
    """(n,) uint64, key i = splitmix64 output i of the stream that starts at a hash of (seed, epoch).

    All n keys differ, as `mix` is a bijection of distinct counters.
    """
    return _outputs(np.arange(1, n + 1, dtype=np.uint64), seed, epoch)


def digest(ids: NDArray[np.integer[Any]], epoch: int) -> int:
    """Sum modulo 2**64 of a hash of (epoch, id): the same in any order, another one if an id is lost or comes twice.

    A sum, as exclusive-or would take two copies of an id for none; the epoch is hashed too, so that an id lost in one
    epoch and doubled in another does not cancel out. Not against forgers: against faults.
    """
    return int(_outputs(ids.astype(np.uint64) + np.uint64(1), 0, epoch).sum(dtype=np.uint64))


def _outputs(counters: NDArray[np.uint64], seed: int, epoch: int) -> NDArray[np.uint64]:
    """Output number c of the stream for each counter c; `counters` is written over."""
    start = mix(((mix((seed + _GAMMA) & _MASK) ^ epoch) + _GAMMA) & _MASK)
    z = counters
    z *= np.uint64(_GAMMA)  # wraps, as it must
    z += np.uint64(start)
    z ^= z >> np.uint64(30)
    z *= np.uint64(_M1)
    z ^= z >> np.uint64(27)
    z *= np.uint64(_M2)
    z ^= z >> np.uint64(31)
    return z


def permutation(n: int, seed: int, epoch: int) -> NDArray[np.uint32]:
    """The order of n samples in an epoch: (n,) uint32, each of 0…n-1 once, read-only; the argsort of `keys`.

    4 ms for n = 60000. Raises ConfigError unless 0 < n < 2**32 and seed and epoch are 64-bit unsigned
    integers.
    """
    if not 0 < n < 2**32:
        raise ConfigError(f"a permutation is of 1 to {2**32 - 1} samples, got {n}")
    for name, value in (("seed", seed), ("epoch", epoch)):
        if not 0 <= value <= _MASK:
            raise ConfigError(f"{name} must be 0 to 2**64 - 1, got {value}")
    order = np.argsort(keys(n, seed, epoch), kind="stable").astype(np.uint32)
    order.flags.writeable = False
    return order
