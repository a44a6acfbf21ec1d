"""The loss against a plain twin, its gradient against differences, and its stubbornness against odd logits."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from akkafka.errors import ConfigError, ShapeError
from akkafka.nn import kernels
from akkafka.nn.layer import F32, FLOAT32, Array
from akkafka.nn.losses import LOSSES, Loss, derived, loss_named, softmax_cross_entropy, telling

F64 = NDArray[np.float64]
SIZES = ((1, 1), (1, 10), (7, 3), (33, 10), (5, 257))


def batch(size: int, classes: int, scale: float = 3.0) -> tuple[F32, NDArray[np.int64]]:
    rng = np.random.default_rng(size * 1000 + classes)
    logits = (rng.standard_normal((size, classes)) * scale).astype(np.float32)
    return logits, rng.integers(0, classes, size)


def plain(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    """Mean loss in float64, the long way."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_p[np.arange(len(targets)), targets].mean())


@pytest.mark.parametrize(("size", "classes"), SIZES)
def test_loss_hits_and_gradient_are_those_of_the_plain_twin(size: int, classes: int) -> None:
    logits, targets = batch(size, classes)
    result = softmax_cross_entropy(logits, targets)
    assert result.loss == pytest.approx(plain(logits.astype(np.float64), targets), rel=1e-12, abs=1e-14)
    assert result.correct == int((logits.argmax(axis=1) == targets).sum())
    e = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    expected = (e / e.sum(axis=1, keepdims=True) - np.eye(classes)[targets]) / size
    assert (result.dlogits.shape, result.dlogits.dtype) == (logits.shape, FLOAT32)
    np.testing.assert_allclose(result.dlogits, expected, rtol=1e-6, atol=1e-12)


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    logits, targets = batch(4, 5)
    result = softmax_cross_entropy(logits, targets)
    for index in np.ndindex(logits.shape):
        ends = []
        for step in (1e-6, -1e-6):
            moved = logits.astype(np.float64)
            moved[index] += step
            ends.append(plain(moved, targets))
        assert result.dlogits[index] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-8)


def test_bits_are_what_they_have_always_been() -> None:
    """All bits below were found with 50 decimal digits, too."""
    logits = ((np.arange(12) * 7919 % 1000 - 500) / np.float32(100)).astype(np.float32).reshape(3, 4)
    result = softmax_cross_entropy(logits, np.array([0, 2, 1]))
    assert result.loss.hex() == "0x1.19e3dcf557dc8p+2"
    assert result.dlogits.astype("<f4").tobytes().hex() == (
        "f4a7aabe95c44f3ebedab83dcd77243d4836453e7676af3d152797be38e58a3c4836453e1a9a7dbeae1c1c3d37e58a3c"
    )


@pytest.mark.parametrize("dtype", ("uint8", "int32", "int64", "uint32"))
def test_targets_may_be_of_any_integer_dtype(dtype: str) -> None:
    logits, targets = batch(33, 10)
    expected, result = softmax_cross_entropy(logits, targets), softmax_cross_entropy(logits, targets.astype(dtype))
    assert (result.loss, result.correct) == (expected.loss, expected.correct)
    assert result.dlogits.tobytes() == expected.dlogits.tobytes()


def test_inputs_are_left_alone_and_may_be_read_only() -> None:
    logits, targets = batch(7, 3)
    before = logits.tobytes(), targets.tobytes()
    logits.flags.writeable = targets.flags.writeable = False
    softmax_cross_entropy(logits, targets)
    assert (logits.tobytes(), targets.tobytes()) == before


@given(arrays.arrays(np.float32, (3, 4), elements=st.floats(-3.0000000054977558e38, 3.0000000054977558e38, width=32)))
def test_no_finite_logits_give_anything_but_finite_numbers_within_bounds(logits: F32) -> None:
    result = softmax_cross_entropy(logits, np.array([0, 1, 2]))
    assert 0 <= result.loss < math.inf
    assert np.isfinite(result.dlogits).all()
    assert np.abs(result.dlogits).max() <= np.float32(1 / 3)
    assert np.abs(result.dlogits.sum(axis=1)).max() < 1e-6


def test_logits_far_apart_are_stable() -> None:
    logits = np.array([[1e4, -1e4], [-1e30, 1e30]], np.float32)
    result = softmax_cross_entropy(logits, np.array([0, 1]))
    assert (result.loss, result.correct) == (0.0, 2)
    wrong = softmax_cross_entropy(logits[:1], np.array([1]))
    assert (wrong.loss, wrong.correct) == (20000.0, 0)
    np.testing.assert_array_equal(wrong.dlogits, [[1, -1]])


def test_equal_logits_count_as_the_first_class() -> None:
    result = softmax_cross_entropy(np.zeros((3, 3), np.float32), np.array([0, 1, 2]))
    assert result.correct == 1
    assert result.loss == pytest.approx(math.log(3), rel=1e-15)


@pytest.mark.parametrize("odd", (np.nan, np.inf))
@pytest.mark.parametrize("where", (0, 2))
def test_a_row_that_is_not_finite_shows_in_loss_and_gradient_and_is_no_hit(odd: float, where: int) -> None:
    logits = np.zeros((2, 3), np.float32)
    logits[0, where] = odd
    result = softmax_cross_entropy(logits, np.array([where, 0]))
    assert math.isnan(result.loss)
    assert np.isnan(result.dlogits[0]).any()
    assert np.isfinite(result.dlogits[1]).all()
    assert result.correct == 1


def test_a_class_ruled_out_by_minus_infinity_has_no_probability() -> None:
    result = softmax_cross_entropy(np.array([[0, -np.inf]], np.float32), np.array([0]))
    assert (result.loss, result.correct) == (0.0, 1)
    np.testing.assert_array_equal(result.dlogits, [[0, 0]])


@pytest.mark.parametrize("bad", (-1, 3, 2**40))
def test_a_target_that_is_no_class_is_named_with_its_sample(bad: int) -> None:
    logits, targets = batch(7, 3)
    targets[4] = bad
    with pytest.raises(ShapeError, match=rf"target of sample 4 is {bad}, takes 0 to 2"):
        softmax_cross_entropy(logits, targets)


def test_batches_that_make_no_sense_are_refused_with_both_shapes() -> None:
    logits, targets = batch(7, 3)
    doubles: Array = logits.astype(np.float64)
    for wrong in (logits[0], doubles, logits[:0], logits[:, :0], np.asfortranarray(logits)):
        with pytest.raises(ShapeError, match=r"takes \(B, C\) float32"):
            softmax_cross_entropy(wrong, targets)
    for odd in (targets[:6], targets.astype(np.float32), targets[:, None]):
        with pytest.raises(ShapeError, match=r"takes \(7,\) of whole numbers"):
            softmax_cross_entropy(logits, odd)


@given(st.floats(-708, 0))
def test_exp_is_right_to_2e_14(x: float) -> None:
    assert float(kernels.softmax.exp(np.float64(x))) == pytest.approx(math.exp(x), rel=2e-14)


def test_exp_at_its_ends() -> None:
    given_ends = [float(kernels.softmax.exp(np.float64(x))) for x in (0.0, -708.1, -1e300, -math.inf)]
    assert given_ends == [1.0, 0.0, 0.0, 0.0]
    assert math.isnan(kernels.softmax.exp(np.float64(math.nan)))


@given(st.floats(1, 1e300))
def test_log_is_right_to_1e_15(x: float) -> None:
    assert abs(float(kernels.softmax.log(np.float64(x))) - math.log(x)) <= 1e-15 * max(1.0, math.log(x))


def test_log_at_its_ends() -> None:
    assert float(kernels.softmax.log(np.float64(1))) == 0.0
    assert float(kernels.softmax.log(np.float64(math.inf))) == math.inf
    assert math.isnan(kernels.softmax.log(np.float64(math.nan)))


def test_a_loss_is_found_by_name_and_a_wrong_name_brings_the_nearest() -> None:
    assert loss_named("softmax-cross-entropy") is LOSSES["softmax-cross-entropy"] is softmax_cross_entropy
    with pytest.raises(ConfigError, match="unknown loss 'softmax-crossentropy'") as err:
        loss_named("softmax-crossentropy")
    assert "softmax-cross-entropy" in err.value.hint


# Every loss, by a table


def numbers(*shape: int, seed: int = 0, scale: float = 2.0) -> F32:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def classes_of(count: int, *shape: int) -> Array:
    return np.random.default_rng(9).integers(0, count, shape)


def log_softmax(x: F64) -> F64:
    shifted: F64 = x - x.max(axis=-1, keepdims=True)
    logs: F64 = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logs


def smoothed(x: F64, t: Array, smoothing: float) -> float:
    wanted = (1 - smoothing) * np.eye(x.shape[-1])[t] + smoothing / x.shape[-1]
    return float(-(wanted * log_softmax(x)).sum(axis=-1).mean())


def crossed(x: F64, t: Array) -> float:
    t = t.reshape(x.shape).astype(np.float64)
    return float((np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))).mean())


def hubered(x: F64, t: Array, delta: float) -> float:
    d = np.abs(x - t.reshape(x.shape))
    return float(np.where(d <= delta, d * d / 2, delta * (d - delta / 2)).mean())


Row = tuple[str, Loss, F32, Array, Callable[[F64, Array], float]]
ROWS: tuple[Row, ...] = (
    ("softmax", loss_named("softmax-cross-entropy"), numbers(7, 4), classes_of(4, 7), lambda x, t: smoothed(x, t, 0)),
    (
        "softmax smoothed",
        loss_named("softmax-cross-entropy", {"smoothing": 0.1}),
        numbers(7, 12),
        classes_of(12, 7),
        lambda x, t: smoothed(x, t, 0.1),
    ),
    (
        "softmax of a sequence",
        loss_named("softmax-cross-entropy", {"smoothing": 0.3}),
        numbers(3, 5, 4),
        classes_of(4, 3, 5),
        lambda x, t: smoothed(x, t, 0.3),
    ),
    ("binary", loss_named("binary-cross-entropy"), numbers(9, 1), classes_of(2, 9), crossed),
    ("binary of many", loss_named("binary-cross-entropy"), numbers(5, 3), np.abs(numbers(5, 3, seed=1)) % 1, crossed),
    (
        "mse",
        loss_named("mse"),
        numbers(9, 1),
        numbers(9, seed=1),
        lambda x, t: float(((x - t.reshape(x.shape)) ** 2).mean()),
    ),
    ("mse of many", loss_named("mse"), numbers(5, 3), numbers(5, 3, seed=1), lambda x, t: float(((x - t) ** 2).mean())),
    ("mae", loss_named("mae"), numbers(5, 3), numbers(5, 3, seed=1), lambda x, t: float(np.abs(x - t).mean())),
    ("huber", loss_named("huber"), numbers(5, 3), numbers(5, 3, seed=1), lambda x, t: hubered(x, t, 1.0)),
    (
        "huber, wide",
        loss_named("huber", {"delta": 2.5}),
        numbers(8, 1),
        numbers(8, seed=1),
        lambda x, t: hubered(x, t, 2.5),
    ),
)
every_loss = pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].replace(" ", "-"))


@every_loss
def test_every_loss_is_that_of_its_plain_twin_and_its_gradient_is_the_slope(row: Row) -> None:
    _, loss, x, targets, twin = row
    before = x.tobytes(), targets.tobytes()
    result = loss(x, targets)
    assert result.loss == pytest.approx(twin(x.astype(np.float64), targets), rel=1e-6)
    assert (result.dlogits.shape, result.dlogits.dtype, result.dlogits.flags.c_contiguous) == (x.shape, FLOAT32, True)
    for index in np.ndindex(x.shape):
        ends = []
        for step in (1e-6, -1e-6):
            moved = x.astype(np.float64)
            moved[index] += step
            ends.append(twin(moved, targets))
        assert result.dlogits[index] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-7)
    assert (x.tobytes(), targets.tobytes()) == before
    again = loss(x, targets)
    assert (again.loss, again.dlogits.tobytes()) == (result.loss, result.dlogits.tobytes())


@every_loss
def test_not_a_number_shows_in_every_loss_and_its_gradient(row: Row) -> None:
    _, loss, x, targets, _ = row
    odd = x.copy()
    odd[0, ..., 0] = np.nan
    result = loss(odd, targets)
    assert math.isnan(result.loss)
    assert np.isnan(result.dlogits[0]).any()
    assert np.isfinite(result.dlogits[1:]).all()


@every_loss
def test_every_loss_stands_numbers_far_apart(row: Row) -> None:
    _, loss, x, targets, _ = row
    result = loss((x * np.float32(1e18)).astype(np.float32), targets)
    assert math.isfinite(result.loss)
    assert np.isfinite(result.dlogits).all()


@every_loss
def test_every_loss_refuses_targets_that_do_not_fit(row: Row) -> None:
    _, loss, x, targets, _ = row
    for wrong in (targets[:-1], targets[None], targets.astype(object)):
        with pytest.raises(ShapeError, match="loss: got targets"):
            loss(x, wrong)
    odds: tuple[Any, ...] = (x.astype(np.float64), x[:0], np.asfortranarray(np.repeat(x, 2, axis=-1)))
    for odd in odds:
        with pytest.raises(ShapeError, match="loss: got"):
            loss(odd, targets)


@every_loss
def test_every_loss_is_that_of_pytorch(row: Row) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install -e '.[dev,peers]'")
    functional = torch.nn.functional
    name, loss, x, targets, _ = row
    their_x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    if name.startswith("softmax"):
        smoothing = {"softmax": 0.0, "softmax smoothed": 0.1, "softmax of a sequence": 0.3}[name]
        flat, t = their_x.reshape(-1, x.shape[-1]), torch.tensor(targets).reshape(-1)
        theirs = functional.cross_entropy(flat, t, label_smoothing=smoothing)
    else:
        t = torch.tensor(targets, dtype=torch.float64).reshape(x.shape)
        kinds = {
            "bin": functional.binary_cross_entropy_with_logits,
            "mse": functional.mse_loss,
            "mae": functional.l1_loss,
        }
        delta = 2.5 if "wide" in name else 1.0
        theirs = kinds[name[:3]](their_x, t) if name[:3] in kinds else functional.huber_loss(their_x, t, delta=delta)
    theirs.backward()
    result = loss(x, targets)
    assert result.loss == pytest.approx(theirs.item(), rel=1e-6)
    expected = their_x.grad.numpy()
    np.testing.assert_allclose(result.dlogits, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_every_loss_of_the_table_has_a_row() -> None:
    named = {"softmax": "softmax-cross-entropy", "binary": "binary-cross-entropy"}
    assert {named.get(row[0].split(" ")[0].rstrip(","), row[0].split(" ")[0].rstrip(",")) for row in ROWS} == set(
        LOSSES
    )


def test_metrics_tell_accuracy_the_five_greatest_and_the_mean_way() -> None:
    logits = np.tile(np.arange(8, dtype=np.float32), (4, 1))
    result = softmax_cross_entropy(logits, np.array([7, 3, 2, 0]))
    assert result.metrics == {"accuracy": 0.25, "top-5": 0.5}
    assert result.correct == 1
    few = softmax_cross_entropy(logits[:, :5].copy(), np.array([4, 4, 0, 0]))
    assert few.metrics == {"accuracy": 0.5}
    sequence = softmax_cross_entropy(logits.reshape(2, 2, 8), np.array([[7, 3], [7, 7]]))
    assert (sequence.correct, sequence.metrics["accuracy"]) == (1.5, 0.75)
    binary = loss_named("binary-cross-entropy")(np.array([[2], [-1], [3]], np.float32), np.array([1, 0, 0]))
    assert binary.correct == pytest.approx(2)
    assert binary.metrics["accuracy"] == pytest.approx(2 / 3)
    real = loss_named("huber")(np.array([[1.0], [5.0]], np.float32), np.array([2.0, 2.0]))
    assert (real.correct, real.metrics) == (0, {"mae": 2.0})
    assert derived("softmax-cross-entropy", math.log(20)) == {"perplexity": pytest.approx(20)}
    assert derived("mse", 3.0) == {}


def test_what_tells_most_goes_by_the_loss_and_by_what_comes_out() -> None:
    assert telling("softmax-cross-entropy", (10,)) == ("accuracy",)
    assert telling("softmax-cross-entropy", (100,)) == ("accuracy", "top-5")
    assert telling("softmax-cross-entropy", (64, 97)) == ("perplexity", "accuracy")
    assert telling("binary-cross-entropy", (1,)) == ("accuracy",)
    assert telling("huber", (1,)) == ("mae",)


def test_settings_of_a_loss_are_checked_by_name_and_range() -> None:
    for name, settings, message, hint in (
        ("softmax-cross-entropy", {"smooting": 0.1}, "unknown setting 'smooting'", "smoothing"),
        ("softmax-cross-entropy", {"smoothing": 1.5}, "smoothing = 1.5: takes a number from 0 to 1", ""),
        ("huber", {"delta": True}, "delta = True", ""),
        ("mse", {"delta": 1.0}, "unknown setting 'delta'", "no settings"),
    ):
        with pytest.raises(ConfigError, match=message) as err:
            loss_named(name, settings)
        assert hint in err.value.hint


@given(st.floats(0, 1))
def test_log_of_one_plus_is_right_to_1e_15(e: float) -> None:
    given_log = float(kernels.losses.log_of_one_plus(np.float64(e)))
    assert given_log == pytest.approx(math.log1p(e), rel=2e-15, abs=sys.float_info.min)  # what is not normal may be 0
