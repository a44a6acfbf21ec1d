"""`akkafka bench peers` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tests.cli.conftest import Akkafka

from ..cli.conftest import akkafka as akkafka
from .test_figures import SCHEMA


def test_an_unknown_peer_is_refused_before_anything_runs(akkafka: Akkafka) -> None:
    ran = akkafka("bench", "peers", "--peer", "nobody")
    assert ran.code == 2
    assert "no peer 'nobody'" in ran.err and "in-process" in ran.err


def test_the_help_names_it(akkafka: Akkafka) -> None:
    ran = akkafka("bench", "peers", "--help")
    assert ran.code == 0 and "--rounds" in ran.out and "in-process" in ran.out


def test_a_variant_that_is_no_setting_is_refused_before_anything_runs(akkafka: Akkafka, blots: Path) -> None:
    ran = akkafka("bench", "peers", str(blots / "blots.toml"), "--data-dir", str(blots), "--variant", "wire.edges=f8")
    assert ran.code == 2 and "float16" in ran.err


@pytest.mark.kafka
def test_akkafka_and_a_peer_stand_side_by_side(
    akkafka: Akkafka, blots: Path, kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka_bootstrap)
    out = blots / "peers.json"  # epochs: processes that live for less than a look or two are not told by name
    ran = akkafka(
        *("bench", "peers", str(blots / "blots.toml"), "--data-dir", str(blots)),
        *("--peer", "in-process", "--variant", "wire.edges=bfloat16"),
        *("--rounds", "1", "--epochs", "20", "--target", "0.2", "--out", str(out)),
    )
    assert ran.code == 0, ran.err
    told = json.loads(out.read_text(encoding="utf-8"))
    jsonschema.validate(told, SCHEMA)
    assert [turn["contender"] for turn in told["rounds"]] == ["akkafka", "akkafka wire.edges=bfloat16", "in-process"]
    assert all(turn["samples_per_second"] > 0 for turn in told["rounds"])
    assert "akkafka.gate 2" in told["rounds"][0]["cpu_seconds"]
    assert told["target"] == 0.2 and all(one["seconds_to_target"] > 0 for one in told["contenders"])
    head = ran.out.splitlines()[0]
    assert head.startswith("contender") and head.endswith("s to 20.0%")
