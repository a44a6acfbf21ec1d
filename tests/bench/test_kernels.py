"""The race of kernels: turns are interleaved, ratios are those of rounds, and every contender does its work."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from akkafka.cli.bench.kernels.command import Request, kernels, lines_of
from akkafka.cli.bench.kernels.race import row, times
from akkafka.errors import ConfigError


def test_turns_go_round_the_contenders() -> None:
    calls: list[str] = []

    def contender(name: str) -> Callable[[], None]:
        def work() -> None:
            calls.append(name)
            sum(range(20_000))

        return work

    found = times({"akkafka": contender("a"), "torch": contender("b")}, 3)
    assert [len(seconds) for seconds in found.values()] == [3, 3] and min(found["torch"]) > 0
    turns = [calls[0], *(now for before, now in pairwise(calls) if now != before)]
    assert turns == ["a", "b"] * 4  # warming up, then three rounds


def test_ratios_are_those_of_rounds_to_the_faster_of_pytorchs_ways() -> None:
    found = {"akkafka": [2.0, 4.0, 9.0], "torch fused": [1.0, 4.0, 3.0], "torch foreach": [9.0, 9.0, 9.0]}
    told = row("sgd step", "optimizer", "10 weights", {**found, "numpy": [4.0, 8.0, 18.0]})
    assert (told["fastest_torch"], told["ratio_to_torch"], told["ratio_to_numpy"]) == ("torch fused", 2.0, 0.5)
    assert told["microseconds"]["akkafka"] == 4e6
    assert lines_of([told])[1].split() == [
        "sgd",
        "step",
        "10",
        "weights",
        "4000000",
        "3000000",
        "2.00",
        "8000000",
        "0.50",
    ]


def test_every_case_runs_and_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "kernels.json"
    kernels(Request((), 1, out))
    told = json.loads(out.read_text())
    names = [line["case"] for line in told["rows"]]
    assert {"sgd step", "adamw step", "conv 3x3 backward", "gelu forward", "softmax + cross-entropy"} <= set(names)
    assert all(line["ratio_to_torch"] > 0 for line in told["rows"])
    assert len(capsys.readouterr().out.splitlines()) == len(names) + 4  # head, a blank, two lines on how and where


def test_a_word_that_no_case_has_is_told(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(ConfigError, match="--only nothing: no case"):
        kernels(Request(("nothing",), 1, None))
