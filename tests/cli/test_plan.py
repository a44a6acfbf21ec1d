"""Which gates share a process: against trying everything, and on a network that is here."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from akkafka.cli.plan import NEAR, REST_MS, WRITTEN_MS, Cost, lines, measured, partition, placements, proposed, rest_of
from akkafka.protocol.config import load_config

loads = st.lists(st.floats(0, 100), min_size=1, max_size=7)


@settings(deadline=None)
@given(loads, st.data())
def test_the_greatest_sum_is_as_small_as_any_cutting_makes_it(costs: list[float], data: st.DataObject) -> None:
    parts = data.draw(st.integers(1, len(costs)))
    groups = partition(costs, parts)
    assert [i for group in groups for i in group] == list(range(len(costs)))
    assert len(groups) == parts and all(groups)
    every = [
        max(sum(costs[i:j]) for i, j in zip((0, *cuts), (*cuts, len(costs)), strict=True))
        for cuts in combinations(range(1, len(costs)), parts - 1)
    ]
    assert max(sum(costs[i] for i in group) for group in groups) == min(every)


def test_where_cores_are_few_gates_share_processes() -> None:
    found = placements([6.0, 3.0, 3.0], rest_ms=10.0, cores=2)
    assert [p.layers for p in found] == [["0-2"], ["0", "1-2"], ["0", "1", "2"]]
    assert [p.batch_ms for p in found] == [12.0, 11.0, 11.0]
    assert proposed(found).layers == ["0", "1-2"], "a process more would gain nothing"


def test_where_cores_are_many_each_gate_has_its_own() -> None:
    assert proposed(placements([3.0, 3.0, 3.0], rest_ms=10.0, cores=16)).layers == ["0", "1", "2"]


def test_one_that_is_nearly_as_good_with_fewer_processes_is_proposed() -> None:
    near = placements([10.0, 10.0 * (NEAR - 1) / 2, 0.01], rest_ms=0.0, cores=9)
    assert proposed(near).layers == ["0-2"]
    assert proposed(placements([10.0, 2.0, 0.01], rest_ms=0.0, cores=9)).layers == ["0", "1-2"]


def test_costs_are_measured_of_every_gate_and_told_with_what_to_set() -> None:
    definition = load_config(None, ["wire.edges=bfloat16"]).definition
    costs = measured(definition)
    assert [cost.name for cost in costs] == ["fc1", "fc2", "fc3"]
    assert all(cost.compute_ms > 0 and cost.codec_ms > 0 for cost in costs)
    assert [cost.out_bytes for cost in costs] == [32 * 48 * 2, 32 * 24 * 2, 32 * 10 * 4]
    digits = ((64, 48), (48, 24), (24, 10))
    for cost, (wide, narrow) in zip(costs, digits, strict=True):
        input_gradient = 0 if cost is costs[0] else 32 * wide * 2
        least = cost.out_bytes + input_gradient + 4 * (wide + 1) * narrow  # a gradient in the journal is float32
        assert least < cost.written_bytes < least + 500
    told = lines(definition, costs, placements([9.0, 1.0, 1.0], 0.0, 4), 4)
    assert any('--set \'run.processes=["0", "1-2"]\'' in line for line in told)


def test_a_gate_that_computes_more_costs_more() -> None:
    wide = load_config(None, ["batch_size=512", "gate.fc1.layers.1.out=1024", "gate.fc2.layers.0.out=8"]).definition
    first, _, last = measured(wide)
    assert first.compute_ms > last.compute_ms and first.own_ms > last.own_ms
    assert Cost("fc1", 0.0, 0.0, 0, 0).own_ms > 0, "Python's and the client's share"


def test_every_byte_that_is_written_costs_the_broker() -> None:
    costs = [Cost("a", 0.0, 0.0, 1_000_000, 3_000_000), Cost("b", 0.0, 0.0, 500_000, 1_500_000)]
    assert rest_of(costs) == REST_MS + 5 * WRITTEN_MS, "and the loss's gradient, as large as the last result"
