"""Laws that every optimizer keeps, put to every row of the table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from akkafka.errors import ShapeError
from akkafka.nn.layer import F32, FLOAT32, Array
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
    states: dict[str, F32 | None] = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    for step in steps(5):
        for name in SHAPES:
            expected[name], states[name] = case.twin(expected[name], step.grads[name], step.then[name], states[name])
    given, state = run(case.build(), arrays(0), steps(5))
    assert same_bits(given, expected)
    last = {f"{case.state}.{n}": s for n, s in states.items() if s is not None}
    assert same_bits(state, last)


@every_case
def test_dtypes_shapes_and_names_stay(case: Case) -> None:
    optimizer, params = case.build(), arrays(0)
    state = optimizer.init(params)
    new, new_state = optimizer.update(params, state, steps(1)[0])
    assert list(new) == list(params)
    assert list(new_state) == list(state) == ([f"{case.state}.{name}" for name in SHAPES] if case.state else [])
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
    optimizer = case.build()
    slope = np.linspace(0.5, 1.5, 6, dtype=np.float32) ** 2
    params = {"w": np.zeros(6, np.float32)}
    state, history = optimizer.init(params), [params]
    for version in range(400):
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
    if case.state:
        name = f"{case.state}.0.weight"
        odd = {n: a for n, a in {**state, name: wrong}.items() if a is not None}
        with pytest.raises(ShapeError, match=rf"state {name}: .*takes \(7, 5\)"):
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
    optimizer, params, step = case.build(), arrays(0), steps(1)[0]
    state = {name: np.abs(s) for name, s in zip(optimizer.init(params), arrays(9).values(), strict=False)}
    given = optimizer.compensation_ratio(params, state, step)
    if not case.compensates:
        assert given == 0.0
        return
    lr, moved, grads = np.float32(0.1), [], []
    for name, w in params.items():
        own = state.get(f"{case.state}.{name}")
        stale, fresh = (case.twin(w, step.grads[name], then, own)[0] for then in (step.then[name], w))
        moved.append(((fresh - stale) / lr).ravel())
        grads.append(step.grads[name].ravel())
    expected = np.linalg.norm(np.concatenate(moved)) / np.linalg.norm(np.concatenate(grads))
    assert given == pytest.approx(expected, rel=1e-4)
    assert optimizer.compensation_ratio(params, state, Step(step.grads, params, 0, 0)) == 0.0
    nothing = {name: np.zeros_like(w) for name, w in params.items()}
    assert optimizer.compensation_ratio(params, state, Step(nothing, step.then, 1, 0)) == 0.0


def test_every_optimizer_of_the_table_has_a_row_in_the_table_of_cases() -> None:
    assert {case.data["type"] for case in CASES} == set(OPTIMIZERS)
