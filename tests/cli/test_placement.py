"""Which gates share a process, and how the cores are shared out."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from akkafka.cli.training.children import environment
from akkafka.cli.training.placement import cores_here, processes_of, thread_caps, threads_of
from akkafka.errors import ConfigError
from akkafka.protocol.ranges import gates_in

PROBE = """
import json
import akkafka.gate.__main__
import numpy as np, numba
from threadpoolctl import threadpool_info
np.ones((2, 2), np.float32) @ np.ones((2, 2), np.float32)
blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
print(json.dumps([blas, numba.config.NUMBA_NUM_THREADS]))
"""


@pytest.mark.parametrize(("gates", "cores", "threads"), [(3, 2, 1), (1, 8, 8), (3, 8, 2), (4, 8, 2), (9, 8, 1)])
def test_cores_are_shared_out_among_gates_and_never_given_twice(gates: int, cores: int, threads: int) -> None:
    assert threads_of(gates, cores) == threads
    assert threads == 1 or threads * gates <= cores


@pytest.mark.parametrize("threads", [1, 2])
def test_a_gates_process_has_just_so_many_blas_threads_and_one_of_numba(threads: int) -> None:
    """Whatever the environment of the one who starts it says."""
    if threads > cores_here():
        pytest.skip("BLAS has no more threads than there are cores")
    own = {**environment({}, threads), "AKKAFKA_LOG": "WARNING"}
    assert own["NUMBA_NUM_THREADS"] == "1"
    said = subprocess.run([sys.executable, "-c", PROBE], env=own, stdout=subprocess.PIPE, check=True, text=True).stdout
    blas, numba = json.loads(said)
    assert blas and set(blas) == {threads} and numba == 1


def test_caps_hold_for_every_blas_that_numpy_may_have() -> None:
    assert thread_caps(3) == {
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "NUMBA_NUM_THREADS": "1",
    }
    assert 1 <= cores_here() <= (os.cpu_count() or 1)


def test_each_gate_has_its_own_process_unless_told_otherwise() -> None:
    assert processes_of(None, 3) == ["0", "1", "2"]
    assert processes_of(["0", "1-2"], 3) == ["0", "1-2"]
    assert [list(gates_in(text)) for text in ("4", "1-3", "3-1", "fc1", "1-2-standby")] == [[4], [1, 2, 3], [], [], []]


@pytest.mark.parametrize(
    ("told", "what"),
    [
        (["0", "2"], r"names gates \[0, 2\], the network has 0 to 2"),
        (["0-1", "1-2"], "names gates"),
        (["1-2", "0"], "names gates"),
        (["0", "1", "2-3"], "names gates"),
        (["all"], "'all' is neither a gate nor a range"),
        ([], r"names gates \[\]"),
    ],
)
def test_processes_that_do_not_host_each_gate_once_are_refused(told: list[str], what: str) -> None:
    with pytest.raises(ConfigError, match=what) as refused:
        processes_of(told, 3)
    assert "['0-2']" in refused.value.hint
