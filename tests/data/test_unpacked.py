"""What is kept in the cache is right or absent, and a cache that cannot be used hurts nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from akkafka.data.only_one import only_one
from akkafka.data.unpacked import keep_unpacked, open_unpacked
from tests.data.conftest import is_mapped

ARRAY = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
KEY = "ab" * 32


def test_what_is_kept_comes_back_mapped_and_read_only(tmp_path: Path) -> None:
    keep_unpacked(tmp_path, KEY, ARRAY)
    got = open_unpacked(tmp_path, KEY, ARRAY.shape)
    assert got is not None
    assert type(got) is np.ndarray
    assert np.array_equal(got, ARRAY)
    assert is_mapped(got) and not got.flags.writeable


def test_another_key_or_shape_finds_nothing(tmp_path: Path) -> None:
    keep_unpacked(tmp_path, KEY, ARRAY)
    assert open_unpacked(tmp_path, "cd" * 32, ARRAY.shape) is None
    assert open_unpacked(tmp_path, KEY, (60,)) is None


@pytest.mark.parametrize("bad", [np.asfortranarray(ARRAY), ARRAY.astype(np.int8)], ids=["fortran order", "int8"])
def test_an_array_of_another_kind_is_not_taken(tmp_path: Path, bad: NDArray[Any]) -> None:
    (tmp_path / "unpacked").mkdir()
    np.save(tmp_path / "unpacked" / f"{KEY}.npy", bad)
    assert open_unpacked(tmp_path, KEY, ARRAY.shape) is None


@pytest.mark.parametrize("cut", [-1, -60, 5, 0])
def test_a_file_cut_short_is_not_taken_and_is_replaced(tmp_path: Path, cut: int) -> None:
    keep_unpacked(tmp_path, KEY, ARRAY)
    path = tmp_path / "unpacked" / f"{KEY}.npy"
    path.write_bytes(path.read_bytes()[:cut])
    assert open_unpacked(tmp_path, KEY, ARRAY.shape) is None
    keep_unpacked(tmp_path, KEY, ARRAY)
    assert open_unpacked(tmp_path, KEY, ARRAY.shape) is not None


def test_a_file_with_more_bytes_than_it_should_have_is_not_taken(tmp_path: Path) -> None:
    keep_unpacked(tmp_path, KEY, ARRAY)
    path = tmp_path / "unpacked" / f"{KEY}.npy"
    path.write_bytes(path.read_bytes() + b"!")
    assert open_unpacked(tmp_path, KEY, ARRAY.shape) is None


def test_what_killed_writers_left_behind_is_removed(tmp_path: Path) -> None:
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked" / f"{KEY}.x1y2.part").write_bytes(b"half")
    keep_unpacked(tmp_path, KEY, ARRAY)
    assert sorted(path.suffix for path in (tmp_path / "unpacked").iterdir()) == [".lock", ".npy"]


def test_a_failed_write_leaves_nothing_and_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    keep_unpacked(tmp_path, KEY, ARRAY)
    assert [path.suffix for path in (tmp_path / "unpacked").iterdir()] == [".lock"]


def test_while_another_one_writes_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "unpacked").mkdir()
    with only_one(tmp_path / "unpacked" / f"{KEY}.lock"):
        keep_unpacked(tmp_path, KEY, ARRAY)
        assert open_unpacked(tmp_path, KEY, ARRAY.shape) is None


def test_a_cache_that_cannot_be_written_to_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    keep_unpacked(tmp_path / "file", KEY, ARRAY)
    assert open_unpacked(tmp_path / "file", KEY, ARRAY.shape) is None
