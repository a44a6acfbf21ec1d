"""The commands about networks, over a real broker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.cli.conftest import Akkafka

pytestmark = pytest.mark.kafka


def test_a_network_is_defined_listed_described_and_reset(
    akkafka: Akkafka, kafka_bootstrap: str, unique: Callable[[], str], small_config: Path
) -> None:
    name, at = unique(), ("--bootstrap-servers", kafka_bootstrap)
    defined = akkafka("define", str(small_config), "--network", name, *at)
    assert (defined.code, defined.out.splitlines()[0]) == (0, name)

    listed = json.loads(akkafka("networks", "--json", *at).out)
    (entry,) = (e for e in listed if e["network"] == name)
    assert entry["gates"] == ["first", "last"]
    assert entry["lanes"]["train"] == [0, 1]
    assert name in akkafka("networks", *at).out

    topics = json.loads(akkafka("topics", "--network", name, "--json", *at).out)
    assert {f"akkafka.{name}.{what}" for what in ("definition", "forward.2", "backward.0", "journal.1", "dead")} <= {
        topic["topic"] for topic in topics
    }
    assert {"topic": f"akkafka.{name}.definition", "partitions": 1, "records": 1} in topics

    assert akkafka("define", str(small_config), "--network", name, *at).out == defined.out

    gone = akkafka("reset", "--network", name, "--yes", *at)
    assert gone.code == 0
    assert f"{name!r} is gone ({len(topics)} topics)" in gone.out
    again = akkafka("status", "--network", name, *at)
    assert (again.code, again.out) == (7, "")
    assert f"no network {name!r}" in again.err


def test_another_definition_under_the_name_is_refused_with_the_differences(
    akkafka: Akkafka, kafka_bootstrap: str, unique: Callable[[], str], small_config: Path
) -> None:
    name, at = unique(), ("--bootstrap-servers", kafka_bootstrap)
    akkafka("define", str(small_config), "--network", name, *at)
    for command in ("define", "train"):
        ran = akkafka(command, str(small_config), "--network", name, "--set", "gate.first.optimizer.lr=0.5", *at)
        assert ran.code == 7
        assert "optimizer.lr: there 0.1, wanted 0.5" in ran.err
    assert akkafka("reset", "--network", name, "--yes", *at).code == 0


def test_reset_asks_before_it_deletes(
    akkafka: Akkafka,
    kafka_bootstrap: str,
    unique: Callable[[], str],
    small_config: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, at = unique(), ("--bootstrap-servers", kafka_bootstrap)
    akkafka("define", str(small_config), "--network", name, *at)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert akkafka("reset", "--network", name, *at).code == 2
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert akkafka("reset", "--network", name, *at).out == "nothing was deleted\n"
    assert akkafka("status", "--network", name, *at).code == 0
    monkeypatch.setattr("builtins.input", lambda question: "yes")
    assert "is gone" in akkafka("reset", "--network", name, *at).out


def test_status_of_a_network_that_nobody_works_on(
    akkafka: Akkafka, kafka_bootstrap: str, unique: Callable[[], str], small_config: Path
) -> None:
    name, at = unique(), ("--bootstrap-servers", kafka_bootstrap)
    akkafka("define", str(small_config), "--network", name, *at)
    (network,) = json.loads(akkafka("status", "--network", name, "--json", *at).out)["networks"]
    assert [(gate["name"], gate["up"]) for gate in network["gates"]] == [("first", False), ("last", False)]
    assert {"lane": 0, "role": "train", "issued": 0, "home": 0, "open": 0} in network["lanes"]
    assert network["sentinels"] == []
    shown = akkafka("status", "--network", name, *at).out
    assert "0 of 2 gates up" in shown
    assert "no sentinel is up" in shown
    akkafka("reset", "--network", name, "--yes", *at)


def test_the_broker_may_be_named_by_environment(
    akkafka: Akkafka, kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka_bootstrap)
    assert json.loads(akkafka("status", "--json").out)["broker"]["bootstrap_servers"] == kafka_bootstrap


def test_nothing_that_is_not_there_can_be_resumed(
    akkafka: Akkafka, kafka_bootstrap: str, unique: Callable[[], str], small_config: Path
) -> None:
    ran = akkafka("train", str(small_config), "--network", unique(), "--resume", "--bootstrap-servers", kafka_bootstrap)
    assert ran.code == 7
    assert "to go on with" in ran.err


def test_doctor_finds_this_machine_well(akkafka: Akkafka, kafka_bootstrap: str) -> None:
    ran = akkafka("doctor", "--json", "--bootstrap-servers", kafka_bootstrap)
    found = {finding["what"]: finding for finding in json.loads(ran.out)}
    assert ran.code == 0, ran.out
    for what in ("python", "aiokafka", "broker", "message size", "configuration and data"):
        assert found[what]["grade"] == "ok", found[what]
    assert "doctor" not in akkafka("topics", "--bootstrap-servers", kafka_bootstrap).out


def test_doctor_names_what_is_missing(akkafka: Akkafka, tmp_path: Path) -> None:
    ran = akkafka(
        "doctor", "mnist", "--data-dir", str(tmp_path / "none"), "--json", "--bootstrap-servers", "127.0.0.1:1"
    )
    found = {finding["what"]: finding for finding in json.loads(ran.out)}
    assert ran.code == 1
    assert "connection refused" in found["broker"]["says"]
    assert found["configuration and data"]["grade"] == "problem"
    assert "--data-dir" in found["configuration and data"]["hint"]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [({"a": np.zeros(1), "b": np.zeros(1)}, "expected 'x'"), ({"x": np.array([{}], dtype=object)}, "plain arrays")],
)
def test_predict_takes_plain_arrays_only(
    akkafka: Akkafka,
    tmp_path: Path,
    arrays: dict[str, NDArray[Any]],
    words: str,
) -> None:
    source = tmp_path / "x.npz"
    np.savez(source, **arrays)  # type: ignore[arg-type]  # the stub takes them for its own flag
    ran = akkafka("predict", "--in", str(source), "--out", str(tmp_path / "y.npz"))
    assert ran.code == 3
    assert words in ran.err
    missing = akkafka("predict", "--in", str(tmp_path / "no.npz"), "--out", str(tmp_path / "y.npz"))
    assert missing.code == 3
