"""Laws that every layer keeps, put to every row of the table of cases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from akkafka.errors import ShapeError
from akkafka.nn.layer import FLOAT32, Array, Params, Pass, check_params
from akkafka.nn.warm import warm_up

from . import twin
from .cases import CASES, EVALUATION, TRAINING, Case, both_ways

BATCHES = (1, 2, 7, 33)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
every_batch = pytest.mark.parametrize("size", BATCHES)
every_mode = pytest.mark.parametrize("run", (TRAINING, EVALUATION), ids=("training", "evaluation"))


def frozen(array: Array) -> Array:
    """A copy that cannot be written, as arrays from a message can't."""
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def in_float64(params: Params) -> dict[str, NDArray[np.float64]]:
    return {name: w.astype(np.float64) for name, w in params.items()}


def same_bits(one: dict[str, Array], other: dict[str, Array]) -> bool:
    return one.keys() == other.keys() and all(one[n].tobytes() == other[n].tobytes() for n in one)


def slope(function: Callable[[NDArray[np.float64]], float], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gradient of `function` by central differences, in float64."""
    result = np.empty_like(at)
    for index in np.ndindex(at.shape):
        ends = []
        for step in (1e-6, -1e-6):
            moved = at.copy()
            moved[index] += step
            ends.append(function(moved))
        result[index] = (ends[0] - ends[1]) / 2e-6
    return result


@every_case
@every_batch
@every_mode
def test_forward_gives_what_the_plain_twin_gives(case: Case, size: int, run: Pass) -> None:
    params, x = case.weights(), case.batch(size)
    y, _ = case.build().forward(params, x, run)
    key = run.key if run.training else None
    expected = twin.forward(case.layers, in_float64(params), x.astype(np.float64), key)
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5)


@every_case
@every_mode
def test_backward_is_the_slope_of_the_forward(case: Case, run: Pass) -> None:
    size = 3
    params, x, dy = case.weights(), case.batch(size), case.gradient(size)
    given = both_ways(case.build(), params, x, dy, run)
    key = run.key if run.training else None

    def scored(moved_params: dict[str, NDArray[np.float64]], moved_x: NDArray[np.float64]) -> float:
        return float((twin.forward(case.layers, moved_params, moved_x, key) * dy).sum())

    params64, x64 = in_float64(params), x.astype(np.float64)
    expected = {"dx": slope(lambda moved: scored(params64, moved), x64)}
    for name, w in params64.items():
        if name in case.buffers:  # no slope but a statistic, which has a law of its own
            continue
        expected[f"grad {name}"] = slope(lambda moved, name=name: scored({**params64, name: moved}, x64), w)  # type: ignore[misc]
    assert given.keys() - {"y"} - {f"grad {name}" for name in case.buffers} == expected.keys()
    for name, slopes in expected.items():
        np.testing.assert_allclose(given[name], slopes, rtol=2e-4, atol=2e-4 * max(1.0, np.abs(slopes).max()))


@every_case
@every_batch
def test_shapes_and_dtypes_are_the_promised_ones_and_all_is_contiguous(case: Case, size: int) -> None:
    layer, params = case.build(), case.weights()
    assert (layer.in_shape, layer.out_shape) == (case.in_shape, case.out_shape)
    assert (layer.in_dtype, layer.out_dtype) == (np.dtype(case.in_dtype), np.dtype(case.out_dtype))
    given = both_ways(layer, params, case.batch(size), case.gradient(size), TRAINING)
    assert (given["y"].shape, given["y"].dtype) == ((size, *case.out_shape), np.dtype(case.out_dtype))
    assert (given["dx"].shape, given["dx"].dtype) == ((size, *case.in_shape), FLOAT32)
    for name, w in params.items():
        assert (given[f"grad {name}"].shape, given[f"grad {name}"].dtype) == (w.shape, FLOAT32)
    assert all(array.flags.c_contiguous for array in given.values())


@every_case
def test_params_have_flat_names_with_the_position(case: Case) -> None:
    layer = case.build()
    params = layer.init(np.random.default_rng(0))
    assert dict(layer.param_shapes) == dict(case.params)
    assert list(params) == list(layer.param_shapes)
    check_params(layer, params)
    assert all(w.flags.c_contiguous for w in params.values())
    assert dict(layer.buffers) == dict(case.buffers)
    assert layer.buffers.keys() <= params.keys()


@every_case
@every_mode
def test_inputs_that_cannot_be_written_give_the_same_bits_as_those_that_can(case: Case, run: Pass) -> None:
    layer, params, x, dy = case.build(), case.weights(), case.batch(7), case.gradient(7)
    before = {**{n: w.copy() for n, w in params.items()}, "x": x.copy(), "dy": dy.copy()}
    given = both_ways(layer, params, x, dy, run)
    assert same_bits(before, {**params, "x": x, "dy": dy})
    read_only = {name: frozen(w) for name, w in params.items()}
    assert same_bits(given, both_ways(layer, read_only, frozen(x), frozen(dy), run))


@every_case
def test_a_pass_can_be_repeated_from_its_key(case: Case) -> None:
    params, x, dy = case.weights(), case.batch(33), case.gradient(33)
    once = both_ways(case.build(), params, x, dy, TRAINING)
    again = both_ways(case.build(), params, x, dy, Pass(True, TRAINING.key))
    assert same_bits(once, again)


@every_case
@pytest.mark.parametrize("bit", (0, 63, 64, 127))
def test_every_bit_of_the_key_matters_just_where_there_is_chance(case: Case, bit: int) -> None:
    params, x, dy = case.weights(), case.batch(33), case.gradient(33)
    once = both_ways(case.build(), params, x, dy, TRAINING)
    other = both_ways(case.build(), params, x, dy, Pass(True, TRAINING.key ^ (1 << bit)))
    assert same_bits(once, other) != case.chance


@every_case
def test_outside_of_training_there_is_no_chance(case: Case) -> None:
    params, x, dy = case.weights(), case.batch(33), case.gradient(33)
    once = both_ways(case.build(), params, x, dy, EVALUATION)
    assert same_bits(once, both_ways(case.build(), params, x, dy, Pass(False, 5)))
    assert same_bits(once, both_ways(case.build(), params, x, dy, TRAINING)) != (case.chance or case.differs)


@every_case
@every_mode
def test_gradients_of_the_params_do_not_depend_on_whether_dx_is_wanted(case: Case, run: Pass) -> None:
    layer, params, dy = case.build(), case.weights(), case.gradient(7)
    _, tape = layer.forward(params, case.batch(7), run)
    _, wanted = layer.backward(params, tape, dy)
    dx, grads = layer.backward(params, tape, dy, need_dx=False)
    assert dx is None
    assert same_bits(dict(wanted), dict(grads))


@every_case
def test_many_batches_may_be_in_flight_with_weights_of_their_own(case: Case) -> None:
    layer, sizes = case.build(), (1, 7, 33)
    weights = [case.weights(seed) for seed in range(3)]
    batches = [case.batch(size, seed) for seed, size in enumerate(sizes)]
    runs = [Pass(True, key) for key in range(3)]
    alone = [both_ways(layer, w, x, case.gradient(len(x)), r) for w, x, r in zip(weights, batches, runs, strict=True)]
    tapes = [layer.forward(w, x, r)[1] for w, x, r in zip(weights, batches, runs, strict=True)]
    for k in (1, 2, 0):
        dx, grads = layer.backward(weights[k], tapes[k], case.gradient(sizes[k]))
        assert dx is not None
        assert same_bits({"dx": dx, **{f"grad {n}": g for n, g in grads.items()}}, _without_y(alone[k]))


def _without_y(given: dict[str, Array]) -> dict[str, Array]:
    return {name: array for name, array in given.items() if name != "y"}


@every_case
def test_a_batch_of_another_shape_or_dtype_is_refused_with_both(case: Case) -> None:
    layer, params, x = case.build(), case.weights(), case.batch(3)
    wrong_dtype = x.astype(np.float64)
    wider = np.zeros((3, *case.in_shape[:-1], case.in_shape[-1] + 1), x.dtype)
    backwards = np.zeros((*reversed(x.shape),), x.dtype).T
    for wrong in (wrong_dtype, wider, x[:0], x[0], backwards):
        with pytest.raises(ShapeError, match="batch: got") as err:
            layer.forward(params, wrong, TRAINING)
        assert "takes" in str(err.value)


@every_case
def test_a_gradient_that_does_not_fit_its_forward_is_refused(case: Case) -> None:
    layer, params = case.build(), case.weights()
    _, tape = layer.forward(params, case.batch(3), TRAINING)
    wider = np.zeros((3, *case.out_shape[:-1], case.out_shape[-1] + 1), np.float32)
    doubles: Array = case.gradient(3).astype(np.float64)
    for wrong in (case.gradient(4), case.gradient(2), wider, doubles):
        with pytest.raises(ShapeError, match="gradient: got"):
            layer.backward(params, tape, wrong)


@every_case
def test_warming_up_asks_for_nothing_but_the_layer(case: Case) -> None:
    warm_up(case.build(), batch=2)


@every_case
def test_params_of_other_names_shapes_or_dtypes_are_refused(case: Case) -> None:
    layer, params = case.build(), case.weights()
    with pytest.raises(ShapeError, match="stray"):
        check_params(layer, {**params, "stray": np.zeros(1, np.float32)})
    for name, w in params.items():
        for wrong in (w[..., :0], w.astype(np.float64)):
            with pytest.raises(ShapeError, match=name):
                check_params(layer, {**params, name: wrong})


@every_case
@every_batch
def test_statistics_follow_the_batch_in_training_and_nothing_outside_of_it(case: Case, size: int) -> None:
    """A buffer's entry is the batch's statistic; the twin tells it from the input of the layer it belongs to."""
    layer, params, x, dy = case.build(), case.weights(), case.batch(size), case.gradient(size)
    told: dict[str, NDArray[np.float64]] = {}
    twin.forward(case.layers, in_float64(params), x.astype(np.float64), TRAINING.key, told=told)
    assert told.keys() == layer.buffers.keys()
    given = both_ways(layer, params, x, dy, TRAINING)
    for name, statistic in told.items():
        np.testing.assert_allclose(given[f"grad {name}"], statistic, rtol=1e-4, atol=1e-5)
    outside = both_ways(layer, params, x, dy, EVALUATION)
    for name in layer.buffers:
        assert outside[f"grad {name}"].tobytes() == params[name].tobytes()


def test_a_token_that_is_none_is_refused_with_what_is_taken() -> None:
    case = next(case for case in CASES if case.name == "embedding")
    with pytest.raises(ShapeError, match="tokens run from 9 to 9, takes 0 to 8"):
        case.build().forward(case.weights(), np.full((2, 5), 9, np.uint8), TRAINING)


def test_a_causal_position_knows_nothing_of_those_behind_it() -> None:
    case = next(case for case in CASES if case.name == "attention causal")
    layer, params, x = case.build(), case.weights(), case.batch(3)
    y, _ = layer.forward(params, x, TRAINING)
    later = x.copy()
    later[:, 2:] += 1
    z, _ = layer.forward(params, later, TRAINING)
    assert y[:, :2].tobytes() == z[:, :2].tobytes()
    assert not (y[:, 2:] == z[:, 2:]).any()
