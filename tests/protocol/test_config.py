"""Configuration files: what is right is read as it was meant, what is wrong is told all at once and by its name."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akkafka.errors import AkkafkaError, ConfigError, DataError, ShapeError
from akkafka.protocol import config
from akkafka.protocol.config import RunSettings, bundled, load_config
from akkafka.protocol.definition import parse_definition
from akkafka.sentences import sentence
from tests.protocol.cases import unhurried

GOOD = """
name = "net"
[data]
name = "digits"
[optimizer]
type = "sgd"
lr = 0.1
[[gate]]
name = "fc1"
layers = [{ type = "scale" }, { type = "linear", out = 8 }, { type = "relu" }]
[[gate]]
name = "fc2"
layers = [{ type = "linear", out = 10 }]
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes net.toml into an empty working directory and gives its name."""
    monkeypatch.chdir(tmp_path)

    def put(text: str) -> Path:
        Path("net.toml").write_text(text)
        return Path("net.toml")

    return put


def refused(path: Path | None, *overrides: str, kind: type[AkkafkaError] = ConfigError) -> AkkafkaError:
    with pytest.raises(kind) as error:
        load_config(path, overrides)
    return error.value


# What is right


def test_tables_become_the_fields_of_the_definition(write: Write) -> None:
    text = GOOD.replace('name = "net"', 'name = "net"\nseed = 3\nbatch_size = 32', 1)
    found = load_config(write(text + "[schedule]\nwindow = 2\n[snapshots]\nevery_seconds = 5\n")).definition
    assert (found.name, found.seed, found.batch_size, found.data.name) == ("net", 3, 32, "digits")
    assert (found.schedule.window, found.snapshots.every_seconds) == (2, 5.0)
    assert [gate.name for gate in found.gates] == ["fc1", "fc2"]
    assert parse_definition(found.canonical) == found


def test_gates_have_the_networks_optimizer_or_their_own_or_its_with_some_keys_changed(write: Write) -> None:
    text = GOOD.replace("lr = 0.1", "lr = 0.1\nclip_norm = 2.0")
    text = text.replace('name = "fc1"', 'name = "fc1"\noptimizer = { lr = 0.5 }')
    text = text.replace('name = "fc2"', 'name = "fc2"\noptimizer = { type = "momentum", lr = 0.3 }')
    one, two = (gate.optimizer.model_dump() for gate in load_config(write(text)).definition.gates)
    assert (one["type"], one["lr"], one["clip_norm"]) == ("sgd", 0.5, 2.0)
    assert (two["type"], two["lr"], two.get("clip_norm")) == ("momentum", 0.3, None)


@pytest.mark.parametrize(
    ("train", "lanes"),
    [
        ("3", [(3, None)]),
        ("{ lanes = 2, shard = '0:50' }", [(2, "0:50")]),
        ("[{ lanes = 1 }, { shard = '0:50' }]", [(1, None), (1, "0:50")]),
    ],
)
def test_training_lanes_are_a_number_or_sources(write: Write, train: str, lanes: list[tuple[int, str | None]]) -> None:
    found = load_config(write(f"{GOOD}[lanes]\ntrain = {train}\nvalidate = 3")).definition.lanes
    assert [(group.lanes, group.shard) for group in found.train] == lanes and found.validate_ == 3


def test_run_settings_are_no_part_of_the_definition(write: Write) -> None:
    one = load_config(write(GOOD))
    two = load_config(write(f"{GOOD}[run]\nepochs = 3\nsentinels = 2\nvalidate_every = 7"))
    assert one.run == RunSettings() and two.run == RunSettings(epochs=3, sentinels=2, validate_every=7.0)
    assert one.definition.hash == two.definition.hash


def test_every_run_setting_has_a_sentence() -> None:
    assert all(sentence(RunSettings, field).endswith(".") for field in RunSettings.model_fields)


def test_own_data_are_described_in_the_definition(tmp_path: Path, write: Write) -> None:
    (tmp_path / "files").mkdir()
    np.savez(tmp_path / "files" / "own.npz", x=np.zeros((4, 3), np.float32), y=np.array([0, 1, 2, 1], np.uint8))
    text = GOOD.replace('"digits"', '"npz:own.npz"').replace("out = 10", "out = 3")
    data = load_config(write(text), data_dir=tmp_path / "files").definition.data
    assert (data.sample_shape, data.dtype, data.classes) == ((3,), "float32", 3)
    assert "own.npz" in str(refused(write(text), kind=DataError))


# What is wrong


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[schedule]\nwindow = 0", "net.toml: [schedule] window must be at least 1, got 0"),
        ("[schedule]\nkind = 'eager'", "net.toml: [schedule] kind takes 'arrival' or 'fixed', got 'eager'"),
        ("[schedule]\nwindow = '5'", "net.toml: [schedule] window takes a whole number, got '5'"),
        ("[schedule]\nwindow = true", "net.toml: [schedule] window takes a whole number, got True"),
        ("[snapshots]\nevery_seconds = 0", "net.toml: [snapshots] every_seconds must be above 0.0, got 0"),
        ("[run]\nepochs = 0", "net.toml: [run] epochs must be at least 1, got 0"),
        ("[lanes]\ntrain = 0", "net.toml: [lanes] train.0.lanes must be at least 1, got 0"),
        ("[lanes]\ntrain = true", "net.toml: [lanes] train takes a list, got True"),
        ("[lanes]\ntrain = []", "net.toml: [lanes] train takes at least 1, got []"),
        ("[[gate]]\nname = 'fc3'\nlayers = []", "net.toml: [gate.fc3] layers takes at least 1, got []"),
        ("[[gate]]\nlayers = [{ type = 'relu' }]", "net.toml: [gate.2] name is missing"),
        ("[[gate]]\nname = 'fc3'", "net.toml: [gate.fc3] layers is missing"),
        ("[[gate]]\nname = 'fc3'\nlayers = [{type='relu'}]\nin_flight = 0", "[gate.fc3] in_flight is no key"),
        ("[[gate]]\nname = 'fc2'\nlayers = [{type='relu'}]", "net.toml: [[gate]] names must differ"),
        ("[lanes]\ntrain = [{shard = '0:1438'}]", "net.toml: shard 0:1438 reaches behind the data set's 1437"),
    ],
)
def test_a_mistake_is_told_by_file_table_and_key(write: Write, line: str, told: str) -> None:
    assert told in str(refused(write(f"{GOOD}{line}")))


@pytest.mark.parametrize(
    ("old", "new", "told", "hint"),
    [
        ('name = "net"', 'nmae = "net"', "nmae is no key", "did you mean name"),
        ("[data]", "[dta]", "dta is no key", "did you mean data"),
        ('type = "scale"', 'type = "scall"', "[gate.fc1] layers.0: unknown layer 'scall'", "scale"),
        ('type = "sgd"', 'type = "sdg"', "optimizer: unknown optimizer 'sdg'", "sgd"),
        ("lr = 0.1", "lrr = 0.1", "optimizer", "lr"),
        ('"digits"', '"digit"', "there is no data set 'digit'", "digits"),
    ],
)
def test_a_misspelled_name_is_told_with_the_nearest(write: Write, old: str, new: str, told: str, hint: str) -> None:
    error = refused(write(GOOD.replace(old, new, 1)))
    assert told in str(error) and hint in f"{error} {error.hint}"


def test_an_unknown_key_of_a_table_is_told_with_the_nearest_of_that_table(write: Write) -> None:
    error = refused(write(f"{GOOD}[schedule]\nwindw = 3"))
    assert "[schedule] windw is no key" in str(error) and "did you mean window" in error.hint


def test_the_sentence_about_a_setting_is_the_hint(write: Write) -> None:
    assert refused(write(f"{GOOD}[schedule]\nwindow = 0")).hint.startswith("Training batches in flight")


def test_all_mistakes_of_a_file_are_told_at_once(write: Write) -> None:
    text = GOOD.replace("out = 8", "out = 0").replace('type = "relu"', 'type = "rely"').replace('"digits"', '"digit"')
    told = str(refused(write(f"sed = 1\n{text}[schedule]\nwindow = 0\nx = 1\n[run]\nepochs = 0")))
    assert told.startswith("net.toml: 7 faults\n") and told.count("\n  ") == 7
    for part in (
        "sed ",
        "[gate.fc1] layers.1",
        "'rely'",
        "'digit'",
        "[schedule] window",
        "[schedule] x",
        "[run] epochs",
    ):
        assert part in told


def test_a_wrong_optimizer_of_the_network_is_told_once_and_not_for_each_gate(write: Write) -> None:
    told = str(refused(write(GOOD.replace("lr = 0.1", "lr = -1"))))
    assert told.startswith("net.toml: optimizer: ") and told.count("lr") == 1


def test_no_optimizer_at_all_is_told_once(write: Write) -> None:
    error = refused(write(GOOD.replace('[optimizer]\ntype = "sgd"\nlr = 0.1\n', "")))
    assert str(error) == "net.toml: optimizer is missing"


def test_layers_that_do_not_fit_are_a_shape_error_of_the_file(write: Write) -> None:
    error = refused(write(GOOD.replace("out = 10", "out = 9")), kind=ShapeError)
    assert str(error).startswith("net.toml: gate 'fc2' gives (9,)") and "out = 10" in error.hint


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('name = "net"\nseed = \n', "net.toml: line 2, column 8: invalid value"),
        ("[data\n", "net.toml: line 1, column 6: "),
        ("a = 1\na = 2\n", "net.toml: line 2, column 6: cannot overwrite a value"),
        ("a = [1,\n2", "net.toml: line 2, column 2: "),
        ('a = "x', "net.toml: line 1, column 7: "),
        ("a = " + "[" * 5000, "net.toml: line 1"),
    ],
)
def test_a_fault_of_syntax_is_told_by_line_and_column(write: Write, text: str, told: str) -> None:
    assert str(refused(write(text))).startswith(told)


def test_a_file_that_is_not_utf8_is_told_by_line(tmp_path: Path) -> None:
    (tmp_path / "net.toml").write_bytes(b'name = "net"\n# gr\xfc\xdf\n')
    assert "line 2: not UTF-8" in str(refused(tmp_path / "net.toml"))


def test_a_missing_file_is_told_with_those_that_there_are(write: Write) -> None:
    error = refused(Path("nothing.toml"))
    assert str(error).startswith("nothing.toml: ") and "mnist" in error.hint and "digits" in error.hint


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert str(tmp_path) in str(refused(tmp_path))


# Overrides


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("seed=7", "seed", 7),
        ("name=other", "name", "other"),
        ("name='a-b'", "name", "a-b"),
        ("name=2030-01-01", "name", "2030-01-01"),
        (" schedule.window = 3 ", "schedule.window", 3),
        ("schedule.kind=fixed", "schedule.kind", "fixed"),
        ("gate.fc1.optimizer.lr=0.7", "gates.0.optimizer.lr", 0.7),
        ("gate.1.optimizer.lr=1", "gates.1.optimizer.lr", 1.0),
        ("optimizer.lr=0.7", "gates.1.optimizer.lr", 0.7),
        ("optimizer.lr=.7", "gates.1.optimizer.lr", 0.7),
        ("optimizer.lr=+7.e-1", "gates.1.optimizer.lr", 0.7),
        ("optimizer.lr=7e-1", "gates.1.optimizer.lr", 0.7),
        ("gate.fc1.layers.1.out=20", "gates.0.layers.1.out", 20),
        ("gate.fc1.name=first", "gates.0.name", "first"),
        ("lanes.train=3", "lanes.train.0.lanes", 3),
        ("lanes.train=[{lanes=1,shard='0:9'}]", "lanes.train.0.shard", "0:9"),
        ("data.holdout=100", "data.holdout", 100),
        ("optimizer.schedule={type='warmup',updates=5}", "gates.0.optimizer.schedule.updates", 5),
    ],
)
def test_an_override_changes_what_it_names(write: Write, override: str, path: str, value: object) -> None:
    node: Any = load_config(write(GOOD), [override]).definition
    for key in path.split("."):
        node = node[int(key)] if key.isdigit() else getattr(node, key)
    assert node == value and type(node) is type(value)


def test_an_override_of_the_network_leaves_a_gates_own_setting_alone_in_either_order(write: Write) -> None:
    for order in itertools.permutations(("optimizer.lr=0.7", "gate.fc1.optimizer.lr=0.3")):
        gates = load_config(write(GOOD), order).definition.gates
        assert [gate.optimizer.lr for gate in gates] == [0.3, 0.7]


def test_of_two_overrides_the_last_counts(write: Write) -> None:
    assert load_config(write(GOOD), ["seed=1", "seed=2"]).definition.seed == 2


def test_overrides_reach_the_run_settings_too(write: Write) -> None:
    assert load_config(write(GOOD), ["run.epochs=3"]).run.epochs == 3


def test_the_file_stays_as_it_was(write: Write) -> None:
    path = write(GOOD)
    load_config(path, ["seed=9"])
    assert path.read_text() == GOOD


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("seed", "--set seed: takes key.path=value"),
        ("=3", "--set =3: takes key.path=value"),
        ("schedule..window=3", "takes key.path=value"),
        ("seed=[1", "--set seed=[1: the value is no TOML"),
        ("seed=many", "net.toml with --set seed=many: seed takes a whole number, got 'many'"),
        ("seed=1\nname = 'x'", "seed takes a whole number"),
        ("schedule.window=0", "net.toml with --set schedule.window=0: [schedule] window must be at least 1"),
        ("gate.0.layers.1.out=0", "net.toml with --set gate.0.layers.1.out=0: [gate.fc1] layers.1"),
        ("gate.fc2.layers.0.out=9", "net.toml with --set gate.fc2.layers.0.out=9: gate 'fc2' gives (9,)"),
        ("name.x=1", "--set name.x=1: name is 'net', it has no key 'x'"),
        ("gate.fc9.optimizer.lr=1", "--set gate.fc9.optimizer.lr=1: gate has no entry 'fc9', takes 0 to 1 or a name"),
        ("gate.7.optimizer.lr=1", "takes 0 to 1 or a name"),
        ("gate.-1.optimizer.lr=1", "takes 0 to 1 or a name"),
        ("gate.fc1.layers.5.out=1", "gate.fc1.layers has no entry '5', takes 0 to 2"),
        ("gate=[]", "gate takes at least 1"),
        ("gate=3", "gate takes a list, got 3"),
        ("data=3", "data takes a table, got 3"),
        ("run=3", "run takes a table, got 3"),
        ("optimizer=3", "takes a table with the key 'type'"),
    ],
)
def test_an_override_that_leads_nowhere_is_told_by_its_own_words(write: Write, override: str, told: str) -> None:
    assert told in str(refused(write(GOOD), override))


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("schedule.windw=3", "window"),
        ("shedule.window=3", "schedule"),
        ("gate.fc3.optimizer.lr=1", "fc1"),
        ("run.epoch=3", "epochs"),
        ("gate.fc1.optimiser.lr=1", "optimizer"),
    ],
)
def test_an_unknown_path_is_told_with_the_nearest_names(write: Write, override: str, hint: str) -> None:
    error = refused(write(GOOD), override)
    assert override in str(error) and "did you mean" in error.hint and hint in error.hint


def test_only_the_flags_that_have_to_do_with_a_fault_are_named(write: Write) -> None:
    told = str(refused(write(GOOD), "seed=1", "schedule.window=0", "run.epochs=2"))
    assert told.startswith("net.toml with --set schedule.window=0: ")


# Fuzz: whatever is changed in a good file, a user sees an error of ours or a configuration

_values = st.recursive(
    st.booleans() | st.integers(-3, 2**64) | st.floats() | st.text("abc01:.", max_size=6).map(repr) | st.just("digits"),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(map(str, items))}]"),
    max_leaves=4,
).map(lambda value: str(value).lower() if isinstance(value, bool) else str(value))
KEYS = """
    name seed batch_size loss data optimizer lanes schedule snapshots gate run x data.name data.holdout optimizer.type
    optimizer.lr optimizer.schedule lanes.train lanes.train.0 lanes.validate schedule.kind schedule.delay gate.0
    gate.fc1.name gate.fc1.layers gate.1.layers.0 gate.fc2.optimizer gate.fc1.layers.0.type gate.fc1.layers.1.out
    run.epochs run.x gate.fc1.optimizer.schedule.type
"""
_keys = st.sampled_from(KEYS.split())


@unhurried
@given(st.lists(st.tuples(_keys, _values), min_size=1, max_size=3))
def test_no_override_can_raise_anything_but_an_error_of_ours(changes: list[tuple[str, str]]) -> None:
    try:
        load_config(None, [f"{key}={value}" for key, value in changes])
    except AkkafkaError as error:
        assert str(error) and "validation error" not in str(error)


@unhurried
@given(st.data())
def test_no_text_can_raise_anything_but_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    start, length = data.draw(st.integers(0, len(GOOD))), data.draw(st.integers(0, 12))
    patch = data.draw(st.text('abc"=[]{}.,\n 01', max_size=6))
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_text(GOOD[:start] + patch + GOOD[start + length :])
    try:
        load_config(path)
    except AkkafkaError as error:
        assert str(error) and "validation error" not in str(error)


# Bundled files


@pytest.mark.parametrize("name", bundled())
def test_every_bundled_file_is_a_network_of_that_name(name: str) -> None:
    found = load_config(Path(name)).definition
    assert found.name == name and parse_definition(found.canonical) == found


def test_the_four_files_that_the_readme_names_are_there() -> None:
    assert {"digits", "mnist", "mnist-large", "fashion"} <= bundled().keys()


def test_without_a_path_it_is_digits() -> None:
    assert load_config(None) == load_config(bundled()["digits"])


def test_a_file_of_ones_own_goes_before_a_bundled_one_of_that_name(write: Write) -> None:
    write(GOOD).rename("mnist")
    assert load_config(Path("mnist")).definition.name == "net"


@pytest.mark.parametrize("inside", ["akkafka/configs", "configs"])
def test_bundled_files_are_found_in_a_wheel_and_in_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    (tmp_path / inside).mkdir(parents=True)
    (tmp_path / inside / "digits.toml").write_text(GOOD)
    monkeypatch.setattr(config, "__file__", str(tmp_path / "akkafka" / "protocol" / "config.py"))
    assert bundled() == {"digits": tmp_path / inside / "digits.toml"}
    assert load_config(None).definition.name == "net"


def test_without_bundled_files_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "__file__", str(tmp_path / "akkafka" / "protocol" / "config.py"))
    assert "missing" in str(refused(None))


# Mistakes in recipes: changed by one flag, each is told before anything starts


@pytest.mark.parametrize(
    ("recipe", "change", "words", "hint"),
    [
        ("lstm", "gate.lstm1.layers=[{type='embeding',count=97,out=8}]", "unknown layer 'embeding'", "embedding"),
        ("lstm", "gate.lstm2.layers=[{type='each',layers=[{type='liner',out=97}]}]", "unknown layer 'liner'", "linear"),
        ("transformer", "optimizer.type='adamv'", "unknown optimizer 'adamv'", "adamw"),
        ("transformer", "optimizer.schedule.type='cosin'", "unknown schedule 'cosin'", "cosine"),
        ("diabetes", "loss='hubert'", "unknown loss 'hubert'", "huber"),
        ("diabetes", "data.name='diabets'", "no data set 'diabets'", "'diabetes'"),
        ("lstm", "data.name='topcis:64'", "no data set 'topcis:64'", "'topics'"),
    ],
)
def test_a_misspelt_name_in_a_recipe_gets_the_nearest(recipe: str, change: str, words: str, hint: str) -> None:
    told = refused(Path(recipe), change)
    assert words in str(told) and hint in told.hint


@pytest.mark.parametrize(
    ("recipe", "change", "words"),
    [
        # a vector is wanted, a sequence comes
        ("lstm", "gate.lstm2.layers=[{type='linear',out=97}]", ("'lstm2'", "'lstm1'", "(64, 128)")),
        # tokens are no sequence of vectors
        ("lstm", "gate.lstm1.layers=[{type='lstm',out=8}]", ("'lstm1'", "'topics:64'", "(64,) uint8")),
        ("lstm", "gate.lstm1.layers=[{type='embedding',count=96,out=8}]", ("'lstm1'", "'topics:64'", "up to 96")),
        # the last state alone, where one is wanted at each position
        ("lstm", "gate.lstm2.layers=[{type='lstm',out=97,last=true}]", ("'lstm2'", "(97,)", "(64, 97)")),
        ("transformer", "gate.block2.layers=[{type='attention',heads=5}]", ("'block2'", "'block1'", "(64, 96)")),
        ("lenet", "gate.fc.layers=[{type='linear',out=10}]", ("'fc'", "'conv2'", "(16, 5, 5)")),
        ("lenet", "gate.conv2.layers=[{type='conv2d',out=16,kernel=15}]", ("'conv2'", "'conv1'", "(6, 14, 14)")),
        ("diabetes", "gate.out.layers=[{type='linear',out=2}]", ("'out'", "'diabetes'", "(2,)", "(1,)")),
    ],
)
def test_gates_of_a_recipe_that_do_not_fit_are_told_by_name_and_shape(
    recipe: str, change: str, words: tuple[str, ...]
) -> None:
    told = refused(Path(recipe), change, kind=ShapeError)
    assert all(word in str(told) for word in words) and told.hint
