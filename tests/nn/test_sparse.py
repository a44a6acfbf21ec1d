"""Bytes that are mostly zero go through a linear layer by their other entries, and nothing else changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from akkafka.nn.layer import F32, Array, Layer, Params
from akkafka.nn.layers.linear import Linear
from akkafka.nn.layers.relu import Relu
from akkafka.nn.layers.scale import Scale
from akkafka.nn.layers.scaled_linear import FEWEST_COLUMNS, FEWEST_ROWS, LARGEST, MOST, entries_of
from akkafka.nn.sequence import Stack

from .cases import TRAINING

U8 = NDArray[np.uint8]
RNG = np.random.default_rng
SCALE, SHIFT = 0.0127, -0.42


def sparse(rows: int, width: int, share: float = 0.19) -> U8:
    """Pixels of which so many are other than zero, in the first row none."""
    rng = RNG(rows * width)
    x = rng.integers(1, 256, (rows, width)).astype(np.uint8) * (rng.random((rows, width)) < share)
    x[0] = 0
    return x.astype(np.uint8)


def stack(width: int, out: int, bias: bool = True, relu: bool = True, shift: float = SHIFT) -> Stack:
    layers: list[Layer] = [Scale((width,), np.dtype(np.uint8), SCALE, shift), Linear(width, out, bias)]
    return Stack((*layers, Relu((out,))) if relu else tuple(layers))


def weights(net: Stack) -> Params:
    rng = RNG(7)
    return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in net.param_shapes.items()}


def apart(net: Stack, params: Params, x: Array, dy: F32) -> tuple[Array, F32, dict[str, F32]]:
    """Output and gradients of the layers one by one."""
    y, tapes = x, []
    inner = [{name: params[f"{i}.{name}"] for name in layer.param_shapes} for i, layer in enumerate(net.layers)]
    for layer, own in zip(net.layers, inner, strict=True):
        y, tape = layer.forward(own, y, TRAINING)
        tapes.append(tape)
    dx, found = dy, {}
    for i in reversed(range(len(net.layers))):
        below, grads = net.layers[i].backward(inner[i], tapes[i], dx)
        assert below is not None
        dx = below
        found.update({f"{i}.{name}": gradient for name, gradient in grads.items()})
    return y, dx, found


def close(left: F32, right: F32) -> None:
    assert left.shape == right.shape
    assert left.dtype == right.dtype == np.float32
    np.testing.assert_allclose(left, right, rtol=0, atol=3e-6 * float(np.abs(right).max()))


@pytest.mark.parametrize("width", (8, 24, 37, 784))
@pytest.mark.parametrize("out", (32, 33, 50, 64, 100, 128))
@pytest.mark.parametrize(("bias", "relu"), ((True, True), (True, False), (False, True), (False, False)))
def test_it_gives_what_the_layers_give_one_by_one(width: int, out: int, bias: bool, relu: bool) -> None:
    net, x = stack(width, out, bias, relu), sparse(FEWEST_ROWS + 9, width)
    params, dy = weights(net), RNG(3).standard_normal((len(x), out), dtype=np.float32)
    assert entries_of(x) is not None
    want_y, want_dx, want = apart(net, params, x, dy)
    y, tape = net.forward(params, x, TRAINING)
    dx, grads = net.backward(params, tape, dy)
    none, same = net.backward(params, tape, dy, need_dx=False)
    assert dx is not None
    close(y, want_y)
    close(dx, want_dx)
    assert grads.keys() == want.keys() == net.param_shapes.keys()
    for name, gradient in want.items():
        close(grads[name], gradient)
    assert none is None
    assert {n: g.tobytes() for n, g in same.items()} == {n: g.tobytes() for n, g in grads.items()}


def test_other_batches_have_the_bits_of_the_layers_one_by_one() -> None:
    net = stack(784, 50)
    params, dy = weights(net), RNG(3).standard_normal((40, 50), dtype=np.float32)
    for x in (sparse(40, 784, share=0.5), sparse(FEWEST_ROWS - 1, 784)):
        want_y, want_dx, want = apart(net, params, x, dy[: len(x)])
        y, tape = net.forward(params, x, TRAINING)
        dx, grads = net.backward(params, tape, dy[: len(x)])
        assert dx is not None
        assert y.tobytes() == want_y.tobytes()
        assert dx.tobytes() == want_dx.tobytes()
        assert {n: g.tobytes() for n, g in grads.items()} == {n: g.tobytes() for n, g in want.items()}


def test_a_narrow_layer_and_one_of_floats_stay_two() -> None:
    pixels, floats = (Scale((9,), np.dtype(dtype), SCALE, SHIFT) for dtype in (np.uint8, np.float32))
    assert pixels.followed_by(Linear(9, FEWEST_COLUMNS)) is not None
    assert pixels.followed_by(Linear(9, FEWEST_COLUMNS - 1)) is None
    assert pixels.followed_by(Relu((9,))) is None
    assert floats.followed_by(Linear(9, FEWEST_COLUMNS)) is None


@pytest.mark.parametrize("width", (16, 37))
def test_entries_are_those_that_are_not_zero(width: int) -> None:
    x = sparse(50, width)
    found = entries_of(x)
    assert found is not None
    rows, columns = x.nonzero()
    np.testing.assert_array_equal(found.positions[: len(rows)], columns)
    np.testing.assert_array_equal(found.values[: len(rows)], x[rows, columns])
    np.testing.assert_array_equal(np.diff(found.starts), (x != 0).sum(axis=1))
    turned = found.by_column(width)
    rows, columns = x.T.nonzero()
    np.testing.assert_array_equal(turned.positions, columns)
    np.testing.assert_array_equal(turned.values, x.T[rows, columns])
    np.testing.assert_array_equal(np.diff(turned.starts), (x != 0).sum(axis=0))


@pytest.mark.parametrize("width", (16, 37))
def test_as_many_entries_as_may_be_and_no_more(width: int) -> None:
    x = np.zeros((40, width), np.uint8)
    most = int(x.size * MOST)
    x.reshape(-1)[-most:] = 255
    assert entries_of(x) is not None
    x.reshape(-1)[-most - 1] = 1
    assert entries_of(x) is None
    assert entries_of(np.ones((40, width), np.uint8)) is None


def test_more_rows_or_columns_than_two_bytes_can_name_are_left_alone() -> None:
    assert entries_of(np.zeros((FEWEST_ROWS, LARGEST), np.uint8)) is not None
    assert entries_of(np.zeros((FEWEST_ROWS, LARGEST + 1), np.uint8)) is None
    assert entries_of(np.zeros((LARGEST - 1, 1), np.uint8)) is not None
    assert entries_of(np.zeros((LARGEST, 1), np.uint8)) is None


def test_a_batch_may_lie_anywhere_in_a_messages_bytes() -> None:
    x = sparse(40, 24)
    net = stack(24, 32)
    params = weights(net)
    want, _ = net.forward(params, x, TRAINING)
    for before in range(1, 8):
        view = np.frombuffer(bytes(before) + x.tobytes(), np.uint8, offset=before).reshape(x.shape)
        assert not view.flags.writeable
        found, _ = net.forward(params, view, TRAINING)
        assert found.tobytes() == want.tobytes()


@pytest.mark.parametrize("shift", (SHIFT, 0.0))
@pytest.mark.parametrize("wrong", (math.nan, math.inf))
def test_what_is_not_finite_is_noticed_where_all_pixels_are_zero(shift: float, wrong: float) -> None:
    net, x = stack(24, 32, relu=False, shift=shift), sparse(40, 24)
    x[:, 5] = 0
    params, dy = dict(weights(net)), RNG(3).standard_normal((40, 32), dtype=np.float32)
    _, tape = net.forward(params, x, TRAINING)
    bad = dy.copy()
    bad[0, 3] = wrong  # the row without an entry
    with np.errstate(invalid="ignore"):
        _, grads = net.backward(params, tape, bad)
        assert not np.isfinite(grads["1.weight"][:, 3]).any()
        assert not np.isfinite(grads["1.bias"][3])
        params["1.weight"] = params["1.weight"].copy()
        params["1.weight"][5, 7] = wrong
        y, _ = net.forward(params, x, TRAINING)
    assert not np.isfinite(y[:, 7]).any()
    assert np.isfinite(np.delete(y, 7, axis=1)).all()
