"""A process that waits for its network loads what the expected one needs; a wrong guess harms nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from akkafka.broker.expected import VARIABLE, expected, prepare
from akkafka.protocol.config import load_config
from akkafka.protocol.definition import Definition

from ..conftest import Run


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the environment names."""
    path = tmp_path / "expected.json"
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def test_the_definition_is_the_one_in_the_file(told: Path) -> None:
    definition = load_config(None).definition
    told.write_text(definition.canonical, encoding="utf-8")
    found = expected()
    assert found is not None and found.hash == definition.hash


def test_without_a_file_or_with_nonsense_nothing_is_expected(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert expected() is None
    for text in ("", "{}", "\x00", "[1, 2]"):
        told.write_text(text, encoding="utf-8")
        assert expected() is None
    monkeypatch.delenv(VARIABLE)
    assert expected() is None


async def prepared_with(load: object) -> None:
    prepare(load)  # type: ignore[arg-type]
    await asyncio.get_running_loop().shutdown_default_executor()


def test_loading_is_done_beside_the_loop_and_its_faults_are_dropped(run: Run, told: Path) -> None:
    told.write_text(load_config(None).definition.canonical, encoding="utf-8")
    loaded: list[Definition] = []

    def load(definition: Definition) -> None:
        loaded.append(definition)
        raise ValueError("a layer that cannot be built")

    run(prepared_with(load))
    assert len(loaded) == 1


def test_nothing_is_loaded_where_nothing_is_expected(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    loaded: list[Definition] = []
    run(prepared_with(loaded.append))
    assert not loaded
