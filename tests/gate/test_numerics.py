"""What a gate tells about the bits of its numbers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from akkafka.cli.training.placement import BLAS, cores_here
from akkafka.gate.numerics import numerics, numpys_blas


def test_it_names_blas_its_threads_numba_and_the_processor() -> None:
    np.ones((2, 2), np.float32) @ np.ones((2, 2), np.float32)
    with threadpool_limits(1, user_api="blas"):
        told, among = numerics.__wrapped__(), numerics.__wrapped__(3)
    assert re.fullmatch(r"\w+ [\w.]+ \(.+\), 1 thread; numba [\d.]+\w*; .+", told)
    assert among == told.replace("1 thread;", "1 thread; rows among 3 threads;")
    assert numerics() is numerics(), "looked at once: a beat tells it five times a second"


def test_of_several_libraries_it_is_numpys_in_whatever_order_they_came() -> None:
    """scikit-learn brings scipy's, in the processes that load data."""
    scipys = {"user_api": "blas", "filepath": "/lib/scipy.libs/libscipy_openblas.so"}
    numpys = {"user_api": "blas", "filepath": "/lib/numpy.libs/libscipy_openblas64_.so"}
    openmp = {"user_api": "openmp", "filepath": "/lib/numpy/libgomp.so"}
    assert numpys_blas([openmp, scipys, numpys]) is numpys and numpys_blas([numpys, scipys]) is numpys
    assert numpys_blas([openmp, scipys]) is scipys, "numpy was built against the system's"
    assert numpys_blas([openmp]) is None


SHARED_OUT = """
import json, sys
import numpy as np
from threadpoolctl import threadpool_info
from akkafka.gate.numerics import numpys_blas, share_out
from akkafka.protocol.config import load_config
layers = load_config(None, sys.argv[1:]).definition.layers
print(json.dumps([share_out(layers), numpys_blas(threadpool_info())["num_threads"]]))
"""


@pytest.mark.parametrize(
    ("blas", "change", "rows", "left"),
    [
        ("2", (), 2, 1),
        ("1", (), 1, 1),
        ("2", ("gate.fc2.layers=[{type='dropout'}, {type='linear', out=24}]",), 1, 2),
    ],
    ids=["rows divided", "one thread", "not by rows"],
)
def test_threads_that_blas_was_given_divide_rows_if_all_layers_of_the_process_can_be_divided(
    blas: str, change: tuple[str, ...], rows: int, left: int
) -> None:
    if int(blas) > cores_here():
        pytest.skip("BLAS has no more threads than there are cores")
    env = {**os.environ, **dict.fromkeys(BLAS, blas)}
    said = subprocess.run([sys.executable, "-c", SHARED_OUT, *change], env=env, stdout=subprocess.PIPE, check=True)
    assert json.loads(said.stdout) == [rows, left]
