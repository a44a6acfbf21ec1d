"""Masks of dropout as a function of (key, element index), drawn again on the way back instead of being kept.

Word w of a key of 128 bits (low, high) is mix(mix(low + (w+1)·GAMMA) ^ high), all modulo 2**64, with the
finalizer and the increment of SplitMix64. An element with index i in C order takes the lower (i even) or
upper (i odd) half of word i // 2 and is kept if that is below `threshold` = fraction kept · 2**32. Integer
arithmetic alone: the same bits on every machine, for ever. Nothing is checked here.

Source: Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014 (mix64 variant 13 of
Stafford).
"""

from __future__ import annotations

import numpy as np

from akkafka.nn.kernels.machine import compiled, f32, f32_1d, in_f32_1d, nothing, u64
from akkafka.nn.layer import F32

GAMMA = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
LOWER = np.uint64(0xFFFFFFFF)
S27, S30, S31, S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)


@compiled(u64, u64)
def mix(z: np.uint64) -> np.uint64:
    """SplitMix64's finalizer: a bijection of 64 bits."""
    z = (z ^ (z >> S30)) * MIX_1
    z = (z ^ (z >> S27)) * MIX_2
    return z ^ (z >> S31)


@compiled(u64, u64, u64, u64)
def word(low: np.uint64, high: np.uint64, index: np.uint64) -> np.uint64:
    """64 random bits: number `index` of the key (low, high)."""
    return mix(mix(low + (index + np.uint64(1)) * GAMMA) ^ high)


@compiled(nothing, in_f32_1d, u64, u64, u64, f32, f32_1d)
def drop(x: F32, low: np.uint64, high: np.uint64, threshold: np.uint64, scale: np.float32, out: F32) -> None:
    """out[i] = x[i] * scale where element i of the key's mask is kept, else 0; `x` and `out` flat, of one
    length."""
    zero = np.float32(0)
    pairs = x.size // 2
    for w in range(pairs):
        bits = word(low, high, np.uint64(w))
        out[2 * w] = x[2 * w] * scale if (bits & LOWER) < threshold else zero
        out[2 * w + 1] = x[2 * w + 1] * scale if (bits >> S32) < threshold else zero
    if x.size % 2:
        bits = word(low, high, np.uint64(pairs))
        out[x.size - 1] = x[x.size - 1] * scale if (bits & LOWER) < threshold else zero
