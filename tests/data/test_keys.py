"""The order of samples must mean the same for ever: golden values, a plain twin, and the laws of a permutation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akkafka.data.keys import keys, mix, permutation
from akkafka.errors import ConfigError

U64 = st.integers(0, 2**64 - 1)
MASK = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15


def test_mix_gives_the_published_outputs_of_splitmix64() -> None:
    # seed 1234567, as in Rosetta Code's task "Pseudo-random numbers/Splitmix64", from Vigna's reference code
    outputs = [mix((1234567 + i * GAMMA) & MASK) for i in range(1, 6)]
    assert outputs == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def plain_keys(n: int, seed: int, epoch: int) -> list[int]:
    start = mix(((mix((seed + GAMMA) & MASK) ^ epoch) + GAMMA) & MASK)
    return [mix((start + i * GAMMA) & MASK) for i in range(1, n + 1)]


@given(st.integers(1, 50), U64, U64)
def test_keys_equal_their_twin_in_plain_integers(n: int, seed: int, epoch: int) -> None:
    got = keys(n, seed, epoch)
    assert got.dtype == np.uint64
    assert got.tolist() == plain_keys(n, seed, epoch)


@given(st.integers(1, 300), U64, U64)
def test_a_permutation_sorts_the_keys_and_holds_each_sample_once(n: int, seed: int, epoch: int) -> None:
    order = permutation(n, seed, epoch)
    expected = plain_keys(n, seed, epoch)
    assert order.dtype == np.uint32
    assert order.tolist() == sorted(range(n), key=expected.__getitem__)
    assert not order.flags.writeable


GOLDEN = {
    (10, 0, 0): [0, 7, 8, 2, 5, 9, 4, 6, 3, 1],
    (10, 0, 1): [9, 0, 6, 7, 4, 3, 2, 1, 8, 5],
    (10, 1, 0): [9, 8, 7, 4, 2, 0, 3, 6, 5, 1],
    (10, 2**64 - 1, 2**64 - 1): [9, 4, 8, 1, 2, 7, 5, 6, 0, 3],
}


@pytest.mark.parametrize(("arguments", "order"), GOLDEN.items(), ids=str)
def test_a_permutation_is_the_same_for_ever(arguments: tuple[int, int, int], order: list[int]) -> None:
    assert permutation(*arguments).tolist() == order


def test_a_long_permutation_is_the_same_for_ever() -> None:
    order = permutation(60000, 20260101, 3)
    assert order[:5].tolist() == [48180, 5518, 30616, 22719, 40731]
    assert order[-5:].tolist() == [57937, 36055, 6732, 20679, 30051]
    assert int((order.astype(np.uint64) * np.arange(60000, dtype=np.uint64)).sum()) == 54098350694824


def test_seeds_and_epochs_give_different_orders() -> None:
    orders = {permutation(50, seed, epoch).tobytes() for seed in range(40) for epoch in range(40)}
    assert len(orders) == 40 * 40


def test_every_sample_comes_to_every_place_about_equally_often() -> None:
    n, epochs = 8, 4000
    counts = np.zeros((n, n))
    for epoch in range(epochs):
        counts[np.arange(n), permutation(n, 5, epoch)] += 1
    expected = epochs / n
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 85.4  # 49 degrees of freedom: exceeded once in a thousand seeds; this seed is fixed


@pytest.mark.parametrize(
    ("n", "seed", "epoch", "named"),
    [
        (0, 0, 0, "1 to 4294967295 samples, got 0"),
        (2**32, 0, 0, "got 4294967296"),
        (3, -1, 0, "seed must be 0"),
        (3, 2**64, 0, "seed must be 0"),
        (3, 0, -1, "epoch must be 0"),
        (3, 0, 2**64, "epoch must be 0"),
    ],
)
def test_a_permutation_of_what_cannot_be_is_refused_by_name(n: int, seed: int, epoch: int, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        permutation(n, seed, epoch)
