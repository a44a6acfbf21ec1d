"""Every layer beside PyTorch, forward and backward, in random sizes: 1e-5 of the greatest number is all they differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from akkafka.nn.layer import F32, Array
from akkafka.nn.spec import LAYERS, build_sequence, layer_spec

from .cases import CASES, EVALUATION, TRAINING, Case, random_params
from .shapes import SIZES

torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install -e '.[dev,peers]'")
from . import peer  # noqa: E402

torch.set_num_threads(1)  # type: ignore[no-untyped-call, unused-ignore]
CHANCE = {"dropout", "dropconnect", "dropconnect-weights"}  # theirs draws other masks; twin.py draws ours
SATURATING = {"tanh", "sigmoid", "rnn", "lstm", "gru"}


def close(ours: Array, theirs: Any, what: str, least: float) -> None:
    """1e-5 of the greatest number in the array, or of `least`, the size of what cancelled in it."""
    expected: NDArray[np.float64] = theirs.detach().numpy()
    assert ours.shape == expected.shape, what
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * max(np.abs(expected).max(), least), err_msg=what)


def small(params: dict[str, F32]) -> dict[str, F32]:
    """Matrices of a size that saturates little: 1 - y² of a y near 1 has few digits in float32, theirs and ours."""
    return {n: w / np.float32(np.sqrt(w.size / w.shape[-1])) if w.ndim > 1 else w for n, w in params.items()}


def compare(layers: list[Any], x: Array, training: bool, seed: int) -> None:
    layer = build_sequence([layer_spec(data) for data in layers], x.shape[1:], x.dtype)
    params, run = small(random_params(layer, seed)), TRAINING if training else EVALUATION
    # dy is normal: dy·1 - dy·y² of a saturated y cancels numbers around 1, sums elsewhere those around 0.1
    least = 1.0 if kinds(layers) & SATURATING else 0.1
    y, tape = layer.forward(params, x, run)
    dy = np.random.default_rng(seed + 1).standard_normal(y.shape, dtype=np.float32)
    dx, grads = layer.backward(params, tape, dy)

    theirs = {n: torch.tensor(w, dtype=torch.float64, requires_grad=n not in layer.buffers) for n, w in params.items()}
    whole = x.dtype != np.float32
    their_x = torch.tensor(x, dtype=torch.long if whole else torch.float64, requires_grad=not whole)
    their_y = peer.forward(layers, theirs, their_x, training)
    close(y, their_y, "y", least)
    their_y.backward(torch.tensor(dy, dtype=torch.float64))
    if not whole:
        assert dx is not None
        close(dx, their_x.grad, "dx", least)
    for name, w in theirs.items():
        if name not in layer.buffers:
            close(grads[name], w.grad, name, least)


@pytest.mark.parametrize("kind", sorted(SIZES))
@given(drawn=st.data(), size=st.integers(1, 9), training=st.booleans(), seed=st.integers(0, 2**32))
@settings(max_examples=25)
def test_a_layer_gives_what_pytorch_gives(
    kind: str, drawn: st.DataObject, size: int, training: bool, seed: int
) -> None:
    data, shape = drawn.draw(SIZES[kind])
    compare([data], batch(data, (size, *shape), seed), training, seed)


def batch(data: Any, shape: tuple[int, ...], seed: int) -> Array:
    """Normal numbers, or whole ones for a layer that takes them."""
    rng = np.random.default_rng(seed)
    if data["type"] == "embedding":
        return rng.integers(0, data["count"], shape, dtype=np.uint8)
    return rng.standard_normal(shape, dtype=np.float32)


def kinds(layers: Any) -> set[str]:
    inner = [block for d in layers for block in (d.get("layers", ()), *d.get("branches", ()))]
    return {d["type"] for d in layers} | {kind for block in inner for kind in kinds(block)}


SURE = [case for case in CASES if not kinds(case.layers) & CHANCE]


@pytest.mark.parametrize("case", SURE, ids=lambda case: case.name.replace(" ", "-"))
@pytest.mark.parametrize("training", (True, False))
def test_every_row_of_the_table_gives_what_pytorch_gives(case: Case, training: bool) -> None:
    if case.in_dtype == "float32" or "embedding" in kinds(case.layers):
        compare(list(case.layers), case.batch(5), training, 7)


def test_every_layer_without_chance_has_its_sizes() -> None:
    assert set(SIZES) == set(LAYERS) - CHANCE
