"""Kernels of the room against numpy, bit for bit: each operation rounded on its own, each sum in its order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from akkafka.nn import kernels
from akkafka.nn.layer import F32, Array, Pass
from akkafka.nn.layers import conv2d
from akkafka.nn.layers.conv2d import Conv2d
from akkafka.nn.layers.pool2d import MaxPool2d
from akkafka.nn.scratch import scratch
from akkafka.nn.window import Pair, Window

SHAPES = ((1, 1), (1, 50), (7, 1), (33, 17), (64, 16))
every_shape = pytest.mark.parametrize("shape", SHAPES)


def random(*shape: int, seed: int = 0) -> F32:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def summed_in_order(rows: F32) -> F32:
    total = np.zeros(rows.shape[1])
    for row in rows:
        total += row
    return total.astype(np.float32)


def same_bits(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@every_shape
def test_add_bias(shape: tuple[int, int]) -> None:
    out, bias = random(*shape), random(shape[1], seed=1)
    expected = out + bias
    kernels.dense.add_bias(out, bias)
    assert same_bits(out, expected)


@every_shape
def test_add_bias_relu(shape: tuple[int, int]) -> None:
    out, bias = random(*shape), random(shape[1], seed=1)
    expected = np.maximum(out + bias, np.float32(0))
    kernels.dense.add_bias_relu(out, bias)
    assert same_bits(out, expected)


@every_shape
def test_sum_rows(shape: tuple[int, int]) -> None:
    dy, out = random(*shape), np.empty(shape[1], np.float32)
    kernels.dense.sum_rows(dy, out)
    assert same_bits(out, summed_in_order(dy))


def test_sums_over_rows_are_kept_in_float64() -> None:
    dy, out = np.array([[2.0**25], [1], [1], [-(2.0**25)]], np.float32), np.empty(1, np.float32)
    kernels.dense.sum_rows(dy, out)
    assert out[0] == 2


@every_shape
def test_relu_backward_sum_rows(shape: tuple[int, int]) -> None:
    y, dy = np.maximum(random(*shape), np.float32(0)), random(*shape, seed=1)
    dz, out = np.empty_like(dy), np.empty(shape[1], np.float32)
    kernels.dense.relu_backward_sum_rows(y, dy, dz, out)
    expected = np.where(y == 0, np.float32(0), dy)
    assert same_bits(dz, expected)
    assert same_bits(out, summed_in_order(expected))


@given(arrays.arrays(np.float32, st.integers(0, 70), elements=st.floats(width=32)))
def test_relu_and_its_backward_take_any_float(x: F32) -> None:
    out, dx = np.empty_like(x), np.empty_like(x)
    kernels.elementwise.relu(x, out)
    np.testing.assert_array_equal(out, np.where(x <= 0, np.float32(0), x))
    kernels.elementwise.relu_backward(out, x, dx)
    np.testing.assert_array_equal(dx, np.where(out == 0, np.float32(0), x))


@pytest.mark.parametrize("size", (0, 1, 1001))
def test_scale_rounds_the_product_before_the_sum(size: int) -> None:
    scale, shift = np.float32(0.1), np.float32(-0.7)
    floats, pixels, out = random(size), np.arange(size).astype(np.uint8), np.empty(size, np.float32)
    kernels.elementwise.scale_float32(floats, scale, shift, out)
    assert same_bits(out, floats * scale + shift)
    kernels.elementwise.scale_uint8(pixels, scale, shift, out)
    assert same_bits(out, pixels.astype(np.float32) * scale + shift)


def test_an_output_that_cannot_be_written_is_refused() -> None:
    out = random(3)
    out.flags.writeable = False
    with pytest.raises(TypeError):
        kernels.elementwise.relu(random(3), out)


@given(st.floats(-700, 700))
def test_exp_of_the_activations_is_right_to_1e_11(x: float) -> None:
    assert float(kernels.activation.exp(np.float64(x))) == pytest.approx(math.exp(x), rel=1e-11)


def test_exp_of_the_activations_at_its_ends() -> None:
    exp = kernels.activation.exp
    assert exp(np.float64(0)) == 1
    assert exp(np.float64(-math.inf)) == exp(np.float64(-700)) < 1e-300
    assert exp(np.float64(800)) == exp(np.float64(700)) > 1e300
    assert math.isnan(exp(np.float64(math.nan)))


@given(st.floats(-87, 87, width=32))
def test_exp_in_float32_is_right_to_3e_7(x: float) -> None:
    found = [float(kernels.activation.exp_single(np.float32(x)))]
    found += [float(kernels.softmax.exp_single(np.float32(x)))] if x <= 0 else []
    assert found == pytest.approx([math.exp(x)] * len(found), rel=3e-7)


def test_exp_in_float32_at_its_ends() -> None:
    for exp in (kernels.activation.exp_single, kernels.softmax.exp_single):
        assert exp(np.float32(0)) == 1
        assert math.isnan(exp(np.float32(math.nan)))
    assert kernels.softmax.exp_single(np.float32(-math.inf)) == kernels.softmax.exp_single(np.float32(-88)) == 0
    exp = kernels.activation.exp_single
    assert exp(np.float32(-math.inf)) == exp(np.float32(-87)) < 1.7e-38
    assert exp(np.float32(math.inf)) == exp(np.float32(87)) > 6e37


@given(st.floats(0, 20, width=32))
def test_the_tail_of_the_normal_distribution_is_right_to_5e_7(z: float) -> None:
    tail = float(kernels.activation.upper_tail(np.float32(z))) * math.exp(-z * z)
    assert tail == pytest.approx(math.erfc(z), abs=5e-7)


def summed_in_eights(x: Array) -> float:
    """Eight sums of every eighth number, those in pairs, then what is left number by number; in float64."""
    lanes, whole = np.zeros(8), len(x) // 8 * 8
    for eight in x[:whole].reshape(-1, 8):
        lanes += eight
    while len(lanes) > 1:
        lanes = lanes[::2] + lanes[1::2]
    return float(sum(x[whole:].astype(np.float64), lanes[0]))


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 31, 128])
def test_sums_of_the_norms_are_in_float64_and_in_eights(n: int) -> None:
    x, dy, weight, mean = random(n), random(n, seed=1), random(n, seed=2), 0.3
    far, g, norms = x - np.float64(mean), dy.astype(np.float64) * weight, kernels.normalisation
    assert norms.added(x) == summed_in_eights(x.astype(np.float64))
    assert norms.squares(x, mean) == summed_in_eights(far * far)
    assert norms.dots(x, dy, mean) == (summed_in_eights(dy.astype(np.float64)), summed_in_eights(dy * far))
    assert norms.weighted_dots(x, dy, weight, mean) == (summed_in_eights(g), summed_in_eights(g * far))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 9, 129])
@pytest.mark.parametrize(("middle", "spread"), [(0.0, 1.0), (1e4, 1.0), (-3.0, 1e-3)])
def test_moments_in_one_sweep_are_those_of_two(n: int, middle: float, spread: float) -> None:
    x = (middle + spread * np.random.default_rng(n).standard_normal(n)).astype(np.float32)
    mean, var = kernels.normalisation.moments(x, float(x[0]))
    assert mean == pytest.approx(np.mean(x, dtype=np.float64), rel=1e-12)
    assert var == pytest.approx(np.var(x.astype(np.float64)), rel=1e-9, abs=1e-18)


@pytest.mark.parametrize("name", ("elu", "gelu", "silu", "sigmoid", "tanh", "leaky_relu"))
def test_activations_stand_any_float_and_let_not_a_number_pass(name: str) -> None:
    x = np.array([-np.inf, -3e38, -1e4, -0.0, 0.0, 1e-40, 1e4, 3e38, np.inf, np.nan], np.float32)
    out, dx = np.empty_like(x), np.empty_like(x)
    getattr(kernels.activation, name)(x, np.float32(0.5), out)
    kept = out if name in ("sigmoid", "tanh") else x
    getattr(kernels.activation, f"{name}_backward")(kept, np.ones_like(x), np.float32(0.5), dx)
    assert np.isnan(out[-1])
    assert np.isfinite(out[1:-2]).all()
    assert np.isfinite(dx[1:-2]).all()


@pytest.mark.parametrize("outs", (1, 3, 4, 6))
@pytest.mark.parametrize("groups", (1, 2))
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    (((1, 1), (1, 1), (0, 0), (1, 1)), ((3, 5), (1, 1), (1, 2), (1, 1)), ((2, 3), (3, 2), (4, 1), (2, 3))),
)
def test_a_convolution_sees_its_windows_and_takes_images_one_by_one(
    outs: int, groups: int, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> None:
    window = Window(kernel, stride, padding, dilation)
    layer = Conv2d((4, 13, 17), (outs * groups, *window.positions((13, 17))), window, groups)
    assert math.prod(layer.out_shape[1:]) >= kernels.convolution.TILE
    params, x = {name: random(*shape, seed=1) for name, shape in layer.param_shapes.items()}, random(3, 4, 13, 17)
    y, _ = layer.forward(params, x, Pass(training=True, key=0))
    assert same_bits(y[1:2], layer.forward(params, x[1:2].copy(), Pass(training=True, key=0))[0])
    (ph, pw), (sh, sw), (dh, dw) = padding, stride, dilation
    rim = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    wide = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(rim, wide, (2, 3))
    seen = seen[:, :, ::sh, ::sw, ::dh, ::dw].reshape(3, groups, 4 // groups, *layer.out_shape[1:], *kernel)
    weight = params["weight"].reshape(groups, outs, 4 // groups, *kernel).astype(np.float64)
    expected = np.einsum("ngcpqij,gocij->ngopq", seen, weight).reshape(y.shape) + params["bias"][:, None, None]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("relu", (False, True))
@pytest.mark.parametrize("block", (1, 1 << 13))
@pytest.mark.parametrize("outs", (1, 3, 4, 6))
@pytest.mark.parametrize("groups", (1, 2, 4))
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    (((1, 1), (1, 1), (0, 0), (1, 1)), ((3, 5), (1, 1), (1, 2), (1, 1)), ((2, 3), (3, 2), (4, 1), (2, 3))),
)
def test_the_gradient_of_a_window_is_what_it_saw_times_what_came_back(
    relu: bool,
    block: int,
    outs: int,
    groups: int,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against products of matrices, and with memory that is full of what must not get in."""
    window = Window(kernel, stride, padding, dilation)
    places = window.positions((13, 17))
    layer = Conv2d((4, 13, 17), (outs * groups, *places), window, groups, relu=relu)
    assert conv2d.correlates(layer.out_shape, groups)
    params, x = {name: random(*shape, seed=1) for name, shape in layer.param_shapes.items()}, random(7, 4, 13, 17)
    y, tape = layer.forward(params, x, Pass(training=True, key=0))
    dy = random(*y.shape, seed=2)
    monkeypatch.setattr(conv2d, "BLOCK", block)
    for name in ("strips", "product", "columns"):
        scratch.take(name, 1 << 17)[:] = np.nan
    without, found = layer.backward(params, tape, dy, need_dx=False)
    dx, again = layer.backward(params, tape, dy)
    assert without is None and dx is not None
    assert all(same_bits(found[name], again[name]) for name in found)
    monkeypatch.setattr(conv2d, "CORRELATED", 0)
    assert not conv2d.correlates(layer.out_shape, groups)
    expected_dx, expected = layer.backward(params, tape, dy)
    assert expected_dx is not None and same_bits(dx, expected_dx)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name].dtype, found[name].shape) == (gradient.dtype, gradient.shape)
        np.testing.assert_allclose(found[name], gradient, rtol=2e-5, atol=2e-5 * float(np.abs(gradient).max()))


@pytest.mark.parametrize("size", ((2, 2), (5, 7), (28, 28), (9, 36)))
@pytest.mark.parametrize("special", (False, True))
def test_windows_of_four_are_pooled_as_all_others(size: tuple[int, int], special: bool) -> None:
    """The first of equals, not-a-number before all, the last of several such."""
    window = Window((2, 2), (2, 2), (0, 0), (1, 1))
    layer = MaxPool2d((3, *size), (3, *window.positions(size)), window)
    x = np.maximum(random(4, 3, *size), np.float32(0))  # many are equal
    if special:
        chosen = np.random.default_rng(3).integers(0, 5, x.shape)
        x[chosen == 0], x[chosen == 1], x[chosen == 2] = np.nan, np.inf, -np.inf
    y, where = layer.forward({}, x, Pass(training=True, key=0))
    for b, c, p, q in np.ndindex(*y.shape):
        best, place = None, -1
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            value = x[b, c, 2 * p + i, 2 * q + j]
            if best is None or value > best or np.isnan(value):
                best, place = value, (2 * p + i) * size[1] + 2 * q + j
        assert where[b, c, p, q] == place
        np.testing.assert_array_equal(y[b, c, p, q], best)
