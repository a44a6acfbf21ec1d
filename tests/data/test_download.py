"""Mirrors fail in many ways: the next one is tried, nothing wrong is ever kept, and the user hears what happened."""

from __future__ import annotations

import errno
import hashlib
import threading
from pathlib import Path

import pytest

from akkafka.data.download import WAIT_S, Remote, download
from akkafka.data.only_one import only_one
from akkafka.data.source import silent
from akkafka.errors import DataError
from tests.data.conftest import Mirror

DATA = bytes(range(256)) * 1000
NAME = "some-images.gz"
SHA256 = hashlib.sha256(DATA).hexdigest()


def remote(*mirrors: str, size: int = len(DATA)) -> Remote:
    return Remote(NAME, mirrors, SHA256, size)


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_a_good_file_is_fetched_and_its_progress_told(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files["/a/" + NAME] = DATA
    told: list[tuple[str, int, int]] = []
    path = download(remote(mirror.address("a")), tmp_path / "new" / "folder", progress=lambda *now: told.append(now))
    assert path == tmp_path / "new" / "folder" / NAME
    assert path.read_bytes() == DATA
    assert {(what, total) for what, _, total in told} == {(f"{NAME} from 127.0.0.1:{mirror.server_port}", len(DATA))}
    done = [so_far for _, so_far, _ in told]
    assert done == sorted(done) and len(done) > 1 and done[-1] == len(DATA)


def test_the_server_is_asked_not_to_unpack_on_the_way(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files["/" + NAME] = DATA
    download(remote(mirror.address()), tmp_path, progress=silent)
    assert mirror.headers[0]["Accept-Encoding"] == "identity"


def test_a_file_that_is_there_is_not_fetched_again(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(DATA)
    assert download(remote(mirror.address()), tmp_path, progress=silent).read_bytes() == DATA
    assert mirror.asked == []


def test_a_damaged_file_of_ours_is_replaced(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(DATA[:-1])
    mirror.files["/" + NAME] = DATA
    assert download(remote(mirror.address()), tmp_path, progress=silent).read_bytes() == DATA


def test_after_a_missing_page_the_next_mirror_is_tried(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files["/second/" + NAME] = DATA
    path = download(remote(mirror.address("first"), mirror.address("second")), tmp_path, progress=silent)
    assert path.read_bytes() == DATA
    assert mirror.asked == ["/first/" + NAME, "/second/" + NAME]


@pytest.mark.parametrize(
    ("body", "announced"),
    [
        (b"<html>log in to this hotel's network</html>", None),
        (DATA[:-1] + b"!", None),
        (DATA[:5000], len(DATA)),
        (DATA[:5000], -1),
        (DATA * 3, None),
        (b"", None),
    ],
    ids=["another page", "a changed byte", "cut short", "cut short, no length", "too long", "empty"],
)
def test_wrong_content_is_not_kept_and_the_next_mirror_is_tried(
    mirror: Mirror, tmp_path: Path, body: bytes, announced: int | None
) -> None:
    mirror.files["/bad/" + NAME] = body
    mirror.files["/good/" + NAME] = DATA
    if announced is not None:
        mirror.announced["/bad/" + NAME] = announced
    with pytest.raises(DataError):
        download(remote(mirror.address("bad")), tmp_path, progress=silent)
    assert kept(tmp_path) == []
    path = download(remote(mirror.address("bad"), mirror.address("good")), tmp_path, progress=silent)
    assert path.read_bytes() == DATA
    assert kept(tmp_path) == [NAME]


def test_no_more_is_taken_from_a_mirror_than_the_file_has(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files["/" + NAME] = DATA * 3
    taken: list[int] = []
    with pytest.raises(DataError, match=f"sends more than the {len(DATA)} bytes"):
        download(remote(mirror.address()), tmp_path, progress=lambda _, done, __: taken.append(done))
    assert max(taken) <= len(DATA)


def test_when_all_mirrors_fail_each_is_named_with_its_reason(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files["/wrong/" + NAME] = b"something else"
    closed = "http://127.0.0.1:1/"
    with pytest.raises(DataError) as caught:
        download(remote(mirror.address("none"), mirror.address("wrong"), closed), tmp_path, progress=silent)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{NAME} could not be downloaded; what was tried:"
    assert lines[1].startswith(f"  {mirror.address('none')}: HTTPError: 404")
    assert lines[2].startswith(f"  {mirror.address('wrong')}: ValueError: SHA256 hash of downloaded file")
    assert lines[3].startswith(f"  {closed}: ConnectionError: ")
    assert "--data-dir" in caught.value.hint and SHA256 in caught.value.hint


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_fetched(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"cannot be stored in .*cache/tiny: Not a directory") as caught:
        download(remote(mirror.address()), tmp_path / "cache" / "tiny", progress=silent)
    assert "--data-dir" in caught.value.hint
    assert mirror.asked == []


def test_a_full_disk_is_told_and_not_taken_for_a_mirrors_fault(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files["/a/" + NAME] = DATA
    mirror.files["/b/" + NAME] = DATA

    def full(what: str, done: int, total: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match=r"cannot be stored in .*: No space left on device"):
        download(remote(mirror.address("a"), mirror.address("b")), tmp_path, progress=full)
    assert mirror.asked == ["/a/" + NAME]
    assert kept(tmp_path) == []


def test_while_another_one_fetches_it_is_waited_for_and_its_file_used(mirror: Mirror, tmp_path: Path) -> None:
    other = only_one(tmp_path / f"{NAME}.lock")
    assert other.__enter__()
    naps: list[float] = []

    def other_finishes(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            (tmp_path / NAME).write_bytes(DATA)
            other.__exit__(None, None, None)

    path = download(remote(mirror.address()), tmp_path, progress=silent, clock=lambda: 0.0, sleep=other_finishes)
    assert path.read_bytes() == DATA
    assert len(naps) == 3
    assert mirror.asked == []


def test_another_one_that_hangs_is_not_waited_for_for_ever(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files["/" + NAME] = DATA
    now = [1000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with only_one(tmp_path / f"{NAME}.lock") as alone:
        assert alone
        path = download(remote(mirror.address()), tmp_path, progress=silent, clock=lambda: now[0], sleep=sleep)
    assert path.read_bytes() == DATA
    assert WAIT_S <= now[0] - 1000.0 < WAIT_S + 1


def test_many_at_once_fetch_it_once(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files["/" + NAME] = DATA
    paths: list[Path] = []
    start = threading.Barrier(4)

    def one() -> None:
        start.wait()
        paths.append(download(remote(mirror.address()), tmp_path, progress=silent))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == DATA for path in paths] == [True] * 4
    assert mirror.asked == ["/" + NAME]
