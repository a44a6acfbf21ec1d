"""Digits with noise, as an example of a data source of one's own: a function from a split to its arrays."""

from __future__ import annotations

import numpy as np

from akkafka.data import SPLITS, DataSpec, LoadContext, Split, load
from akkafka.data.source import Arrays

NOISE = 3  # of 16: a person still reads them
SEED = 1312


def load_noisy_digits(split: Split, context: LoadContext) -> Arrays:
    """x uint8 (N, 64) from 0 to 16, y uint8 (N,): the digits with -NOISE to NOISE added to each pixel.

    A function of the split alone: sentinels on several machines share lanes only if they read the same samples, and
    compare fingerprints to make sure of it.
    """
    clean = load(DataSpec(name="digits"), split, data_dir=context.data_dir, cache_dir=context.cache_dir)
    rng = np.random.default_rng((SEED, SPLITS.index(split)))
    noise = rng.integers(-NOISE, NOISE + 1, clean.x.shape, dtype=np.int8)
    noisy = np.clip(clean.x.astype(np.int8) + noise, 0, 16).astype(np.uint8)
    return noisy, np.ascontiguousarray(clean.y)
