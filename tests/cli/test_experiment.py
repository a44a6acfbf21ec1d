"""`akkafka experiment` needs no broker, and prints a table or JSON."""

from __future__ import annotations

import json

import pytest

from akkafka.experiment import tables
from akkafka.experiment.tables import Block, Experiment
from akkafka.experiment.trial import Method, Network
from tests.cli.conftest import Akkafka

SMALL = Experiment(
    "T",
    "a test",
    Network("digits", (8,), 4.9, 6.0, 256, 1),
    (Block("late", (Method("sgd", {"type": "sgd", "lr": 0.1}, (1, 0)),)),),
    8,
    5.0,
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "EXPERIMENTS", {"A": lambda data: SMALL})


def test_a_table_with_its_seeds_and_machine(akkafka: Akkafka) -> None:
    ran = akkafka("experiment", "a", "--seeds", "2", "--processes", "1")
    assert ran.code == 0
    assert ran.out.startswith("T: a test, digits, 1 epochs, 2 seeds; validation accuracy in percent\n\nlate\nmethod")
    assert "failed: training loss above 5 at the end" in ran.out
    assert "2 trainings, 2 seeds each" in ran.err and "fewer than 8 are no fair comparison" in ran.err
    assert "2 of 2 trainings" in ran.err


def test_json_has_every_seed(akkafka: Akkafka) -> None:
    ran = akkafka("experiment", "A", "--processes", "1", "--json")
    found = json.loads(ran.out)
    (row,) = found["blocks"][0]["rows"]
    assert len(row["by_seed"]) == found["seeds"] == 8 and "no fair" not in ran.err
    assert (row["method"], row["lr"], row["taus"], row["failed"]) == ("sgd", 0.1, [1, 0], 0)


def test_an_unknown_name_is_told(akkafka: Akkafka) -> None:
    ran = akkafka("experiment", "Z")
    assert ran.code == 2 and "unknown experiment 'Z'" in ran.err and "known: A" in ran.err
