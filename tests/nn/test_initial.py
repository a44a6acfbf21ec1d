"""First weights: the right spread, and the same bits for ever."""

from __future__ import annotations

import numpy as np
import pytest

from akkafka.nn.initial import Init, initial_weight
from akkafka.nn.layer import FLOAT32


def generator(seed: int = 5) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize(
    ("init", "variance"), (("he", 2 / 300), ("xavier", 2 / (300 + 200)), ("lecun", 1 / 300)), ids=lambda x: str(x)
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
