"""What a gate tells about the bits of its numbers."""

from __future__ import annotations

import re

import numpy as np
from threadpoolctl import threadpool_limits

from akkafka.gate.numerics import numerics, numpys_blas


def test_it_names_blas_its_threads_numba_and_the_processor() -> None:
    np.ones((2, 2), np.float32) @ np.ones((2, 2), np.float32)
    with threadpool_limits(1, user_api="blas"):
        told = numerics.__wrapped__()
    assert re.fullmatch(r"\w+ [\w.]+ \(.+\), 1 thread; numba [\d.]+\w*; .+", told)
    assert numerics() is numerics(), "looked at once: a beat tells it five times a second"


def test_of_several_libraries_it_is_numpys_in_whatever_order_they_came() -> None:
    """scikit-learn brings scipy's, in the processes that load data."""
    scipys = {"user_api": "blas", "filepath": "/lib/scipy.libs/libscipy_openblas.so"}
    numpys = {"user_api": "blas", "filepath": "/lib/numpy.libs/libscipy_openblas64_.so"}
    openmp = {"user_api": "openmp", "filepath": "/lib/numpy/libgomp.so"}
    assert numpys_blas([openmp, scipys, numpys]) is numpys and numpys_blas([numpys, scipys]) is numpys
    assert numpys_blas([openmp, scipys]) is scipys, "numpy was built against the system's"
    assert numpys_blas([openmp]) is None
