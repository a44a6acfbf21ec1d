"""Laws that every optimizer keeps, put to every row of the table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from akkafka.errors import ShapeError
from akkafka.nn import kernels
from akkafka.nn.layer import F32, FLOAT32, Array
from akkafka.nn.memory import LINE_BYTES
from akkafka.optim.optimizer import OPTIMIZERS, Optimizer, Step, optimizer_spec
from akkafka.optim.warm import warm_up

from .cases import CASES, SHAPES, Case, arrays, same_bits, steps

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def run(optimizer: Optimizer, params: Mapping[str, F32], batch: list[Step]) -> tuple[dict[str, F32], dict[str, F32]]:
    new, state = dict(params), optimizer.init(params)
    for step in batch:
        new, state = optimizer.update(new, state, step)
    return new, state


def from_bytes(arrays_by_name: Mapping[str, F32]) -> dict[str, F32]:
    """As they come out of a message: by value, read-only."""
    return {n: np.frombuffer(a.tobytes(), np.float32).reshape(a.shape) for n, a in arrays_by_name.items()}


@every_case
def test_updates_are_those_of_the_plain_rule_bit_for_bit(case: Case) -> None:
    expected = arrays(0)
    slots = {name: tuple(case.first(slot, w) for slot in case.state) for name, w in expected.items()}
    for t, step in enumerate(steps(5), start=1):
        for name in SHAPES:
            own = Step(step.grads, {"": step.then[name]}, step.staleness, step.version)
            expected[name], slots[name] = case.twin(expected[name], step.grads[name], slots[name], own, t)
    given, state = run(case.build(), arrays(0), steps(5))
    last = {f"{slot}.{name}": array for name in SHAPES for slot, array in zip(case.state, slots[name], strict=True)}
    kept = {name: array for name, array in state.items() if name not in case.scalars}
    if not case.loose:
        assert same_bits(given, expected)
        assert same_bits(kept, last)
    assert kept.keys() == last.keys()
    for name, array in {**expected, **last}.items():
        np.testing.assert_allclose({**given, **kept}[name], array, rtol=1e-5, atol=1e-7)


@every_case
def test_weights_that_fit_into_no_cache_get_the_same_bits_past_it(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    through = run(case.build(), arrays(0), steps(5))
    monkeypatch.setattr(kernels.streaming, "STREAMED_BYTES", 0)
    past = run(case.build(), arrays(0), steps(5))
    assert all(same_bits(one, other) for one, other in zip(through, past, strict=True))
    rule = case.build().rule  # type: ignore[attr-defined]
    lines = {array.ctypes.data % LINE_BYTES for array in past[0].values()}
    assert (lines == {0}) or not rule.streams
    assert [a.shape for a in past[0].values()] == list(SHAPES.values())


@every_case
def test_dtypes_shapes_and_names_stay(case: Case) -> None:
    optimizer, params = case.build(), arrays(0)
    state = optimizer.init(params)
    new, new_state = optimizer.update(params, state, steps(1)[0])
    assert list(new) == list(params)
    slots = [f"{slot}.{name}" for slot in case.state for name in SHAPES]
    assert new_state.keys() == state.keys()
    assert list(state) == [*slots, *case.scalars]
    for before, after in ((params, new), (state, new_state)):
        assert all((after[n].shape, after[n].dtype) == (a.shape, FLOAT32) for n, a in before.items())
        assert all(array.flags.c_contiguous for array in after.values())


@every_case
def test_inputs_are_left_alone_and_outputs_share_no_memory_with_them(case: Case) -> None:
    optimizer, params, step = case.build(), arrays(0), steps(1)[0]
    state = optimizer.init(params)
    inputs = {f"{k} {n}": a for k, d in enumerate((params, state, step.grads, step.then)) for n, a in d.items()}
    before = {name: a.copy() for name, a in inputs.items()}
    new, new_state = optimizer.update(params, state, step)
    optimizer.compensation_ratio(params, state, step)
    assert same_bits(inputs, before)
    for array in [*new.values(), *new_state.values()]:
        assert not any(np.shares_memory(array, other) for other in inputs.values())
    for array in optimizer.init(params).values():
        assert not any(np.shares_memory(array, w) for w in params.values())


@every_case
def test_state_and_weights_survive_being_written_and_read(case: Case) -> None:
    batch = steps(6)
    through = run(case.build(), arrays(0), batch)
    params, state = run(case.build(), arrays(0), batch[:3])
    params, state = from_bytes(params), from_bytes(state)
    optimizer = case.build()
    for step in batch[3:]:
        stored = Step(from_bytes(step.grads), from_bytes(step.then), step.staleness, step.version)
        params, state = optimizer.update(params, state, stored)
    assert same_bits(params, through[0])
    assert same_bits(state, through[1])


@every_case
@pytest.mark.parametrize("tau", (0, 3))
def test_the_floor_of_a_parabola_is_found_with_and_without_delay(case: Case, tau: int) -> None:
    """Loss 0.5·|a·(w - 1)|², a from 0.5 to 1.5; weight decay moves the floor by less than the tolerance."""
    optimizer = case.build(lr=case.rate / 3)
    slope = np.linspace(0.5, 1.5, 6, dtype=np.float32) ** 2
    params = {"w": np.zeros(6, np.float32)}
    state, history = optimizer.init(params), [params]
    for version in range(800):
        then = history[max(0, version - tau)]
        grads = {"w": slope * (then["w"] - np.float32(1))}
        params, state = optimizer.update(params, state, Step(grads, then, min(tau, version), version))
        history.append(params)
    np.testing.assert_allclose(params["w"], 1, atol=0.08)


@every_case
def test_buffers_are_passed_through_and_have_no_state(case: Case) -> None:
    optimizer, params = optimizer_spec(case.data).build(buffers={"0.bias"}), arrays(0)
    step = steps(1)[0]
    state = optimizer.init(params)
    new, new_state = optimizer.update(params, state, step)
    assert new["0.bias"] is params["0.bias"]
    assert not any(name.endswith("0.bias") for name in (*state, *new_state))
    everything, _ = case.build().update(params, case.build().init(params), step)
    assert same_bits({**new, "0.bias": everything["0.bias"]}, everything)


@every_case
def test_the_order_of_names_in_a_gradient_does_not_matter(case: Case) -> None:
    step = steps(1)[0]
    names = list(step.grads)[::-1]
    turned = Step({n: step.grads[n] for n in names}, {n: step.then[n] for n in names}, 1, 0)
    assert same_bits(run(case.build(), arrays(0), [step])[0], run(case.build(), arrays(0), [turned])[0])


@every_case
def test_arrays_in_another_memory_order_give_the_same_numbers(case: Case) -> None:
    step, params = steps(1)[0], arrays(0)
    turned = {name: np.asfortranarray(w) for name, w in params.items()}
    assert not turned["0.weight"].flags.c_contiguous
    assert same_bits(run(case.build(), params, [step])[0], run(case.build(), turned, [step])[0])


def replaced(step: Step, what: str, name: str, array: Array | None) -> Step:
    """`step` with one array of its grads or then replaced or, if None, missing."""
    changed = {n: a for n, a in {**getattr(step, what), name: array}.items() if a is not None}
    parts = {"grads": step.grads, "then": step.then, what: changed}
    return Step(parts["grads"], parts["then"], step.staleness, step.version)


WRONG: tuple[Array | None, ...] = (None, np.zeros((7, 4), np.float32), np.zeros(35, np.float32), np.zeros((7, 5)))


@every_case
@pytest.mark.parametrize("wrong", WRONG, ids=("missing", "narrower", "flat", "float64"))
def test_a_gradient_that_does_not_fit_is_refused_by_name(case: Case, wrong: Array | None) -> None:
    optimizer, params = case.build(), arrays(0)
    with pytest.raises(ShapeError, match=r"gradient 0\.weight: .*takes \(7, 5\) float32"):
        optimizer.update(params, optimizer.init(params), replaced(steps(1)[0], "grads", "0.weight", wrong))


@every_case
@pytest.mark.parametrize("wrong", WRONG, ids=("missing", "narrower", "flat", "float64"))
def test_old_weights_and_state_that_do_not_fit_are_refused_by_name_where_they_are_used(
    case: Case, wrong: Array | None
) -> None:
    optimizer, params, step = case.build(), arrays(0), steps(1)[0]
    state = optimizer.init(params)
    if case.compensates:
        for method in (optimizer.update, optimizer.compensation_ratio):
            with pytest.raises(ShapeError, match=r"weights at the forward 0\.weight: .*takes \(7, 5\)"):
                method(params, state, replaced(step, "then", "0.weight", wrong))
    for slot in case.state:
        name = f"{slot}.0.weight"
        odd = {n: a for n, a in {**state, name: wrong}.items() if a is not None}
        with pytest.raises(ShapeError, match=rf"state {name}: .*takes \(7, 5\)"):
            optimizer.update(params, odd, step)
    for name in case.scalars:
        odd = {n: a for n, a in {**state, name: wrong}.items() if a is not None}
        with pytest.raises(ShapeError, match=rf"state {name}: .*takes \(1,\)"):
            optimizer.update(params, odd, step)


@every_case
def test_the_rate_of_the_version_is_the_one_that_is_used(case: Case) -> None:
    cosine = {"type": "cosine", "updates": 50, "warmup": 5}
    scheduled = case.build(schedule=cosine)
    params, step = arrays(0), steps(18)[17]
    rate = optimizer_spec({**case.data, "schedule": cosine}).rate(17)
    assert 0 < rate < np.float32(0.1)
    given, _ = scheduled.update(params, scheduled.init(params), step)
    plain = case.build(lr=float(rate))
    assert same_bits(given, plain.update(params, plain.init(params), step)[0])


@every_case
def test_warming_up_asks_for_nothing_but_the_params(case: Case) -> None:
    warm_up(case.build(), arrays(0))


@every_case
def test_the_compensation_ratio_is_that_of_the_two_norms(case: Case) -> None:
    """What a step less stale would have added; twins of rules that compensate are linear in lr."""
    optimizer, params, step = case.build(), arrays(0), steps(1)[0]
    state = optimizer.init(params)
    given = optimizer.compensation_ratio(params, state, step)
    assert optimizer.compensates == case.compensates
    if not case.compensates:
        assert given == 0.0
        return
    fresh = Step(step.grads, params, 0, 0)
    assert optimizer.compensation_ratio(params, state, fresh) == 0.0
    nothing = {name: np.zeros_like(w) for name, w in params.items()}
    assert optimizer.compensation_ratio(params, state, Step(nothing, step.then, 1, 0)) == 0.0
    if case.state[:1] == ("v",):
        return
    moved = (optimizer.update(params, state, s)[0] for s in (fresh, step))
    apart = [((fast - slow) / np.float32(0.1)).ravel() for fast, slow in zip(*(w.values() for w in moved), strict=True)]
    lengths = [np.linalg.norm(np.concatenate(list(x))) for x in (apart, [g.ravel() for g in step.grads.values()])]
    assert given == pytest.approx(lengths[0] / lengths[1], rel=1e-4)


def test_every_optimizer_of_the_table_has_a_row_in_the_table_of_cases() -> None:
    assert {case.data["type"] for case in CASES} == set(OPTIMIZERS)
