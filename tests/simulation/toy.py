"""A network's arithmetic in one 64-bit word: any use of wrong weights, order or staleness changes all that follows.

All sums are modulo 2**64 and multipliers are odd or mixed with other terms, so no information is lost on the way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from akkafka.gate.state import GateState, Params
from akkafka.protocol.messages import Narrow

MASK = (1 << 64) - 1
Word = NDArray[np.uint64]


def word(value: int) -> Word:
    """(1,) uint64, read-only."""
    return np.frombuffer((value & MASK).to_bytes(8, "little"), "<u8")


def number(array: NDArray[Any] | Narrow | None) -> int:
    """The number in a word."""
    assert isinstance(array, np.ndarray)
    return int(array[0])


def initial(gate: int) -> tuple[int, int]:
    """(weight, momentum) of a gate at version 0."""
    return 1001 + 17 * gate, 0


def sample(lane: int, epoch: int, batch: int) -> int:
    """x of a batch."""
    return (lane * 7919 + epoch * 104729 + batch * 1299709 + 1) & MASK


def forward(x: int, w: int, key: int) -> int:
    return (x * (w | 1) + w * w + key * 3 + (x >> 7)) & MASK


def input_gradient(x: int, w: int, key: int, dy: int) -> int:
    return (dy * (w | 1) + x * 7 + key) & MASK


def weight_gradient(x: int, w: int, dy: int) -> int:
    return (dy * (x | 1) + w * 11) & MASK


def loss_gradient(y: int, target: int) -> int:
    return (y * 9 + target + 1) & MASK


def stepped(w: int, m: int, gradient: int, then: int, staleness: int) -> tuple[int, int]:
    """(weight, momentum) after a step; order, staleness and the weights of the forward all matter."""
    m = (m * 5 + gradient) & MASK
    return (w * 3 - m + then * 13 * (staleness + 1)) & MASK, m


def step(state: GateState, grads: Params | None, then: Params, staleness: int) -> tuple[Params, Params]:
    """`stepped` in the form of the fold's stepper."""
    gradient = number(grads["w"]) if grads is not None else 0
    w, m = stepped(number(state.params["w"]), number(state.optimizer["m"]), gradient, number(then["w"]), staleness)
    return {"w": word(w)}, {"m": word(m)}
