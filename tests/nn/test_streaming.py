"""Kernels that write past the cache against the same kernels' plain loops."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import pytest
from numba import njit, types

from akkafka.nn.kernels import streaming
from akkafka.nn.kernels.machine import f32_1d, in_f32_1d
from akkafka.nn.kernels.streaming import past_cache, streamed
from akkafka.nn.layer import F32
from akkafka.nn.memory import MEMORY
from akkafka.optim import kernels as steps
from akkafka.optim.chain import ChainSpec
from akkafka.optim.optimizer import OPTIMIZERS, optimizer_spec

SPECS = [optimizer_spec({"type": kind, "lr": 0.1}) for kind in OPTIMIZERS]
RULES = [spec.rule() for spec in SPECS if isinstance(spec, ChainSpec)]
STEPS = sorted({rule.kernel for rule in RULES if rule.streams})
SIZES = (0, 1, 15, 16, 17, 31, 1000, 70_001)


def arguments(kernel: Any, size: int, head: int) -> tuple[list[Any], list[F32]]:
    """What the kernel takes, with inputs that begin `head` numbers behind a line, and its outputs."""
    rng = np.random.default_rng(size)
    before: list[Any] = []
    outs: list[F32] = []
    for kind in kernel.nopython_signatures[0].args:
        if not isinstance(kind, types.Array):
            before.append(np.float32(rng.uniform(0.1, 0.9)))
        elif not kind.mutable:
            whole = MEMORY.placed((size + head,), [])
            whole[:] = np.abs(rng.standard_normal(size + head, dtype=np.float32))
            whole[head + size // 2 : head + size // 2 + 3] = [np.inf, np.nan, 0][: max(0, min(3, size - size // 2))]
            before.append(whole[head:])
        else:
            outs.append(MEMORY.placed((size,), [*(a for a in before if isinstance(a, np.ndarray)), *outs]))
            outs[-1][:] = -7
    return before, outs


@pytest.mark.parametrize("head", [0, 3])
@pytest.mark.parametrize("name", STEPS)
def test_a_streamed_step_gives_the_bits_of_its_loop(name: str, head: int) -> None:
    kernel: Any = getattr(steps, name)
    for size in SIZES:
        inputs, outs = arguments(kernel, size, head)
        expected = [np.empty(size, np.float32) for _ in outs]
        kernel(*inputs, *expected)
        past_cache(kernel)(*inputs, *outs)
        assert [out.tobytes() for out in outs] == [out.tobytes() for out in expected]


def test_whole_lines_are_stored_past_the_cache_and_the_rest_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def doubled(x: F32, out: F32) -> None:
        for i in range(x.size):
            out[i] = x[i] + x[i]

    def anew(result: Any, *kinds: Any) -> Any:  # numba's cache keeps no code that can be read
        return lambda function: njit(result(*kinds))(function)

    monkeypatch.setattr(streaming, "compiled", anew)
    made: Any = streaming.streamed(doubled, in_f32_1d, f32_1d)
    (text,) = made.inspect_llvm().values()
    stores = [line for line in text.splitlines() if line.lstrip().startswith("store") and "float" in line]
    past = [line for line in stores if "!nontemporal" in line]
    assert past and all("<16 x float>" in line and "align 64" in line for line in past)
    # LLVM may take several numbers of the rest at once, too (as numba 0.68's does): they are not aligned
    rest = [line for line in stores if "!nontemporal" not in line]
    assert rest and not any("align 64" in line for line in rest)
    if platform.machine() in ("x86_64", "AMD64"):
        assert "sfence" in text


def test_a_constant_that_would_round_otherwise_is_refused() -> None:
    def doubled(x: F32, out: F32) -> None:
        for i in range(x.size):
            out[i] = 2.0 * x[i]

    with pytest.raises(TypeError, match=r"must be float32, got 2\.0"):
        streamed(doubled, in_f32_1d, f32_1d)
