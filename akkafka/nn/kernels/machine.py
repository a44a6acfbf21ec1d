"""How kernels are compiled, told once: types of their arguments, caching, no fused arithmetic.

numba's cache notices a change in the file of a kernel, and nothing else. Who edits this file must delete the *.nbi in
the rooms' __pycache__ (an installation brings new files and so new caches); a kernel calls none of another file.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit, types

from akkafka.nn.kernels.turn import compiling_in_turn

f32, f64, i64, u64, nothing = types.float32, types.float64, types.int64, types.uint64, types.void
# outputs
f32_1d, f32_2d = types.Array(f32, 1, "C"), types.Array(f32, 2, "C")
f32_3d, f32_4d = types.Array(f32, 3, "C"), types.Array(f32, 4, "C")
f64_1d, f64_2d = types.Array(f64, 1, "C"), types.Array(f64, 2, "C")
i64_1d = types.Array(i64, 1, "C")
i32_3d = types.Array(types.int32, 3, "C")
u16_1d, u8_1d = types.Array(types.uint16, 1, "C"), types.Array(types.uint8, 1, "C")
# inputs: numba takes a writable array for a read-only one, never the other way round
in_f32_1d, in_f32_2d = types.Array(f32, 1, "C", readonly=True), types.Array(f32, 2, "C", readonly=True)
in_f32_3d, in_f32_4d = types.Array(f32, 3, "C", readonly=True), types.Array(f32, 4, "C", readonly=True)
in_f64_1d = types.Array(f64, 1, "C", readonly=True)
in_i32_3d = types.Array(types.int32, 3, "C", readonly=True)
in_u8_1d = types.Array(types.uint8, 1, "C", readonly=True)
in_u16_1d, in_u64_1d = types.Array(types.uint16, 1, "C", readonly=True), types.Array(u64, 1, "C", readonly=True)
in_i64_1d = types.Array(i64, 1, "C", readonly=True)
i64_pair, f64_pair, ten_i64 = types.UniTuple(i64, 2), types.UniTuple(f64, 2), types.UniTuple(i64, 10)  # type: ignore[no-untyped-call]
loss_hits_bad = types.Tuple((f64, i64, i64))  # type: ignore[no-untyped-call]


def _defer_scipy() -> None:
    """Have numba believe that scipy works if it is installed, as long as nobody needs it.

    When the first kernel is read numba imports scipy.linalg, 0.3 s and more than all kernels of a gate, only to note
    whether it is there: `np.dot` in a kernel would need it, and looks for itself when it is compiled. Without this
    (another numba, say) a start takes longer, and nothing else changes.
    """
    if find_spec("scipy") is None:
        return
    linalg: Any = import_module("numba.np.linalg")
    with suppress(AttributeError):
        look, linalg.ensure_blas = linalg.ensure_blas, lambda: None
        try:
            import_module("numba.np.arraymath")
        finally:
            linalg.ensure_blas = look


_defer_scipy()

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(result: Any, *arguments: Any) -> Callable[[Kernel], Kernel]:
    """Compile with this one signature, cached on disk, the interpreter lock released while it runs.

    Division by 0 gives infinity or not-a-number as in numpy: numba's check for it would keep a loop from being
    vectorised (dc-asgd-a on 784 × 50: 115 µs with the check, 33 without).
    No fastmath: sums keep their order and a*b+c is rounded twice, so the same input gives the same bits on
    every machine (but for the products of vectors.py, of convolutions and of sparse bytes, which as BLAS's go by the
    processor). No parallel loops: numba's workqueue dies when two threads enter it.
    """

    def wrap(function: Kernel) -> Kernel:
        kernel = _cached_if_possible(function)
        with nullcontext() if _in_cache(kernel, function) else compiling_in_turn(function.__code__.co_filename):
            kernel.compile(result(*arguments))
        kernel.disable_compile()
        return cast("Kernel", kernel)  # callers see the plain function's types

    return wrap


def _cached_if_possible(function: Callable[..., Any]) -> Any:
    """numba's dispatcher, nothing compiled yet."""
    try:
        return njit(function, cache=True, nogil=True, error_model="numpy")
    except RuntimeError as err:
        # a read-only package and no writable home: compiling anew at each start is slow but works
        if "cannot cache" not in str(err):
            raise
        return njit(function, nogil=True, error_model="numpy")


def _in_cache(kernel: Any, function: Callable[..., Any]) -> bool:
    """Whether numba's cache has an index for the kernel that is newer than its file; where it errs, time is lost."""
    folder = kernel.stats.cache_path
    if folder is None:
        return True  # nobody would gain by our waiting
    written = [index.stat().st_mtime for index in Path(folder).glob(f"*.{function.__name__}-*.nbi")]
    return bool(written) and max(written) >= Path(function.__code__.co_filename).stat().st_mtime
