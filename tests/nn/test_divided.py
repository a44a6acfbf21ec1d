"""A layer's rows among threads: the numbers are the whole batch's, the same ones each time, and nothing gets lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from akkafka.nn import divided
from akkafka.nn.divided import Divided, PartsTape, Team, by_row, effort
from akkafka.nn.layer import Array, Layer, Pass
from akkafka.nn.layers.linear import Linear
from akkafka.nn.spec import LAYERS, build_sequence, layer_spec

from .cases import CASES, TRAINING, Case, both_ways, linear

SIZE = 11  # no multiple of three
DIVISIBLE = [case for case in CASES if by_row(case.build())]
WHOLE = [case for case in CASES if not by_row(case.build())]


@pytest.fixture
def team(monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    """Of three, for whom no work is too small."""
    monkeypatch.setattr(divided, "WORTH", 1)
    three = Team(3)
    yield three
    three.close()


@pytest.mark.parametrize("case", DIVISIBLE, ids=lambda case: case.name)
def test_numbers_are_those_of_the_whole_batch(case: Case, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divided, "effort", lambda layer: 1)  # those without weights are divided, too
    layer, params, x, dy = case.build(), case.weights(), case.batch(SIZE), case.gradient(SIZE)
    parted = Divided(layer, team)
    y, tape = parted.forward(params, x, TRAINING)
    assert isinstance(tape, PartsTape) and len(tape.tapes) == 3
    dx, grads = parted.backward(params, tape, dy)
    assert dx is not None
    expected = both_ways(layer, params, x, dy, TRAINING)
    given = {"y": y, "dx": dx, **{f"grad {name}": gradient for name, gradient in grads.items()}}
    assert given.keys() == expected.keys()
    for name, array in expected.items():
        assert given[name].dtype == array.dtype and given[name].flags.c_contiguous
        np.testing.assert_allclose(given[name], array, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(array).max())))
    without, same = parted.backward(params, tape, dy, need_dx=False)
    assert without is None and all(np.array_equal(same[name], gradient) for name, gradient in grads.items())


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_what_is_left_whole_would_give_other_numbers(case: Case) -> None:
    """Masks go by the row's place in the batch, statistics by all the rows."""
    layer, params, x = case.build(), case.weights(), case.batch(8)
    together, _ = layer.forward(params, x, TRAINING)
    halves = [layer.forward(params, half, TRAINING)[0] for half in (x[:4], x[4:])]
    assert not np.allclose(together, np.concatenate(halves), rtol=1e-3, atol=1e-3)


def test_every_layer_of_ours_is_known_to_be_one_or_the_other() -> None:
    """A new layer brings its case, and one of the two tests above is put to it."""
    tried = {data["type"] for case in CASES for data in case.layers}
    assert tried >= LAYERS.keys() - {"sequential"}
    types = {data["type"] for case in WHOLE for data in case.layers}
    assert types & {"dropout", "dropconnect", "batch-norm"} == {"dropout", "dropconnect", "batch-norm"}


def test_layers_of_others_are_left_whole() -> None:
    class Own:
        """Says nothing of its rows."""

    class Centred(Linear):
        """Minus the batch's mean, on top of a layer that is divided."""

    own: Any = Own()
    assert not by_row(own)
    assert by_row(Linear(3, 2)) and not by_row(Centred(3, 2))


def test_a_dropout_anywhere_within_keeps_a_block_whole() -> None:
    inner = {"type": "residual", "layers": [{"type": "dropout"}]}
    block = [layer_spec(data) for data in (linear(4), {"type": "parallel", "branches": [[inner], [linear(4)]]})]
    assert not by_row(build_sequence(block, (4,), np.dtype(np.float32)))


@pytest.mark.parametrize(
    ("layers", "shape", "expected"),
    [
        ([linear(50)], (784,), 784 * 50 + 50),
        ([{"type": "conv2d", "out": 6, "kernel": 5, "padding": 2}], (1, 28, 28), 4 * (6 * 25 + 6) * 784),
        ([{"type": "relu"}, linear(3), linear(2)], (4,), 15 + 8),
        ([{"type": "rnn", "out": 5}], (7, 2), 4 * (2 * 5 + 5 * 5 + 5) * 7),
        ([{"type": "parallel", "branches": [[linear(3)], [linear(2)]]}], (4,), 15 + 10),
    ],
)
def test_effort_is_each_weight_once_for_every_place_and_more_outside_of_linear_layers(
    layers: list[dict[str, Any]], shape: tuple[int, ...], expected: int
) -> None:
    specs = [layer_spec(data) for data in layers]
    layer = build_sequence(specs, shape, np.dtype(np.float32))
    assert effort(layer) == expected


def test_a_batch_that_is_not_worth_it_stays_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divided, "WORTH", 1 << 20)
    layer = CASES[0].build()  # 6 x 4
    params, team = CASES[0].weights(), Team(2)
    parted = Divided(layer, team)
    least = 2 * divided.WORTH // effort(layer) + 1
    for rows, parts in ((1, False), (least // 2, False), (least, True)):
        y, tape = parted.forward(params, np.ones((rows, 6), np.float32), TRAINING)
        assert isinstance(tape, PartsTape) is parts and y.shape == (rows, 4)
        _, grads = parted.backward(params, tape, np.ones((rows, 4), np.float32))
        np.testing.assert_allclose(grads["0.bias"], rows)
    team.close()


class Dawdling:
    """A layer that sometimes takes its time, so that parts end in another order each time."""

    def __init__(self, layer: Layer) -> None:
        self.layer, self.naps = layer, iter(np.random.default_rng(4).random(1000) / 200)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.layer, name)

    def forward(self, params: Any, x: Array, run: Pass) -> Any:
        time.sleep(next(self.naps))
        return self.layer.forward(params, x, run)

    def backward(self, params: Any, tape: Any, dy: Any, *, need_dx: bool = True) -> Any:
        time.sleep(next(self.naps))
        return self.layer.backward(params, tape, dy, need_dx=need_dx)


def test_bits_are_the_same_whichever_thread_is_faster(team: Team) -> None:
    case = next(case for case in CASES if case.name == "linear and relu")
    layer: Any = Dawdling(case.build())
    parted, params, x, dy = Divided(layer, team), case.weights(), case.batch(SIZE), case.gradient(SIZE)
    found = set()
    for _ in range(20):
        y, tape = parted.forward(params, x, TRAINING)
        dx, grads = parted.backward(params, tape, dy)
        assert dx is not None
        found.add(b"".join(array.tobytes() for array in (y, dx, *grads.values())))
    assert len(found) == 1


# --- the team -----------------------------------------------------------------------------------------------


def test_results_come_in_order_and_each_part_is_done_once(team: Team) -> None:
    done: list[int] = []

    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        done.append(number)
        return number * number

    assert team.map(work, 20) == [number * number for number in range(20)]
    assert sorted(done) == list(range(20))


def test_parts_are_under_way_at_once(team: Team) -> None:
    """Each waits for the two others."""
    all_here = threading.Barrier(3)
    assert team.map(lambda number: all_here.wait(timeout=30) >= 0, 3) == [True] * 3


def test_helpers_that_are_taken_are_not_waited_for(team: Team) -> None:
    free = threading.Event()
    taken = [team.beside(lambda: bytes(free.wait(30))) for _ in range(2)]
    try:
        ran = team.map(lambda number: threading.get_ident(), 4)
    finally:
        free.set()
    assert ran == [threading.get_ident()] * 4
    assert [wait() for wait in taken] == [b"\0", b"\0"]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_what_a_part_raises_is_raised_once_all_have_ended(team: Team, failing: int) -> None:
    ended, all_here = [], threading.Barrier(3)

    def work(number: int) -> None:
        all_here.wait(timeout=30)
        if number == failing:
            raise ValueError(f"part {number}")
        time.sleep(0.05)
        ended.append(number)

    with pytest.raises(ValueError, match=f"part {failing}"):
        team.map(work, 3)
    assert sorted(ended) == [number for number in range(3) if number != failing]
    assert team.map(lambda number: number, 3) == [0, 1, 2], "the team works on"


def test_work_beside_is_done_by_a_helper_or_by_who_asks_for_it(team: Team) -> None:
    begun = threading.Event()

    def named() -> bytes:
        begun.set()
        return threading.current_thread().name.encode()

    wait = team.beside(named)
    assert begun.wait(30) and wait().startswith(b"team")
    free = threading.Event()
    taken = [team.beside(lambda: bytes(free.wait(30))) for _ in range(2)]
    late = team.beside(named)
    assert late() == threading.current_thread().name.encode()
    free.set()
    assert [ask() for ask in taken] == [b"\0", b"\0"]
