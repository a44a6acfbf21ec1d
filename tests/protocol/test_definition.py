"""A definition is the same for all who read it, and whatever does not fit together is told before anything starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akkafka.data import registry
from akkafka.data.epochs import Shard
from akkafka.errors import ConfigError, ShapeError
from akkafka.protocol.definition import (
    MAX_LANES,
    Definition,
    lane_plan,
    mask_key,
    parse_definition,
)
from akkafka.protocol.messages import Mode, Run
from akkafka.protocol.settings import LaneSpec, TrainLanes
from tests.protocol.cases import unhurried

SGD = {"type": "sgd", "lr": 0.1}
SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"name": "digits"},
    "gates": [
        {"name": "a", "layers": [{"type": "scale"}, {"type": "linear", "out": 4}, {"type": "relu"}], "optimizer": SGD},
        {"name": "b", "layers": [{"type": "linear", "out": 10}], "optimizer": SGD},
    ],
}
SMALL_HASH = "5a183b6ae2b0d485f7c9be5fb903883f078cb89d24d2d12d2abded791a05871b"


def small(**fields: Any) -> Definition:
    """SMALL with other fields, by the way that a reader of the log takes."""
    return parse_definition(json.dumps({**SMALL, **fields}))


def gates(*layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": f"g{i}", "layers": own, "optimizer": SGD} for i, own in enumerate(layers)]


def refused(kind: type[ConfigError] = ConfigError, **fields: Any) -> str:
    with pytest.raises(kind) as error:
        small(**fields)
    return str(error.value)


# Hash and canonical form


def test_the_hash_of_a_definition_stays_what_it_was() -> None:
    """If it changes, every network in every log is another one to the new akkafka: only a new schema may do that."""
    assert small().hash == SMALL_HASH


def test_defaults_that_are_spelled_out_change_nothing() -> None:
    spelled = json.loads(small().canonical)
    assert small(**spelled).hash == small().hash


def test_the_order_of_keys_changes_nothing() -> None:
    backwards = json.dumps(dict(reversed(SMALL.items())))
    assert parse_definition(backwards).hash == small().hash


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "other"},
        {"seed": 1},
        {"batch_size": 65},
        {"data": {"name": "digits", "holdout": 10}},
        {"lanes": {"train": [{"lanes": 2}]}},
        {"lanes": {"validate": 3}},
        {"schedule": {"window": 6}},
        {"snapshots": {"every_bytes": 1024}},
        {"gates": [{**SMALL["gates"][0], "optimizer": {"type": "sgd", "lr": 0.2}}, SMALL["gates"][1]]},
    ],
    ids=str,
)
def test_every_setting_changes_the_hash(fields: dict[str, Any]) -> None:
    assert small(**fields).hash != small().hash


LAYERS = st.lists(
    st.sampled_from(
        [
            {"type": "relu"},
            {"type": "linear", "out": 7},
            {"type": "linear", "out": 3, "bias": False, "init": "xavier"},
            {"type": "dropout", "p": 0.25},
            {"type": "sequential", "layers": [{"type": "relu"}, {"type": "linear", "out": 5}]},
            {"type": "scale", "scale": 0.1, "shift": -1},
        ]
    ),
    max_size=4,
)
OPTIMIZERS = st.sampled_from(
    [
        SGD,
        {"type": "sgd", "lr": 0.3, "clip_norm": 1, "schedule": {"type": "cosine", "updates": 9, "warmup": 2}},
        {"type": "momentum", "lr": 1e-3, "beta": 0.5, "weight_decay": 1e-4},
        {"type": "dc-asgd-a", "lr": 0.05},
        {"type": "dc-asgd-c", "lr": 0.05, "lam": 0.1, "schedule": {"type": "warmup", "updates": 3}},
    ]
)


@unhurried
@given(
    st.lists(st.tuples(LAYERS, OPTIMIZERS), max_size=3),
    st.integers(0, 2**63 - 1),
    st.lists(st.fixed_dictionaries({"lanes": st.integers(1, 3), "shard": st.sampled_from([None, "0:30"])}), min_size=1),
    st.integers(1, 9),
)
def test_canonical_json_reads_as_an_equal_definition(inner: Any, seed: int, train: Any, window: int) -> None:
    blocks = [
        {"name": f"g{i}", "layers": [*layers, {"type": "relu"}], "optimizer": optimizer}
        for i, (layers, optimizer) in enumerate(inner)
    ]
    one = small(
        gates=[SMALL["gates"][0], *blocks, SMALL["gates"][1]],
        seed=seed,
        lanes={"train": train[:20]},
        schedule={"window": window},
    )
    two = parse_definition(one.canonical)
    assert two == one and two.hash == one.hash and two.canonical == one.canonical


def test_a_changed_copy_has_a_hash_and_layers_of_its_own() -> None:
    one = small()
    assert one.hash and one.layers and one.plan.count
    two = one.model_copy(
        update={"seed": 5, "gates": small(gates=gates([{"type": "scale"}, {"type": "linear", "out": 12}])).gates}
    )
    assert two.hash != one.hash and len(two.layers) == 1


def test_a_changed_copy_is_checked_like_a_new_one() -> None:
    with pytest.raises(ConfigError):
        small().model_copy(update={"gates": small().gates[:1]})


def test_a_definition_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        small().seed = 2  # type: ignore[misc]


def test_runs_of_a_definition_share_its_hash_and_nothing_else() -> None:
    one, two = small().new_run(), small().new_run()
    assert one.definition == two.definition == bytes.fromhex(small().hash)[:8]
    assert one.incarnation != two.incarnation and len(one.incarnation) == 8


# What does not fit


def test_neighbours_that_do_not_fit_are_told_by_name_and_shape() -> None:
    told = refused(
        ShapeError,
        data={"name": "mnist"},
        gates=gates([{"type": "scale"}, {"type": "relu"}], [{"type": "linear", "out": 10}]),
    )
    assert all(word in told for word in ("'g1'", "'g0'", "(1, 28, 28)", "float32", "(n,)"))


def test_a_first_gate_that_does_not_fit_the_data_is_told_by_name_and_shape() -> None:
    told = refused(ShapeError, gates=gates([{"type": "linear", "out": 10}]))
    assert all(word in told for word in ("'g0'", "'digits'", "(64,)", "uint8", "float32"))


def test_a_gate_that_only_reshapes_hands_on_bytes() -> None:
    definition = small(
        data={"name": "mnist"}, gates=gates([{"type": "flatten"}], [{"type": "scale"}, {"type": "linear", "out": 10}])
    )
    assert [layer.out_dtype for layer in definition.layers] == [np.uint8, np.float32]
    assert [layer.in_dtype for layer in definition.layers] == [np.uint8, np.uint8]


@pytest.mark.parametrize("out", [1, 9])
def test_too_few_outputs_for_the_classes_are_told_with_both_numbers(out: int) -> None:
    told = refused(ShapeError, gates=gates([{"type": "scale"}, {"type": "linear", "out": out}]))
    assert f"({out},)" in told and "(10,)" in told and "'g0'" in told


def test_outputs_that_are_no_vector_are_refused() -> None:
    assert "(1, 28, 28)" in refused(ShapeError, data={"name": "mnist"}, gates=gates([{"type": "scale"}]))


def test_softmax_on_real_targets_is_refused() -> None:
    own = {"name": "npz:x.npz", "sample_shape": [64], "dtype": "float32"}
    assert "real targets" in refused(data=own, gates=gates([{"type": "linear", "out": 10}]))


REAL = {"name": "npz:x.npz", "sample_shape": [64], "dtype": "float32"}


@pytest.mark.parametrize("loss", ("mse", "mae", "huber", "binary-cross-entropy"))
def test_real_targets_take_losses_for_real_numbers(loss: str) -> None:
    assert small(data=REAL, loss=loss, gates=gates([{"type": "linear", "out": 3}])).loss == loss


TEXT = {"name": "topics:16"}
EMBEDDED: list[dict[str, Any]] = [{"type": "embedding", "count": 97, "out": 8}, {"type": "lstm", "out": 6}]


def test_a_class_for_each_position_takes_outputs_at_each() -> None:
    each = {"type": "each", "layers": [{"type": "linear", "out": 97}]}
    definition = small(data=TEXT, gates=gates(EMBEDDED, [each]))
    assert (definition.target_shape, definition.classes, definition.layers[-1].out_shape) == ((16,), 97, (16, 97))
    assert definition.telling == ("perplexity", "accuracy")
    assert json.loads(definition.canonical)["data"]["sha256"]


@pytest.mark.parametrize(
    ("layers", "got"),
    [
        ([{"type": "flatten"}, {"type": "linear", "out": 97}], "(97,)"),
        ([{"type": "each", "layers": [{"type": "linear", "out": 96}]}], "(16, 96)"),
        (
            [{"type": "reshape", "shape": [8, 12]}, {"type": "each", "layers": [{"type": "linear", "out": 97}]}],
            "(8, 97)",
        ),
    ],
)
def test_outputs_that_are_not_one_for_each_position_are_told_with_both_shapes(
    layers: list[dict[str, Any]], got: str
) -> None:
    told = refused(ShapeError, data=TEXT, gates=gates(EMBEDDED, layers))
    assert f"'g1' gives {got} float32" in told and "takes (16, 97) float32" in told and "(16,) positions" in told


def test_a_layer_that_takes_vectors_names_both_gates_behind_a_sequence() -> None:
    told = refused(ShapeError, data=TEXT, gates=gates(EMBEDDED, [{"type": "linear", "out": 97}]))
    assert "gate 'g1' does not fit gate 'g0', which gives (16, 6) float32" in told


def test_a_regression_takes_one_output_for_each_number() -> None:
    data = {"name": "diabetes"}
    one = small(data=data, loss="mse", gates=gates([{"type": "linear", "out": 1}]))
    assert (one.target_shape, one.classes, one.telling) == ((), None, ("mae",))
    told = refused(ShapeError, data=data, loss="mse", gates=gates([{"type": "linear", "out": 2}]))
    assert "'g0' gives (2,)" in told and "takes (1,) float32" in told and "'diabetes'" in told
    three = {**REAL, "target_shape": [3]}
    assert small(data=three, loss="mse", gates=gates([{"type": "linear", "out": 3}])).target_shape == (3,)
    assert "takes (3,) float32" in refused(
        ShapeError, data=three, loss="mse", gates=gates([{"type": "linear", "out": 1}])
    )


@pytest.mark.parametrize("loss", ("mse", "mae", "huber"))
def test_losses_for_real_numbers_are_refused_for_classes(loss: str) -> None:
    assert "needs real targets" in refused(loss=loss)


def test_binary_cross_entropy_takes_one_output_for_two_classes() -> None:
    two = {**REAL, "classes": 2}
    assert small(data=two, loss="binary-cross-entropy", gates=gates([{"type": "linear", "out": 1}])).classes == 2
    told = refused(ShapeError, data=two, loss="binary-cross-entropy", gates=gates([{"type": "linear", "out": 2}]))
    assert "(2,)" in told and "(1,)" in told
    assert "10 classes" in refused(ShapeError, loss="binary-cross-entropy")


def test_settings_of_the_loss_are_part_of_the_definition_and_checked() -> None:
    smoothed = small(loss_settings={"smoothing": 0.1})
    assert smoothed.hash != small().hash
    assert parse_definition(smoothed.canonical) == smoothed
    assert "loss_settings" not in small().canonical
    assert "'smooting'" in refused(loss_settings={"smooting": 0.1})


# What is wrong


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "Big"}, "'Big'"),
        ({"name": "a.b"}, "'a.b'"),
        ({"name": ""}, "''"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"seed": 2**63}, "seed must be below"),
        ({"seed": 1.5}, "seed takes a whole number, got 1.5"),
        ({"seed": True}, "seed takes a whole number, got True"),
        ({"batch_size": "64"}, "batch_size takes a whole number, got '64'"),
        ({"loss": "softmax"}, "unknown loss 'softmax'"),
        ({"gates": []}, "at least 1"),
        ({"gates": [{**SMALL["gates"][0]}] * 2}, "names must differ"),
        ({"gates": [{**SMALL["gates"][0], "name": "0"}]}, "name '0'"),
        ({"gates": [{**SMALL["gates"][0], "name": "x.y"}]}, "name 'x.y'"),
        ({"gates": gates([{"type": "liner", "out": 10}])}, "unknown layer 'liner'"),
        ({"gates": gates([{"type": "linear", "out": 10, "ouy": 1}])}, "unknown key 'ouy'"),
        ({"gates": [{**SMALL["gates"][0], "optimizer": {"type": "sdg"}}]}, "unknown optimizer 'sdg'"),
        ({"schedule": {"kind": "fixed", "delay": -1}}, "delay must be at least 0"),
        ({"schedule": {"delay": 3}}, "delay = 3 belongs to kind = 'fixed'"),
        ({"schedule": {"kind": "fixed", "gate_window": 1}}, "gate_window = 1 belongs to kind = 'arrival'"),
        ({"schedule": {"kind": "fixed"}, "lanes": {"train": [{}, {}]}}, "one source"),
        ({"schedule": {"kind": "fixed", "window": 3, "max_staleness": 2}}, "max_staleness = 2 is less than"),
        ({"lanes": {"train": [{"lanes": 64}] * 17}}, f"takes up to {MAX_LANES}"),
        ({"lanes": {"train": [{"shard": "30000"}]}}, "'30000'"),
        ({"lanes": {"train": [{"shard": "5:5"}]}}, "no row"),
        ({"data": {"name": "mnits"}}, "'mnits'"),
        ({"snapshots": {"every_seconds": float("inf")}}, "every_seconds must be finite"),
        ({"colour": "red"}, "colour is no key"),
    ],
    ids=str,
)
def test_a_mistake_is_a_config_error_that_names_it(fields: dict[str, Any], words: str) -> None:
    assert words in refused(**fields)


def test_all_mistakes_are_told_at_once() -> None:
    told = refused(seed=-1, batch_size=0, schedule={"window": 0}, gates=gates([{"type": "liner"}, {"type": "linear"}]))
    assert told.startswith("definition: 5 faults")
    assert all(word in told for word in ("seed", "batch_size", "[schedule] window", "'liner'", "linear: out"))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", "[" * 100_000, '{"a":' * 100_000, "1" * 5000, '{"name": NaN}', "\ud800"]
)
def test_a_text_that_is_no_definition_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_definition(text)


def test_layers_nested_without_end_are_a_config_error() -> None:
    layer = '{"type":"sequential","layers":[' * 5000 + '{"type":"relu"}' + "]}" * 5000
    gate = json.dumps(SMALL["gates"][0]).replace('{"type": "relu"}', layer)
    with pytest.raises(ConfigError):
        parse_definition(json.dumps({**SMALL, "gates": [0]}).replace("0]", f"{gate}]", 1))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@unhurried
@given(st.data(), values)
def test_no_json_can_raise_anything_else(data: st.DataObject, value: Any) -> None:
    fields = json.loads(small().canonical)
    node: Any = fields
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not node[key] or not isinstance(node[key], dict | list) or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = value
    try:
        parse_definition(json.dumps(fields))
    except ConfigError:
        return


# Own data


def test_gates_need_neither_own_data_nor_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "DATASETS", dict(registry.DATASETS))
    registry.register("stars", _no_loader, sample_shape=(6,), dtype="float32", classes=3)
    there = small(data={"name": "stars"}, gates=gates([{"type": "linear", "out": 3}]))
    del registry.DATASETS["stars"]
    here = parse_definition(there.canonical)
    assert here.hash == there.hash and here.layers[0].in_shape == (6,) and here.classes == 3


def test_a_definition_of_unknown_data_without_shapes_is_a_config_error() -> None:
    assert "stars" in refused(data={"name": "stars"})
    assert "nowhere.npz" in refused(data={"name": "npz:nowhere.npz"})


def _no_loader(split: object, context: object) -> Any:
    raise AssertionError("shapes come without loading")


# Lanes


def test_lanes_are_numbered_role_by_role() -> None:
    spec = LaneSpec(train=(TrainLanes(), TrainLanes(lanes=2, shard="0:50")), validate_=2, test=1, predict=1, spare=3)
    plan = lane_plan(spec)
    assert [plan.of(mode) for mode in Mode] == [range(3), range(3, 5), range(5, 6), range(6, 7)]
    assert plan.spare == range(7, 10) and plan.count == 10


def test_lanes_of_one_source_take_its_batches_in_turn_and_sources_do_not_mix() -> None:
    plan = lane_plan(LaneSpec(train=(TrainLanes(lanes=3), TrainLanes(lanes=2, shard="10:20"))))
    assert [(s.lane, s.first, s.stride, s.shard) for s in plan.sources] == [
        (0, 0, 3, None),
        (1, 1, 3, None),
        (2, 2, 3, None),
        (3, 0, 2, Shard(10, 20)),
        (4, 1, 2, Shard(10, 20)),
    ]


@unhurried
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), *(st.integers(0, 4) for _ in range(4)))
def test_every_lane_belongs_to_just_one_role(
    train: list[int], validate: int, test: int, predict: int, spare: int
) -> None:
    groups = tuple(TrainLanes(lanes=n) for n in train)
    plan = lane_plan(LaneSpec(train=groups, validate_=validate, test=test, predict=predict, spare=spare))
    owned = [lane for lanes in (*map(plan.of, Mode), plan.spare) for lane in lanes]
    assert owned == list(range(plan.count)) and plan.count == sum(train) + validate + test + predict + spare
    assert [source.lane for source in plan.sources] == list(plan.of(Mode.TRAIN))


def test_gates_hold_no_more_than_the_window_or_less_if_told() -> None:
    held = [small(schedule={"window": 4, "gate_window": wanted}).gate_window for wanted in (None, 2, 9)]
    assert held == [4, 2, 4]


def test_an_automatic_window_is_bounded_by_its_limit() -> None:
    found, wider = small(schedule={"window": "auto"}), small(schedule={"window": "auto", "window_limit": 40})
    assert found.schedule.auto_window and not small().schedule.auto_window
    assert (found.schedule.window, found.in_flight, found.max_staleness) == (16, 16, 64)
    assert (wider.schedule.window, wider.gate_window) == (40, 40)
    assert "auto" not in small(schedule={"window": 16}).canonical and parse_definition(found.canonical) == found
    assert "window = 'auto' belongs to kind = 'arrival'" in refused(schedule={"window": "auto", "kind": "fixed"})
    assert "[schedule] window" in refused(schedule={"window": "wide"})
    assert "[schedule] window" in refused(schedule={"window": "auto", "window_limit": 0})
    assert "window_limit" in refused(schedule={"window": 4, "window_limit": 8})


def test_bounds_follow_from_window_and_lanes() -> None:
    definition = small(lanes={"train": [{"lanes": 3}]}, schedule={"window": 4, "kind": "fixed"})
    assert (definition.in_flight, definition.delay, definition.max_staleness) == (12, 11, 48)
    told = small(
        lanes={"train": [{"lanes": 3}]}, schedule={"window": 4, "kind": "fixed", "delay": 0, "max_staleness": 12}
    )
    assert (told.delay, told.max_staleness) == (0, 12)


# Masks


def test_the_key_of_a_mask_stays_what_it_was() -> None:
    assert mask_key(Run(b"12345678", b"abcdefgh"), 1, 2, 3) == 79077661427838770861849205089592815536


@unhurried
@given(*[st.tuples(st.integers(0, 300), st.integers(0, 2000), st.integers(0, 2**40))] * 2)
def test_masks_of_different_batches_have_different_keys(one: tuple[int, int, int], two: tuple[int, int, int]) -> None:
    run = Run(b"12345678", b"abcdefgh")
    assert (mask_key(run, *one) == mask_key(run, *two)) == (one == two)
    assert 0 <= mask_key(run, *one) < 1 << 128


def test_masks_go_by_the_definition_and_not_by_its_incarnation(small_key: Callable[[bytes, bytes], int]) -> None:
    assert small_key(b"12345678", b"abcdefgh") == small_key(b"12345678", b"ABCDEFGH")
    assert small_key(b"12345678", b"abcdefgh") != small_key(b"12345679", b"abcdefgh")


@pytest.fixture
def small_key() -> Callable[[bytes, bytes], int]:
    return lambda definition, incarnation: mask_key(Run(definition, incarnation), 0, 0, 0)


def test_the_largest_message_is_a_batch_of_the_widest_edge_or_all_weights_of_a_gate() -> None:
    digits = 64 * 1  # bytes of a sample
    assert small(batch_size=100).largest_bytes == 100 * max(digits, 4 * 4, 4 * 10)
    assert small(batch_size=1).largest_bytes == 4 * (64 * 4 + 4)  # a's weights
