"""Four IDX files become a data set wherever they lie, and only if they are the published ones."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from akkafka.data import DataSpec, LoadContext, load
from akkafka.data.source import Split
from akkafka.errors import DataError
from tests.data.conftest import Mirror, Tiny, is_mapped, published

NOWHERE = "http://127.0.0.1:1/"


def context(tmp_path: Path, *, data: bool = True) -> LoadContext:
    return LoadContext(tmp_path / "data" if data else None, tmp_path / "cache")


def plain(data: bytes) -> bytes:
    return gzip.decompress(data)


@pytest.mark.parametrize("folder", ["tiny", ".", "TINY/raw"])
def test_files_are_found_in_each_layout_of_a_data_directory(tiny: Tiny, tmp_path: Path, folder: str) -> None:
    tiny.write(tmp_path / "data" / folder)
    x, y = tiny.set(NOWHERE).load("train", context(tmp_path))
    assert x.shape == (6, 1, 3, 2)
    assert np.array_equal(x[:, 0], tiny.images["train"])
    assert np.array_equal(y, tiny.labels["train"])


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_files_are_found_by_each_name_packed_or_not(tiny: Tiny, tmp_path: Path, dotted: bool, packed: bool) -> None:
    (tmp_path / "data").mkdir()
    for name, data in tiny.files.items():
        stem = name.removesuffix(".gz").replace("-idx", ".idx" if dotted else "-idx")
        (tmp_path / "data" / (f"{stem}.gz" if packed else stem)).write_bytes(data if packed else plain(data))
    x, y = tiny.set(NOWHERE).load("test", context(tmp_path))
    assert np.array_equal(x[:, 0], tiny.images["t10k"])
    assert np.array_equal(y, tiny.labels["t10k"])


def test_the_sets_own_folder_goes_before_the_data_directory_itself(tiny: Tiny, tmp_path: Path) -> None:
    tiny.write(tmp_path / "data" / "tiny")
    for name in tiny.files:
        (tmp_path / "data" / name).write_bytes(b"another set's file of that name")
    x, _ = tiny.set(NOWHERE).load("train", context(tmp_path))
    assert np.array_equal(x[:, 0], tiny.images["train"])


def test_validation_and_test_are_the_same_images(tiny: Tiny, tmp_path: Path) -> None:
    tiny.write(tmp_path / "data")
    splits: tuple[Split, ...] = ("validation", "test")
    validation, test = (tiny.set(NOWHERE).load(split, context(tmp_path))[0] for split in splits)
    assert np.array_equal(validation, test)
    assert len(test) == 4


def test_the_second_start_maps_what_the_first_one_unpacked(tiny: Tiny, tmp_path: Path) -> None:
    tiny.write(tmp_path / "data")
    for _ in range(2):
        x, y = tiny.set(NOWHERE).load("train", context(tmp_path))
        assert is_mapped(x) and is_mapped(y)
        assert not x.flags.writeable and x.flags.c_contiguous
    again, _ = tiny.set(NOWHERE).load("train", context(tmp_path, data=False))  # not even the files are needed
    assert np.array_equal(again[:, 0], tiny.images["train"])


def test_the_second_start_verifies_the_users_files_but_unpacks_nothing(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write(tmp_path / "data")
    tiny.set(NOWHERE).load("train", context(tmp_path))

    def parse(data: bytes, where: str) -> None:
        raise AssertionError(f"{where} was unpacked again")

    monkeypatch.setattr("akkafka.data.published.parse_idx", parse)
    x, _ = tiny.set(NOWHERE).load("train", context(tmp_path))
    assert np.array_equal(x[:, 0], tiny.images["train"])


def test_a_cache_that_cannot_be_used_costs_nothing_but_time(tiny: Tiny, tmp_path: Path) -> None:
    tiny.write(tmp_path / "data")
    (tmp_path / "cache").write_text("a file where the folder should be")
    x, _ = tiny.set(NOWHERE).load("train", context(tmp_path))
    assert np.array_equal(x[:, 0], tiny.images["train"])
    assert not x.flags.writeable


@pytest.mark.parametrize("unpack", [False, True])
@pytest.mark.parametrize("cached", [False, True])
def test_a_changed_file_is_refused_with_both_hashes_cached_or_not(
    tiny: Tiny, tmp_path: Path, unpack: bool, cached: bool
) -> None:
    tiny.write(tmp_path / "data")
    if cached:
        tiny.set(NOWHERE).load("train", context(tmp_path))
    images = tiny.train[0]
    good = plain(tiny.files[images.name]) if unpack else tiny.files[images.name]
    bad = good[:-1] + bytes([good[-1] ^ 1])
    path = tmp_path / "data" / images.name
    path.write_bytes(bad)
    expected = images.plain_sha256 if unpack else images.gz_sha256
    with pytest.raises(DataError) as caught:
        tiny.set(NOWHERE).load("train", context(tmp_path))
    got = hashlib.sha256(bad).hexdigest()
    assert str(caught.value) == f"{path} is not tiny's train-images-idx3-ubyte: sha256 {got}, expected {expected}"
    assert "delete or move it" in caught.value.hint and "'tiny'" in caught.value.hint


def test_a_file_packed_anew_is_told_apart_from_the_published_one(tiny: Tiny, tmp_path: Path) -> None:
    tiny.write(tmp_path / "data")
    images = tiny.train[0].name
    (tmp_path / "data" / images).write_bytes(gzip.compress(plain(tiny.files[images]), mtime=1))
    with pytest.raises(DataError, match="is not tiny's train-images"):
        tiny.set(NOWHERE).load("train", context(tmp_path))


def test_a_data_directory_that_is_not_there_is_told_not_downloaded_around(
    tiny: Tiny, tmp_path: Path, mirror: Mirror
) -> None:
    with pytest.raises(DataError, match=r"tiny: the data directory .*data is not there") as caught:
        tiny.set(mirror.address()).load("train", context(tmp_path))
    assert "AKKAFKA_DATA_DIR" in caught.value.hint
    assert mirror.asked == []


def test_what_the_data_directory_lacks_is_downloaded_and_nothing_else(
    tiny: Tiny, tmp_path: Path, mirror: Mirror
) -> None:
    mirror.files = {f"/{name}": data for name, data in tiny.files.items()}
    tiny.write(tmp_path / "data")
    (tmp_path / "data" / tiny.train[1].name).unlink()
    x, y = tiny.set(mirror.address()).load("train", context(tmp_path))
    assert np.array_equal(x[:, 0], tiny.images["train"])
    assert np.array_equal(y, tiny.labels["train"])
    assert mirror.asked == [f"/{tiny.train[1].name}"]


def test_without_a_data_directory_both_files_are_downloaded_once(tiny: Tiny, tmp_path: Path, mirror: Mirror) -> None:
    mirror.files = {f"/{name}": data for name, data in tiny.files.items()}
    for _ in range(2):
        x, _ = tiny.set(NOWHERE, mirror.address()).load("train", context(tmp_path, data=False))
        assert np.array_equal(x[:, 0], tiny.images["train"])
    assert sorted(mirror.asked) == [f"/{file.name}" for file in tiny.train]


def test_images_and_labels_of_different_number_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    labels, data = published("train-labels-idx1-ubyte", np.zeros(5, np.uint8))
    tiny.files[labels.name] = data
    tiny.train = (tiny.train[0], labels)
    tiny.write(tmp_path / "data")
    with pytest.raises(DataError, match="tiny: 6 images in train-images-idx3-ubyte, but 5 labels in train-labels"):
        tiny.set(NOWHERE).load("train", context(tmp_path))


def test_a_description_that_does_not_fit_its_file_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    tiny.write(tmp_path / "data")
    tiny.train = (dataclasses.replace(tiny.train[0], shape=(6, 2, 3)), tiny.train[1])
    with pytest.raises(DataError, match=r"holds uint8 \(6, 3, 2\), expected uint8 \(6, 2, 3\)"):
        tiny.set(NOWHERE).load("train", context(tmp_path))


REAL = [
    # name, split, samples, mean of x, first targets, fingerprint
    (
        "mnist",
        "train",
        60000,
        33.318421,
        [5, 0, 4, 1],
        "9d94c9955bdc87084c70140bb970b63186de7d69c847e081b28d4b0401337321",
    ),
    (
        "mnist",
        "test",
        10000,
        33.791224,
        [7, 2, 1, 0],
        "32ceb1c33f804ca4d3d4a89502cd70c64e1320774b687341b511b66bf572d56d",
    ),
    (
        "fashion-mnist",
        "train",
        60000,
        72.940352,
        [9, 0, 0, 3],
        "c104d351bcc8d3b5b395262b74a568222dbd8bde84ac2fd690457409b543425b",
    ),
    (
        "fashion-mnist",
        "test",
        10000,
        73.146567,
        [9, 2, 1, 1],
        "0bad302d070174054d39c4fa8953b798dfe045d6b89db153c17ce10d2d973463",
    ),
]


@pytest.mark.parametrize(("name", "split", "samples", "mean", "first", "fingerprint"), REAL)
def test_the_real_files_give_the_known_images(
    real_data: Path,
    real_cache: Path,
    name: str,
    split: Split,
    samples: int,
    mean: float,
    first: list[int],
    fingerprint: str,
) -> None:
    dataset = load(DataSpec(name=name), split, data_dir=real_data, cache_dir=real_cache)
    assert dataset.x.shape == (samples, 1, 28, 28)
    assert dataset.x.dtype == dataset.y.dtype == np.uint8
    assert float(dataset.x.mean()) == pytest.approx(mean, abs=1e-6)
    assert dataset.y[:4].tolist() == first
    assert dataset.classes == 10
    assert dataset.fingerprint == fingerprint


def test_one_data_set_in_place_of_another_is_noticed(real_data: Path, real_cache: Path) -> None:
    with pytest.raises(DataError, match="is not mnist's t10k-images-idx3-ubyte"):
        load(DataSpec(name="mnist"), "test", data_dir=real_data / "fashion-mnist", cache_dir=real_cache)


def test_held_out_training_images_are_the_validation_split(real_data: Path, real_cache: Path) -> None:
    spec = DataSpec(name="mnist", holdout=5000)
    whole = load(DataSpec(name="mnist"), "train", data_dir=real_data, cache_dir=real_cache)
    train, validation, test = (
        load(spec, split, data_dir=real_data, cache_dir=real_cache) for split in ("train", "validation", "test")
    )
    assert (len(train), len(validation), len(test)) == (55000, 5000, 10000)
    assert np.array_equal(validation.x, whole.x[-5000:]) and np.array_equal(validation.y, whole.y[-5000:])
    assert np.array_equal(train.x, whole.x[:-5000])
    assert is_mapped(train.x) and is_mapped(validation.x)
