"""A data set is found by name, a near miss gets its hint, and what a package offers is found if it is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from akkafka.data import DATASETS, DataSpec, LoadContext, completed, info, load, register, shapes
from akkafka.data.source import Arrays, DatasetInfo, Split
from akkafka.errors import ConfigError, DataError

PACKAGE = """
import numpy as np
from akkafka.data import DatasetInfo

def load(split, context):
    return np.full((4, 3), 7, np.uint8), np.zeros(4, np.uint8)

PLANTS = DatasetInfo(sample_shape=(3,), dtype="uint8", classes=2, loader=load)
NUMBER = 42
"""
ENTRY_POINTS = """[akkafka.datasets]
plants = plants_for_akkafka:PLANTS
broken = not_there_at_all:PLANTS
number = plants_for_akkafka:NUMBER
"""


@pytest.fixture(autouse=True)
def names_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, found in DATASETS.items():
        monkeypatch.setitem(DATASETS, name, found)
    before = dict(DATASETS)
    monkeypatch.setattr("akkafka.data.registry.DATASETS", before)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package with three entry points, one of them good."""
    (tmp_path / "plants_for_akkafka.py").write_text(PACKAGE)
    metadata = tmp_path / "plants_for_akkafka-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plants-for-akkafka\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("plants_for_akkafka", None)


def points(split: Split, context: LoadContext) -> Arrays:
    n = 6 if split == "train" else 2
    return np.ones((n, 2), np.float32), np.arange(n, dtype=np.int32) % 2


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [("digits", (64,), 10), ("mnist", (1, 28, 28), 10), ("fashion-mnist", (1, 28, 28), 10)],
)
def test_shapes_of_built_in_data_are_known_without_any_file(name: str, shape: tuple[int, ...], classes: int) -> None:
    found = info(name, data_dir=Path("/not/there"))
    assert (found.sample_shape, found.dtype.name, found.classes) == (shape, "uint8", classes)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("minst", "'mnist'"), ("fashion_mnist", "'fashion-mnist'"), ("MNIST", "'mnist'"), ("digit", "'digits'")],
)
def test_a_misspelt_name_is_refused_with_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(
        ConfigError, match=f"no data set '{wrong}'; known are diabetes, digits, fashion-mnist, mnist, topics"
    ) as caught:
        info(wrong)
    assert f"did you mean {near}" in caught.value.hint


def test_a_name_that_nothing_resembles_gets_no_guess_but_a_way_on() -> None:
    with pytest.raises(ConfigError) as caught:
        load(DataSpec(name="zzzzqq"), "train")
    assert "did you mean" not in caught.value.hint
    assert "npz:<path>" in caught.value.hint


def test_a_registered_data_set_is_loaded_by_its_name() -> None:
    register("points", points, sample_shape=(2,), classes=2)
    found = info("points")
    assert (found.sample_shape, found.dtype.name, found.classes) == ((2,), "float32", 2)
    assert len(load(DataSpec(name="points"), "train")) == 6
    assert len(load(DataSpec(name="points"), "test")) == 2


def test_a_loader_is_told_where_to_look_and_whom_to_tell(tmp_path: Path) -> None:
    seen: list[LoadContext] = []

    def looking(split: Split, context: LoadContext) -> Arrays:
        seen.append(context)
        context.progress("points", 1, 2)
        return points(split, context)

    told: list[tuple[str, int, int]] = []
    register("points", looking, sample_shape=(2,), classes=2)
    load(
        DataSpec(name="points"),
        "train",
        data_dir=tmp_path / "d",
        cache_dir=tmp_path / "c",
        progress=lambda *now: told.append(now),
    )
    assert (seen[0].data_dir, seen[0].cache_dir) == (tmp_path / "d", tmp_path / "c")
    assert told == [("points", 1, 2)]


@pytest.mark.parametrize("name", ["", "Points", "npz:x", "a b", "../x", "x" * 65, "-x", "x\n"])
def test_a_name_of_another_form_cannot_be_registered(name: str) -> None:
    with pytest.raises(ConfigError, match="is not of the form"):
        register(name, points, sample_shape=(2,))


def test_a_name_that_is_taken_cannot_be_registered() -> None:
    with pytest.raises(ConfigError, match="there is a data set 'mnist' already"):
        register("mnist", points, sample_shape=(2,))


@pytest.mark.parametrize(
    ("shape", "dtype", "classes", "named"),
    [
        ((2,), "float64", 2, "uint8 or float32, got float64"),
        ((0, 2), "float32", 2, "at least 1, got \\(0, 2\\)"),
        ((2,), "float32", 0, "at least 1 class, got 0"),
    ],
)
def test_shapes_that_no_data_set_has_cannot_be_registered(
    shape: tuple[int, ...], dtype: str, classes: int, named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        register("points", points, sample_shape=shape, dtype=dtype, classes=classes)


def test_a_loader_that_gives_other_shapes_than_registered_is_told_so() -> None:
    register("points", points, sample_shape=(3,), classes=2)
    with pytest.raises(DataError, match=r"samples are float32 \(2,\), registered as float32 \(3,\)"):
        load(DataSpec(name="points"), "train")


def test_a_loaders_own_error_is_told_with_name_split_and_cause() -> None:
    def failing(split: Split, context: LoadContext) -> Arrays:
        raise KeyError("picture")

    register("points", failing, sample_shape=(2,))
    with pytest.raises(DataError, match="'points': its loader failed on split 'test': KeyError: 'picture'") as caught:
        load(DataSpec(name="points"), "test")
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_loader_that_returns_something_else_is_told_so() -> None:
    register("points", lambda split, context: None, sample_shape=(2,))  # type: ignore[arg-type, return-value]
    with pytest.raises(DataError, match="its loader failed on split 'train': TypeError"):
        load(DataSpec(name="points"), "train")


def test_a_loaders_dataerror_is_passed_on_as_it_is() -> None:
    def missing(split: Split, context: LoadContext) -> Arrays:
        raise DataError("points.txt is not there", hint="draw some")

    register("points", missing, sample_shape=(2,))
    with pytest.raises(DataError, match=r"^points\.txt is not there$"):
        load(DataSpec(name="points"), "train")


@pytest.mark.usefixtures("package")
def test_an_installed_packages_data_set_is_found_by_its_entry_point() -> None:
    assert info("plants").sample_shape == (3,)
    assert load(DataSpec(name="plants"), "train").x.tolist() == [[7, 7, 7]] * 4


@pytest.mark.usefixtures("package")
def test_an_entry_point_counts_among_the_near_names() -> None:
    with pytest.raises(ConfigError) as caught:
        info("plant")
    assert "did you mean 'plants'" in caught.value.hint


@pytest.mark.usefixtures("package")
def test_an_entry_point_that_cannot_be_imported_is_told_with_its_reason() -> None:
    with pytest.raises(ConfigError, match="'broken': not_there_at_all:PLANTS cannot be imported: ModuleNotFoundError"):
        info("broken")


@pytest.mark.usefixtures("package")
def test_an_entry_point_that_names_something_else_is_refused() -> None:
    with pytest.raises(ConfigError, match="'number': plants_for_akkafka:NUMBER is a int, expected a DatasetInfo"):
        info("number")


def test_a_completed_spec_gives_own_shapes_to_who_has_not_the_data() -> None:
    register("points", points, sample_shape=(2,), classes=2)
    spec = completed(DataSpec(name="points", holdout=1))
    assert (spec.sample_shape, spec.dtype, spec.classes, spec.holdout) == ((2,), "float32", 2, 1)
    elsewhere = DataSpec.model_validate_json(spec.model_dump_json())
    assert elsewhere == spec
    assert completed(elsewhere) == spec
    shape, dtype = shapes(elsewhere.model_copy(update={"name": "not-here"}))
    assert (shape, dtype) == ((2,), np.dtype(np.float32))
    assert len(load(spec, "train")) == 5


def test_built_in_data_need_no_completion() -> None:
    spec = DataSpec(name="mnist")
    assert completed(spec) == spec
    assert shapes(spec) == ((1, 28, 28), np.dtype(np.uint8))


def test_data_of_other_shapes_than_the_definitions_are_refused() -> None:
    register("points", points, sample_shape=(2,), classes=2)
    spec = completed(DataSpec(name="points")).model_copy(update={"sample_shape": (5,)})
    with pytest.raises(DataError, match=r"'points' is not the one of the definition: .*\(\(2,\), 'float32', 2\) here"):
        load(spec, "train")


def test_targets_of_another_shape_than_registered_or_defined_are_refused() -> None:
    register("points", points, sample_shape=(2,), classes=2, target_shape=(3,))
    with pytest.raises(DataError, match=r"targets have shape \(\), registered as \(3,\)"):
        load(DataSpec(name="points"), "train")
    spec = completed(DataSpec(name="points"))
    assert spec.target_shape == (3,)
    with pytest.raises(DataError, match=r"targets have shape \(3,\) here, \(4,\) there"):
        load(spec.model_copy(update={"target_shape": (4,)}), "train")


def test_what_later_definitions_tell_of_targets_leaves_earlier_ones_as_they_were() -> None:
    register("points", points, sample_shape=(2,), classes=2, target_shape=())
    told = completed(DataSpec(name="points")).model_dump()
    assert told == {"name": "points", "holdout": 0, "sample_shape": (2,), "dtype": "float32", "classes": 2}


def test_info_of_a_data_set_is_a_value(tmp_path: Path) -> None:
    made = DatasetInfo([2, 3], np.uint8, 4, points)  # type: ignore[arg-type]
    assert made.sample_shape == (2, 3) and made.dtype == np.dtype("uint8")
    assert made == DatasetInfo((2, 3), np.dtype("uint8"), 4, points)
