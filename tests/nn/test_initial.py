"""First weights: the right spread, and the same bits for ever."""

from __future__ import annotations

import numpy as np
import pytest

from akkafka.nn.initial import Init, initial, initial_weight
from akkafka.nn.layer import FLOAT32


def generator(seed: int = 5) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize(
    ("init", "variance"),
    (("he", 2 / 300), ("xavier", 2 / (300 + 200)), ("glorot", 2 / (300 + 200)), ("lecun", 1 / 300)),
    ids=lambda x: str(x),
)
def test_spread_is_that_of_the_paper_with_rows_as_fan_in(init: Init, variance: float) -> None:
    w = initial_weight(init, 300, 200, generator())
    assert (w.shape, w.dtype) == ((300, 200), FLOAT32)
    assert w.var() == pytest.approx(variance, rel=0.02)
    assert abs(w.mean()) < 5 * (variance / w.size) ** 0.5
    assert np.abs(w).max() == pytest.approx((3 * variance) ** 0.5, rel=0.01)


def test_zeros_are_zeros_and_draw_nothing() -> None:
    rng = generator()
    assert not initial_weight("zeros", 3, 2, rng).any()
    assert rng.bit_generator.random_raw() == generator().bit_generator.random_raw()


def test_first_weights_are_what_they_have_always_been() -> None:
    """PCG64(5) gives 14849682912918955432 first: (that / 2**63 - 1) · sqrt(6 / 3) = 0.8627…"""
    w = initial_weight("he", 3, 2, generator())
    assert w[0, 0] == np.float32((14849682912918955432 // 2**11 / 2**52 - 1) * 2**0.5)
    assert w.astype("<f4").tobytes().hex() == "80d85c3f13f95e3fde8c313dac181bbf8d7ea1bf60e6a8be"


@pytest.mark.parametrize("shape", ((30, 20), (20, 30), (9, 9), (1, 5), (8, 2, 3, 3)))
def test_orthogonal_weights_keep_lengths_whichever_side_is_longer(shape: tuple[int, ...]) -> None:
    w = initial("orthogonal", shape, 1, 1, generator())
    assert (w.shape, w.dtype, w.flags.c_contiguous) == (shape, FLOAT32, True)
    matrix = w.reshape(shape[0], -1).astype(np.float64)
    short = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    np.testing.assert_allclose(short @ short.T, np.eye(len(short)), atol=1e-6)
    assert not np.array_equal(w, initial("orthogonal", shape, 1, 1, generator(6)))


def test_orthogonal_weights_are_what_they_have_always_been() -> None:
    assert initial("orthogonal", (3, 2), 3, 2, generator()).astype("<f4").tobytes().hex() == (
        "7dc7713f41d5b63d6e47a6becacbd83d33874e3d9d887dbf"
    )
