"""What a start costs: numba only where there is something to compute, and no writable directory needed for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import akkafka
from akkafka.nn import kernels
from akkafka.nn.warm import compile_all

PACKAGE = Path(akkafka.__file__).parent


def run(code: str, root: Path, **env: str) -> str:
    """Output of a fresh interpreter that imports the package under `root`, with warnings as errors."""
    clean = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        command,
        cwd=root,
        env={**clean, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", ("akkafka.nn.spec", "akkafka.nn.losses", "akkafka.optim.optimizer"))
def test_the_compiler_is_not_imported_before_there_is_something_to_compute(module: str) -> None:
    assert run(f"import sys, {module}; print('numba' in sys.modules)", PACKAGE.parent) == "False"


@pytest.fixture
def unwritable(tmp_path: Path) -> Path:
    """A copy of the two rooms whose cache directory cannot be made: a file is in its place (root may do anything)."""
    for room in ("nn", "optim"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE / room, tmp_path / "akkafka" / room, ignore=ignored)
    shutil.copy(PACKAGE / "errors.py", tmp_path / "akkafka")
    (tmp_path / "akkafka" / "__init__.py").touch()
    (tmp_path / "akkafka" / "nn" / "kernels" / "__pycache__").touch()
    return tmp_path


DOUBLE = """
import numpy as np
from akkafka.nn import kernels
out = np.empty(2, np.float32)
kernels.elementwise.relu(np.array([-1, 2], np.float32), out)
print(out.tolist())
"""


def test_kernels_are_cached_for_the_user_where_the_package_cannot_be_written(unwritable: Path) -> None:
    assert run(DOUBLE, unwritable, HOME=str(unwritable / "home")) == "[0.0, 2.0]"
    assert list((unwritable / "home").rglob("*.nbi"))


def test_kernels_work_where_nothing_can_be_written(unwritable: Path) -> None:
    assert run(DOUBLE, unwritable, HOME=os.devnull) == "[0.0, 2.0]"


def test_compiling_all_leaves_every_kernel_module_ready() -> None:
    compile_all()
    assert all(name in vars(kernels) for name in kernels.NAMES)


def test_the_table_of_kernel_modules_names_every_file_but_the_machine() -> None:
    files = {path.stem for path in (PACKAGE / "nn" / "kernels").glob("*.py")} - {"__init__", "machine"}
    assert files == set(kernels.NAMES)


def test_a_kernel_module_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="convolution"):
        kernels.__getattr__("convolution")
