"""When a JVM is asked to collect its heap; the process that is looked at is our own, the asking a script's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from akkafka.broker.embedded.settings import MIB
from akkafka.broker.embedded.tidying import LOOK_S, PATIENCE_S, STEP_BYTES, Tidying, jcmd_of, resident_bytes

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system tells no resident memory")
US = os.getpid()


@pytest.fixture
def jcmd(tmp_path: Path) -> Path:
    """Writes down what it is asked."""
    return script(tmp_path / "jcmd", f'echo "$@" >> {tmp_path / "asked"}')


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def tidying(jcmd: Path, tmp_path: Path) -> Iterator[Tidying]:
    tidying = Tidying(str(jcmd), MIB, tmp_path)
    yield tidying
    tidying.end()


def asked(tmp_path: Path) -> list[str]:
    path = tmp_path / "asked"
    return path.read_text().splitlines() if path.exists() else []


def asks(tidying: Tidying) -> bool:
    return tidying.asked is not None


def answered(tidying: Tidying, now: float) -> str | None:
    """What it says once its question is answered."""
    assert tidying.asked is not None
    tidying.asked.wait(60)
    return tidying.look(US, now)


def test_it_asks_beyond_the_limit_and_tells_what_came_of_it(tidying: Tidying, tmp_path: Path) -> None:
    assert tidying.look(US, 100.0) is None
    told = answered(tidying, 102.0)
    assert told is not None
    assert "heap was collected" in told
    assert asked(tmp_path) == [f"{US} GC.run"]


def test_it_leaves_alone_what_is_below(jcmd: Path, tmp_path: Path) -> None:
    tidying = Tidying(str(jcmd), 1 << 50, tmp_path)
    tidying.look(US, 100.0)
    assert tidying.asked is None
    assert asked(tmp_path) == []


def test_what_does_not_shrink_is_asked_again_only_when_it_has_grown(tidying: Tidying) -> None:
    tidying.look(US, 100.0)
    answered(tidying, 102.0)
    tidying.look(US, 102.0 + LOOK_S)
    assert not asks(tidying), "nothing has grown"
    grown = bytearray(os.urandom(1 << 20) * (2 * STEP_BYTES // MIB))
    tidying.look(US, 102.0 + 2 * LOOK_S)
    assert asks(tidying)
    assert len(grown) == 2 * STEP_BYTES


def test_between_two_looks_nothing_is_asked(tidying: Tidying) -> None:
    tidying.look(US, 100.0)
    answered(tidying, 102.0)
    tidying.above = 0
    tidying.look(US, 102.0 + LOOK_S / 2)
    assert tidying.asked is None


def test_another_jvm_is_measured_by_the_limit_again_and_nobody_asks_the_old_one(tmp_path: Path) -> None:
    tidying = Tidying(str(script(tmp_path / "deaf", "exec sleep 600")), MIB, tmp_path)
    tidying.look(US, 100.0)
    child = tidying.asked
    assert child is not None
    tidying.above = 1 << 50
    tidying.look(os.getppid(), 100.0 + LOOK_S / 8)
    assert child.poll() is not None
    assert tidying.above == MIB
    tidying.end()


def test_a_jvm_that_does_not_answer_is_not_waited_for_and_the_asking_ends(tmp_path: Path) -> None:
    deaf = script(tmp_path / "deaf", "exec sleep 600")
    tidying = Tidying(str(deaf), MIB, tmp_path)
    tidying.look(US, 100.0)
    child = tidying.asked
    assert child is not None
    assert tidying.look(US, 101.0 + LOOK_S) is None
    assert child.poll() is None, "it has time"
    told = tidying.look(US, 101.0 + PATIENCE_S + LOOK_S)
    assert told is not None
    assert "could not be collected" in told
    assert child.poll() is not None


def test_a_java_without_jcmd_is_left_to_itself(tmp_path: Path) -> None:
    (tmp_path / "java").touch()
    assert jcmd_of(tmp_path / "java") is None
    tidying = Tidying(None, MIB, tmp_path)
    assert tidying.look(US, 100.0) is None
    assert tidying.asked is None
    (tmp_path / "jcmd").touch()
    assert jcmd_of(tmp_path / "java") == str((tmp_path / "jcmd").resolve())


def test_resident_memory_is_what_the_system_says() -> None:
    assert resident_bytes(US) == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)
    assert resident_bytes(2**22 + 1) == 0, "there is no such process"
