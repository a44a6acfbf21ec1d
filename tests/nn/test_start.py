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
from akkafka.nn.kernels.turn import compiling_in_turn
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
from akkafka.nn.kernels.turn import compiling_in_turn
out = np.empty(2, np.float32)
kernels.elementwise.relu(np.array([-1, 2], np.float32), out)
print(out.tolist())
"""


def test_kernels_are_cached_for_the_user_where_the_package_cannot_be_written(unwritable: Path) -> None:
    assert run(DOUBLE, unwritable, HOME=str(unwritable / "home")) == "[0.0, 2.0]"
    assert list((unwritable / "home").rglob("*.nbi"))


def test_kernels_work_where_nothing_can_be_written(unwritable: Path) -> None:
    assert run(DOUBLE, unwritable, HOME=os.devnull) == "[0.0, 2.0]"


def test_processes_that_start_together_compile_each_kernel_once(tmp_path: Path) -> None:
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DEBUG_CACHE": "1", "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-c", DOUBLE]
    fleet = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = "".join(member.communicate(timeout=300)[0] for member in fleet)
    assert told.count("[0.0, 2.0]") == 2
    kernels_of_the_file = [name for name, thing in vars(kernels.elementwise).items() if hasattr(thing, "py_func")]
    assert len(kernels_of_the_file) > 0
    assert told.count("data saved to") == len(kernels_of_the_file)


def test_a_turn_that_another_holds_is_waited_for_only_so_long(tmp_path: Path) -> None:
    source = tmp_path / "kernels.py"
    source.touch()
    with compiling_in_turn(str(source)) as first, compiling_in_turn(str(source), patience_s=0.0) as second:
        assert (first, second) == (True, False)
    with compiling_in_turn(str(source), patience_s=0.0) as third:
        assert third


def test_compiling_all_leaves_every_kernel_module_ready() -> None:
    compile_all()
    assert all(name in vars(kernels) for name in kernels.NAMES)


def test_the_table_of_kernel_modules_names_every_file_that_holds_kernels() -> None:
    files = {path.stem for path in (PACKAGE / "nn" / "kernels").glob("*.py")} - {"__init__", "machine", "turn"}
    assert files == set(kernels.NAMES)


def test_a_kernel_module_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="convulsion"):
        kernels.__getattr__("convulsion")
