"""What a gate tells about the bits of its numbers."""

from __future__ import annotations

import re

import numpy as np
from threadpoolctl import threadpool_limits

from akkafka.gate.numerics import numerics


def test_it_names_blas_its_threads_numba_and_the_processor() -> None:
    np.ones((2, 2), np.float32) @ np.ones((2, 2), np.float32)
    with threadpool_limits(1, user_api="blas"):
        told = numerics.__wrapped__()
    assert re.fullmatch(r"\w+ [\w.]+ \(.+\), 1 thread; numba [\d.]+\w*; .+", told)
    assert numerics() is numerics(), "looked at once: a beat tells it five times a second"
