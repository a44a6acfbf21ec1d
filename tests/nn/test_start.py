"""What reading a kernel brings in."""

from __future__ import annotations

import subprocess
import sys


def test_a_kernel_is_read_without_scipy_and_a_users_own_kernel_still_finds_it() -> None:
    code = (
        "import sys; import numpy as np; from akkafka.nn import kernels\n"
        "[getattr(kernels, name) for name in list(kernels.NAMES)[:2]]\n"
        "assert 'scipy.linalg' not in sys.modules\n"
        "from numba import njit\n"
        "assert (njit(lambda a, b: np.dot(a, b))(np.eye(2), np.ones((2, 2))) == 1.0).all()\n"
        "assert 'scipy.linalg' in sys.modules\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120.0, check=False)
    assert found.returncode == 0, found.stderr
