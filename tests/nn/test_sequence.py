"""What a row of layers adds to its layers: positions, fusing, and stopping early on the way back."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from akkafka.nn.layer import F32, Array, Layer, Params, Pass
from akkafka.nn.layers.linear import Linear
from akkafka.nn.layers.relu import Relu
from akkafka.nn.layers.scale import Scale
from akkafka.nn.sequence import Stack

from .cases import TRAINING

RNG = np.random.default_rng


@pytest.mark.parametrize("bias", (True, False))
def test_a_linear_layer_fused_with_its_relu_gives_the_bits_of_both_in_a_row(bias: bool) -> None:
    linear, relu = Linear(9, 5, bias), Relu((5,))
    rng = RNG(4)
    params = {name: rng.standard_normal(s, dtype=np.float32) for name, s in linear.param_shapes.items()}
    x, dy = rng.standard_normal((13, 9), dtype=np.float32), rng.standard_normal((13, 5), dtype=np.float32)

    z, first = linear.forward(params, x, TRAINING)
    y, second = relu.forward({}, z, TRAINING)
    dz, _ = relu.backward({}, second, dy)
    assert dz is not None
    dx, grads = linear.backward(params, first, dz)

    fused = Stack((linear, relu))
    named = {f"0.{name}": w for name, w in params.items()}
    fused_y, tape = fused.forward(named, x, TRAINING)
    fused_dx, fused_grads = fused.backward(named, tape, dy)
    assert (y == 0).any()
    assert dx is not None
    assert fused_dx is not None
    assert fused_y.tobytes() == y.tobytes()
    assert fused_dx.tobytes() == dx.tobytes()
    assert {n: g.tobytes() for n, g in fused_grads.items()} == {f"0.{n}": g.tobytes() for n, g in grads.items()}


def test_not_a_number_passes_a_relu_so_that_it_is_noticed() -> None:
    x = np.array([[np.nan, -1.0, 2.0]], np.float32)
    y, _ = Relu((3,)).forward({}, x, TRAINING)
    np.testing.assert_array_equal(y, np.array([[np.nan, 0.0, 2.0]], np.float32))
    params = {"0.weight": np.eye(3, dtype=np.float32), "0.bias": np.zeros(3, np.float32)}
    y, _ = Stack((Linear(3, 3), Relu((3,)))).forward(params, x, TRAINING)
    assert np.isnan(y).all()  # a product with the whole row


class Counted:
    """A layer that counts how often its backward is called."""

    def __init__(self, layer: Layer) -> None:
        self.layer, self.calls = layer, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.layer, name)

    def backward(
        self, params: Params, tape: Any, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        self.calls += 1
        return self.layer.backward(params, tape, dy, need_dx=need_dx)


def test_layers_below_the_first_weights_are_not_asked_for_a_dx_that_nobody_wants() -> None:
    scale: Any = Counted(Scale((4,), np.dtype(np.float32), 2.0, 0.0))
    net = Stack((scale, Linear(4, 3)))
    params, x = net.init(RNG(0)), RNG(1).standard_normal((2, 4), dtype=np.float32)
    _, tape = net.forward(params, x, TRAINING)
    net.backward(params, tape, np.ones((2, 3), np.float32), need_dx=False)
    assert scale.calls == 0
    net.backward(params, tape, np.ones((2, 3), np.float32))
    assert scale.calls == 1


class Standing:
    """A layer with a buffer, as batch-norm will have: passes x on and reports the batch's mean."""

    in_shape = out_shape = (2,)
    in_dtype = out_dtype = np.dtype(np.float32)
    param_shapes: ClassVar = {"mean": (2,)}
    buffers: ClassVar = {"mean": 0.1}

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        return {"mean": np.zeros(2, np.float32)}

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[Array, Any]:
        return x, x.mean(axis=0)

    def backward(
        self, params: Params, tape: Any, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        return dy if need_dx else None, {"mean": tape}


def test_buffers_and_their_statistics_carry_the_position_in_their_names() -> None:
    layer: Any = Standing()
    net = Stack((Relu((2,)), Stack((layer,))))
    assert net.buffers == {"1.0.mean": 0.1}
    x = np.array([[1, 2], [3, 4]], np.float32)
    params = net.init(RNG(0))
    _, tape = net.forward(params, x, TRAINING)
    _, grads = net.backward(params, tape, x, need_dx=False)
    np.testing.assert_array_equal(grads["1.0.mean"], [2, 3])


def test_the_key_of_a_position_is_what_it_has_always_been() -> None:
    assert Pass(True, 0).at(0).key == 0xD5D5505B1A7D859F55E9B5EAEB92F8AB
    assert Pass(True, 2**128 - 1).at(3).key == 0x12B6481080B9DB1F6BC097361C53B965
