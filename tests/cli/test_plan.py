"""Which gates share a process: against trying everything, and on a network that is here."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from akkafka.cli.plan import (
    GATE_MS,
    NEAR,
    REST_MS,
    WRITTEN_MS,
    Cost,
    lines,
    measured,
    merged,
    mergers,
    partition,
    placements,
    proposed,
    rest_of,
)
from akkafka.nn.divided import WORTH
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
    quick = [replace(cost, compute_ms=0.1, codec_ms=0.1) for cost in costs]  # however busy this machine is
    told = lines(definition, quick, placements([9.0, 1.0, 1.0], 0.0, 4), 4)
    assert any('--set \'run.processes=["0", "1-2"]\'' in line for line in told)
    assert any("--set 'merge=[\"0-2\"]'" in line for line in told), "on so few samples messages are all"
    alone = load_config(None, ['merge=["0-2"]']).definition
    assert not any("merge" in line for line in lines(alone, costs[:1], placements([9.0], 0.0, 4), 4))


def test_a_gate_that_computes_more_costs_more() -> None:
    wide = load_config(None, ["batch_size=512", "gate.fc1.layers.1.out=1024", "gate.fc2.layers.0.out=8"]).definition
    first, _, last = measured(wide)
    assert first.compute_ms > last.compute_ms and first.own_ms > last.own_ms
    assert Cost("fc1", 0.0, 0.0, 0, 0, 0).own_ms > 0, "Python's and the client's share"


def test_every_byte_that_is_written_costs_the_broker() -> None:
    costs = [Cost("a", 0.0, 0.0, 1_000_000, 0, 2_000_000), Cost("b", 0.0, 0.0, 500_000, 400_000, 600_000)]
    assert rest_of(costs) == REST_MS + 5 * WRITTEN_MS, "and the loss's gradient, as large as the last result"


COSTS = [
    Cost("a", 20.0, 0.5, 1_000_000, 0, 300_000),
    Cost("b", 16.0, 0.4, 500_000, 1_000_000, 200_000),
    Cost("c", 4.0, 0.1, 40_000, 500_000, 10_000),
]


def test_a_merged_gate_computes_all_and_writes_nothing_between_its_layers() -> None:
    one = merged(COSTS[1:])
    assert one == Cost("b-c", 20.0, 0.1, 40_000, 1_000_000, 210_000, effort=sum(cost.effort for cost in COSTS[1:]))
    assert one.own_ms == 20.1 + GATE_MS
    whole = merged(COSTS)
    assert whole.written_bytes == 40_000 + 510_000
    assert not merged([COSTS[0], Cost("n", 1.0, 0.1, 1, 1, 1, by_row=False)]).by_row


def test_merging_is_reckoned_with_all_cores_on_the_rows_and_with_what_is_still_written() -> None:
    one, two = mergers(COSTS, cores=4)
    assert [one.layers, two.layers] == [["0-2"], ["0", "1-2"]]
    assert abs(one.busiest_ms - (40.0 / 4 + 0.1 + GATE_MS)) < 1e-9
    rest = REST_MS + WRITTEN_MS * (40_000 + 510_000 + 40_000) / 1e6
    assert abs(one.batch_ms - max(one.busiest_ms, (40.1 + GATE_MS + rest) / 4)) < 1e-9
    assert abs(two.busiest_ms - (20.0 / 2 + 0.5 + GATE_MS)) < 1e-9
    whole = [Cost(cost.name, cost.compute_ms, 0.1, 1, 1, 1, by_row=False) for cost in COSTS]
    assert mergers(whole, cores=4)[0].busiest_ms == 40.1 + GATE_MS, "one thread for all the rows"
    small = [replace(cost, effort=WORTH // 2) for cost in COSTS]
    assert mergers(small, cores=4)[0].busiest_ms == 40.1 + GATE_MS, "not worth dividing"
