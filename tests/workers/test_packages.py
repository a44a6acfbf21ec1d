"""A definition names the sources of its own layers and data, and nobody goes on with other ones."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from akkafka.errors import ConfigError
from akkafka.nn.allow import allow_packages
from akkafka.nn.layers.relu import ReluSpec
from akkafka.nn.spec import LAYERS
from akkafka.optim.optimizer import OPTIMIZERS
from akkafka.optim.sgd import SgdSpec
from akkafka.protocol.config import load_config
from akkafka.protocol.definition import Definition, parse_definition
from akkafka.protocol.sources import PackageError, sources_hash

from .conftest import WORKERS

Allow = Callable[..., None]
Forget = Callable[[str], None]
FOLDED = WORKERS / "own_layer" / "folded-digits.toml"


@pytest.fixture
def folded(allow: Allow) -> Definition:
    """The sample network, as this process defines it with --allow own_layer."""
    allow("own_layer")
    return load_config(FOLDED).definition


def copied(name: str, folder: Path) -> Path:
    """A copy of a sample package's sources; the folder to put on the path."""
    shutil.copytree(WORKERS / name / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def installed(folder: Path, name: str, entry_points: str) -> Path:
    """Let the package in `folder` be installed there, with these entry points."""
    metadata = folder / f"{name}-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)
    return folder


# What is written down


def test_a_definition_names_the_package_of_its_own_layer_with_version_and_hash(folded: Definition) -> None:
    (package,) = folded.packages
    assert (package.name, package.version) == ("own_layer", "0.1.0")
    assert package.provides == ("layer folded-relu",)
    assert package.sha256 == sources_hash("own_layer")
    assert json.loads(folded.canonical)["packages"] == [package.model_dump(mode="json")]


def test_a_definition_of_akkafkas_own_layers_names_no_package_and_keeps_its_hash() -> None:
    assert "packages" not in json.loads(load_config(None).definition.canonical)


def test_a_definition_reads_back_equal_where_the_package_is(folded: Definition) -> None:
    again = parse_definition(folded.canonical)
    assert again == folded and again.hash == folded.hash


def test_a_layer_deep_in_a_block_counts(allow: Allow) -> None:
    allow("own_layer")
    inner = "{type='sequential', layers=[{type='sequential', layers=[{type='folded-relu'}]}]}"
    definition = load_config(None, [f"gate.fc2.layers=[{{type='linear', out=24}}, {inner}]"]).definition
    assert [package.name for package in definition.packages] == ["own_layer"]


def test_an_optimizer_of_ones_own_counts_like_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMIZERS, "sgd", _OwnSgdSpec)
    (package,) = load_config(None).definition.packages
    assert package.name == "tests" and package.provides == ("optimizer sgd",)


class _OwnSgdSpec(SgdSpec):
    pass


def test_a_changed_copy_names_the_packages_that_it_uses(folded: Definition) -> None:
    plain = load_config(None).definition
    assert folded.model_copy(update={"seed": 7}).packages == folded.packages
    assert folded.model_copy(update={"gates": plain.gates}).packages == ()
    assert plain.model_copy(update={"gates": folded.gates}).packages == folded.packages


def test_a_layer_that_has_no_source_file_cannot_be_in_a_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    typed_in = type("TypedSpec", (ReluSpec,), {"__module__": "__main__"})
    monkeypatch.setitem(LAYERS, "relu", typed_in)
    with pytest.raises(PackageError, match="package __main__ has no source files") as caught:
        load_config(None)
    assert "--allow" in caught.value.hint


# What the hash covers


def test_every_source_file_and_its_place_matter_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hashed(n: int, change: Callable[[Path], object]) -> str:
        folder = copied("own_layer", tmp_path / str(n))
        change(folder / "own_layer")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(folder))
            return sources_hash("own_layer")

    plain = hashed(0, lambda package: None)
    assert hashed(1, lambda package: (package / "notes.txt").write_text("x")) == plain
    assert hashed(2, lambda package: (package / "empty.py").touch()) != plain
    assert hashed(3, lambda package: (package / "folded_relu.py").rename(package / "folded.py")) != plain
    assert hashed(4, lambda package: _append(package / "folded_relu.py", "\n")) != plain
    assert "own_layer" not in sys.modules


def _append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def test_the_same_sources_in_another_place_are_the_same_package(
    folded: Definition, allow: Allow, forget: Forget, tmp_path: Path
) -> None:
    forget("own_layer")
    allow("own_layer", copied("own_layer", tmp_path))
    assert parse_definition(folded.canonical).hash == folded.hash
    assert load_config(FOLDED).definition.hash == folded.hash


# What is refused


def test_a_process_without_the_package_is_told_which_and_imports_nothing(folded: Definition, forget: Forget) -> None:
    forget("own_layer")
    sys.path.insert(0, str(WORKERS / "own_layer"))  # it lies at hand, but nobody has allowed it
    with pytest.raises(
        PackageError, match=r"layer 'folded-relu' comes from package own_layer 0\.1\.0 \(sha256 "
    ) as told:
        parse_definition(folded.canonical)
    assert "--allow own_layer" in told.value.hint
    assert "own_layer" not in sys.modules


def test_a_package_with_other_sources_is_refused_with_both(
    folded: Definition, allow: Allow, forget: Forget, tmp_path: Path
) -> None:
    forget("own_layer")
    folder = copied("own_layer", tmp_path)
    init = folder / "own_layer" / "__init__.py"
    init.write_text(init.read_text().replace('"0.1.0"', '"0.2.0"'))
    allow("own_layer", folder)
    with pytest.raises(PackageError) as told:
        parse_definition(folded.canonical)
    expected, found = folded.packages[0].sha256[:12], sources_hash("own_layer")[:12]
    assert f"expected package own_layer 0.1.0 (sha256 {expected})" in str(told.value)
    assert f"found own_layer 0.2.0 (sha256 {found})" in str(told.value)


def test_a_layer_that_is_akkafkas_own_in_the_definition_but_not_here_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = load_config(None).definition
    monkeypatch.setitem(LAYERS, "relu", _OwnReluSpec)
    with pytest.raises(PackageError, match=r"layer 'relu' is akkafka's own in the definition, here .*test_packages"):
        parse_definition(plain.canonical)


def test_a_layer_that_is_not_akkafkas_own_in_the_definition_but_here_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(LAYERS, "relu", _OwnReluSpec)
        theirs = load_config(None).definition
    with pytest.raises(PackageError, match=r"expected package tests .*, found it in akkafka"):
        parse_definition(theirs.canonical)


class _OwnReluSpec(ReluSpec):
    pass


@pytest.mark.parametrize(
    "change",
    [
        {"name": "own_layer; rm -rf ~"},
        {"name": "os.path\n"},
        {"name": ".own_layer"},
        {"version": "\x1b[2J"},
        {"sha256": "0" * 63},
        {"provides": []},
        {"provides": ["file /etc/passwd"]},
        {"provides": "layer folded-relu"},
        {"colour": "red"},
    ],
    ids=str,
)
def test_a_malformed_package_on_the_wire_is_a_config_error(folded: Definition, change: dict[str, Any]) -> None:
    fields = json.loads(folded.canonical)
    fields["packages"][0].update(change)
    with pytest.raises(ConfigError, match=r"definition: .*packages"):
        parse_definition(json.dumps(fields))


@pytest.mark.parametrize("packages", [None, 3, "own_layer", {"name": "own_layer"}, [None], [[]]], ids=str)
def test_packages_of_another_form_are_a_config_error(packages: Any) -> None:
    fields = json.loads(load_config(None).definition.canonical)
    with pytest.raises(ConfigError, match="packages"):
        parse_definition(json.dumps({**fields, "packages": packages}))


def test_a_package_that_the_wire_names_is_never_imported(
    folded: Definition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_trap.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    fields = json.loads(folded.canonical)
    for thing in ("layer folded-relu", "layer own_trap", "data own_trap", "data digits", "loss own_trap"):
        fields["packages"][0].update(name="own_trap", provides=[thing])
        with pytest.raises(PackageError):
            parse_definition(json.dumps(fields))
    assert "own_trap" not in sys.modules


# Data


@pytest.fixture
def noisy(allow: Allow) -> Definition:
    """A network that is defined with the sample data."""
    allow("own_data")
    return load_config(None, ["data.name=noisy-digits"]).definition


def test_a_definition_names_the_package_of_its_own_data(noisy: Definition) -> None:
    (package,) = noisy.packages
    assert (package.name, package.provides) == ("own_data", ("data noisy-digits",))
    assert parse_definition(noisy.canonical).hash == noisy.hash


def test_gates_do_without_the_package_of_the_data(noisy: Definition, forget: Forget) -> None:
    forget("own_data")
    there = parse_definition(noisy.canonical)
    assert there.hash == noisy.hash and there.layers[0].in_shape == (64,)


def test_data_of_other_sources_are_refused(noisy: Definition, allow: Allow, forget: Forget, tmp_path: Path) -> None:
    forget("own_data")
    folder = copied("own_data", tmp_path)
    source = folder / "own_data" / "noisy_digits.py"
    source.write_text(source.read_text().replace("NOISE = 3", "NOISE = 4"))
    allow("own_data", folder)
    with pytest.raises(PackageError, match="data 'noisy-digits' is another one here: expected package own_data"):
        parse_definition(noisy.canonical)


def test_installed_data_of_other_sources_are_refused_before_they_are_imported(
    noisy: Definition, forget: Forget, tmp_path: Path
) -> None:
    forget("own_data")
    folder = copied("own_data", tmp_path)
    _append(folder / "own_data" / "noisy_digits.py", "raise SystemExit('imported')\n")
    sys.path.insert(0, str(installed(folder, "own_data", "[akkafka.datasets]\nnoisy-digits = own_data:NOISY_DIGITS\n")))
    with pytest.raises(PackageError, match="data 'noisy-digits' is another one here"):
        parse_definition(noisy.canonical)
    assert "own_data" not in sys.modules


# How packages come in


@pytest.mark.usefixtures("tables_as_before")
def test_an_installed_package_needs_no_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = installed(copied("own_layer", tmp_path), "own_layer", "[akkafka.layers]\nown_layer = own_layer\n")
    monkeypatch.syspath_prepend(str(folder))
    allow_packages([])
    assert load_config(FOLDED).definition.packages[0].name == "own_layer"


def test_an_installed_package_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(installed(tmp_path, "own_broken", "[akkafka.layers]\nmine = own_broken.layers\n")))
    with pytest.raises(ConfigError, match=r"package own_broken, .* 'mine', .*ModuleNotFoundError"):
        allow_packages([])


@pytest.mark.parametrize("name", ["own_missing", "own.missing", ".own", "", "own missing"])
def test_a_package_that_is_not_there_is_named_with_its_flag(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--allow {name}: cannot be imported"):
        allow_packages([name])
