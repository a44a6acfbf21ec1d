"""The lock that keeps two processes from doing the same work goes with its holder, however that one ends."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from akkafka.data.only_one import only_one

HOLDER = """
import sys
from pathlib import Path
from akkafka.data.only_one import only_one
with only_one(Path(sys.argv[1])) as alone:
    print(alone, flush=True)
    sys.stdin.read()
"""


def test_the_second_is_told_that_it_is_not_alone_and_the_third_comes_after_both(tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    with only_one(lock) as first, only_one(lock) as second:
        assert (first, second) == (True, False)
    with only_one(lock) as third:
        assert third


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with only_one(lock) as while_held:
            assert not while_held
        holder.kill()
        holder.wait()
    with only_one(lock) as after:
        assert after


def test_where_there_are_no_locks_everybody_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)  # no file system without locks is at hand in a test
    with only_one(tmp_path / "some.lock") as alone:
        assert alone


def test_an_error_within_is_not_mistaken_for_one_of_the_lock(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"), only_one(tmp_path / "some.lock"):
        raise OSError("disk full")
