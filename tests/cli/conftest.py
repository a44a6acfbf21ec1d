"""Runs the command line as its script does, in this process."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from akkafka.cli.main import main


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


Akkafka = Callable[..., Ran]


@pytest.fixture
def akkafka(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Akkafka]:
    """`akkafka("networks", "--json")`: the command's exit code and words; no environment of the user's comes in."""
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SECURITY_PROTOCOL", "AKKAFKA_DEBUG", "AKKAFKA_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AKKAFKA_STATE_DIR", str(tmp_path / "state"))
    before = signal.getsignal(signal.SIGINT)

    def call(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["akkafka", *words])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        code = left.value.code
        assert isinstance(code, int | None), f"left with {code!r}"
        return Ran(code or 0, said.out, said.err)

    yield call
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def small_config(tmp_path: Path) -> Path:
    """Digits through two gates, two epochs, quick."""
    path = tmp_path / "small.toml"
    path.write_text(
        """
        name = "small"
        seed = 3
        batch_size = 64
        [data]
        name = "digits"
        [optimizer]
        type = "sgd"
        lr = 0.1
        [lanes]
        train = 2
        [[gate]]
        name = "first"
        layers = [{ type = "scale", scale = 0.0625 }, { type = "linear", out = 16 }, { type = "relu" }]
        [[gate]]
        name = "last"
        layers = [{ type = "linear", out = 10 }]
        [run]
        epochs = 2
        validate_every = 1.0
        """,
        encoding="utf-8",
    )
    return path
