"""Many schedules at once, a block of seeds to a process: what a test of thousands needs on more than one core."""

from __future__ import annotations

import gc
import os
import traceback
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from .life import live_seed

BLOCK = 50  # seeds: the last block of one process has nothing beside it


def failures(seeds: Iterable[int]) -> list[str]:
    """What is wrong with the lives of these seeds, if anything; each seed is a schedule to replay."""
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), initializer=_prepare) as pool:
        ordered = list(seeds)
        blocks = [ordered[i : i + BLOCK] for i in range(0, len(ordered), BLOCK)]
        return [told for block in pool.map(_block, blocks) for told in block]


def _prepare() -> None:
    """A life leaves few cycles behind and makes very many small objects: look for the former seldom."""
    warnings.simplefilter("error")
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _block(seeds: list[int]) -> list[str]:
    return [told for seed in seeds if (told := _failure(seed))]


def _failure(seed: int) -> str:
    try:
        live_seed(seed)
    except Exception:
        return f"seed {seed}:\n{traceback.format_exc()}"
    return ""
