"""Layers, loss and optimizers together: a small network learns what no line can part."""

from __future__ import annotations

import numpy as np
import pytest

from akkafka.nn.layer import Pass
from akkafka.nn.losses import softmax_cross_entropy
from akkafka.nn.spec import build_sequence, layer_spec
from akkafka.optim.optimizer import Step

from .cases import CASES, Case, same_bits

LAYERS = ({"type": "linear", "out": 16}, {"type": "relu"}, {"type": "dropout", "p": 0.1}, {"type": "linear", "out": 2})


def trained(case: Case, tau: int) -> tuple[list[float], dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]:
    """Losses and last weights: 400 updates, gradients tau updates old, on four clouds, opposite ones of one class."""
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 2, (256, 2))
    x = (corner * 2 - 1 + rng.standard_normal((256, 2)) * 0.2).astype(np.float32)
    targets = corner[:, 0] ^ corner[:, 1]
    net = build_sequence([layer_spec(layer) for layer in LAYERS], (2,), np.dtype(np.float32))
    optimizer = case.build(lr=case.rate)
    params = net.init(np.random.default_rng(1))
    state, history, losses = optimizer.init(params), [params], []
    for version in range(400):
        then = history[max(0, version - tau)]
        logits, tape = net.forward(then, x, Pass(True, version))
        result = softmax_cross_entropy(logits, targets)
        _, grads = net.backward(then, tape, result.dlogits, need_dx=False)
        params, state = optimizer.update(params, state, Step(grads, then, min(tau, version), version))
        history.append(params)
        losses.append(result.loss)
    return losses, params


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("tau", (0, 4))
def test_a_network_learns_what_no_line_can_part_and_does_so_again_bit_for_bit(case: Case, tau: int) -> None:
    losses, params = trained(case, tau)
    assert losses[0] > 0.5
    assert np.mean(losses[-20:]) < 0.15
    assert same_bits(params, trained(case, tau)[1])
