"""A peer's environment is made once, by real venv and pip; what goes wrong is told."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from akkafka.cli.bench.environment import MARK, home_of, pinned, python_of
from akkafka.errors import AkkafkaError


def wheel(folder: Path) -> Path:
    """A package of one empty module, as pip takes it."""
    path = folder / "tinypeer-1.0-py3-none-any.whl"
    info = "tinypeer-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tinypeer.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinypeer\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"tinypeer.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


def test_numpy_is_akkafkas_own() -> None:
    assert pinned(("ray>=2",)) == ("ray>=2", f"numpy=={np.__version__}")


def test_other_requirements_live_elsewhere(tmp_path: Path) -> None:
    one, other = (home_of("ray", (wanted,), root=tmp_path) for wanted in ("ray>=2", "ray>=3"))
    assert one != other and one.parent == other.parent == tmp_path


def test_an_environment_that_is_there_is_taken_as_it_is(tmp_path: Path) -> None:
    home = home_of("tiny", ("no-such-package==1",), root=tmp_path)
    home.mkdir()
    (home / MARK).write_text("{}", encoding="utf-8")
    said: list[str] = []
    assert python_of("tiny", ("no-such-package==1",), said.append, root=tmp_path) == home / "bin" / "python"
    assert said == []


def test_without_a_network_it_says_so_and_then_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # discard: nobody listens
    monkeypatch.setenv("PIP_RETRIES", "1")
    said: list[str] = []
    with pytest.raises(AkkafkaError, match=r"peer tiny: no package index could be reached.*tinypeer") as failed:
        python_of("tiny", ("tinypeer==1.0",), said.append, root=tmp_path)
    assert "--peer in-process" in failed.value.hint
    home = home_of("tiny", ("tinypeer==1.0",), root=tmp_path)
    assert not (home / MARK).exists()

    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel(tmp_path).parent))
    python = python_of("tiny", ("tinypeer==1.0",), said.append, root=tmp_path)
    assert list(python.parents[1].glob("lib/python*/site-packages/tinypeer.py"))
    assert json.loads((home / MARK).read_text(encoding="utf-8")) == {"requirements": ["tinypeer==1.0"]}
    assert any("Installing collected packages: tinypeer" in line for line in said)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(AkkafkaError, match=r"cannot be made in .*Not a directory|File exists"):
        python_of("tiny", (), print, root=tmp_path / "file")
