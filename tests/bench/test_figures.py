"""Medians and ratios are those of the rounds, and noise is told."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import pytest

from akkafka.cli.bench.figures import Outcome, Round, noise, report, standings
from akkafka.cli.bench.machine import Calm
from akkafka.cli.bench.show import head_of, rows

QUIET = Calm(0.1, 0.1)

NUMBER, TEXT = {"type": "number"}, {"type": "string"}
MAYBE = {"type": ["number", "null"]}
SCHEMA = {
    "type": "object",
    "required": ["schema", "quiet", "noise", "contenders", "rounds", "epochs"],
    "properties": {
        "schema": {"const": 1},
        "quiet": {"type": "boolean"},
        "contenders": {
            "type": "array",
            "items": {
                "additionalProperties": False,
                "required": ["contender", "median", "least", "greatest", "accuracy", "ratio", "ratio_of_medians"],
                "properties": {
                    "contender": TEXT,
                    "median": NUMBER,
                    "least": NUMBER,
                    "greatest": NUMBER,
                    "accuracy": MAYBE,
                    "seconds_to_target": MAYBE,
                    "ratio": MAYBE,
                    "ratio_of_medians": MAYBE,
                },
            },
        },
        "rounds": {
            "type": "array",
            "items": {
                "additionalProperties": False,
                "required": ["round", "contender", "samples_per_second", "load_before", "cpu_seconds"],
                "properties": {
                    "round": {"type": "integer", "minimum": 1},
                    "contender": TEXT,
                    "samples_per_second": NUMBER,
                    "measured": TEXT,
                    "loss": MAYBE,
                    "validation_accuracy": MAYBE,
                    "versions": {"type": "object", "additionalProperties": TEXT},
                    "seconds_to_target": MAYBE,
                    "load_before": NUMBER,
                    "busy_cores_before": NUMBER,
                    "wall_seconds": NUMBER,
                    "cpu_seconds": {"type": "object", "additionalProperties": NUMBER},
                },
            },
        },
    },
}


def turn(number: int, contender: str, rate: float, calm: Calm = QUIET, accuracy: float | None = 0.9) -> Round:
    return Round(number, contender, Outcome(rate, "as told", 0.5, accuracy, {"numpy": "2"}), calm, 7.0, {"gate": 1.5})


def drifting() -> list[Round]:
    """The machine slows down from round to round; ours is always 0.8 of the other, but for one bad round."""
    rates = [(80.0, 100.0), (40.0, 50.0), (8.0, 40.0)]
    return [
        made
        for number, (ours, other) in enumerate(rates, 1)
        for made in (turn(number, "akkafka", ours), turn(number, "other", other))
    ]


def test_a_contender_stands_by_its_median_round() -> None:
    ours, other = standings(drifting())
    assert (ours.contender, ours.median, ours.least, ours.greatest) == ("akkafka", 40.0, 8.0, 80.0)
    assert (other.contender, other.median) == ("other", 50.0)


def test_the_ratio_compares_rounds_side_by_side_and_takes_the_median() -> None:
    other = standings([*drifting(), turn(4, "akkafka", 90.0), turn(4, "other", 90.0)])[1]
    assert other.ratio == pytest.approx(0.8)  # of 0.8, 0.8, 0.2 and 1
    assert other.ratio_of_medians == pytest.approx(60 / 70)


def test_ours_has_no_ratio_to_itself() -> None:
    ours = standings(drifting())[0]
    assert ours.ratio is None and ours.ratio_of_medians is None


def test_a_round_without_a_rate_divides_nothing() -> None:
    other = standings([turn(1, "akkafka", 5.0), turn(1, "other", 0.0)])[1]
    assert other.ratio is None and other.ratio_of_medians is None


def test_a_contender_that_has_no_partner_in_its_round_is_not_compared() -> None:
    other = standings([turn(1, "akkafka", 5.0), turn(2, "other", 10.0)])[1]
    assert other.ratio is None


def test_a_quiet_machine_makes_no_words() -> None:
    busy_by_ourselves = Calm(1.9, 0.1)  # the load average still holds the turn before
    assert noise([turn(1, "akkafka", 5.0), turn(1, "other", 5.0, busy_by_ourselves)]) == ""


def test_a_load_before_the_first_turn_is_told() -> None:
    assert "load average 0.51" in noise([turn(1, "akkafka", 5.0, Calm(0.51, 0.0))])


def test_cores_that_are_busy_before_any_turn_are_told() -> None:
    said = noise([turn(1, "akkafka", 5.0), turn(1, "other", 5.0, Calm(0.2, 0.6)), turn(2, "akkafka", 5.0)])
    assert "up to 0.6 cores busy before 1 of 3 turns" in said


def test_the_json_keeps_its_schema() -> None:
    told = report(drifting(), {"epochs": 7})
    jsonschema.validate(json.loads(json.dumps(told)), SCHEMA)
    assert told["quiet"] is True and len(told["rounds"]) == 6


def test_the_time_to_a_target_is_the_rounds_median_and_never_if_one_did_not_get_there() -> None:
    timed = [
        replace(made, outcome=replace(made.outcome, seconds_to_target=seconds))
        for made, seconds in zip(drifting(), (3.0, 9.0, 1.0, None, 2.0, 8.0), strict=True)
    ]
    found = standings(timed)
    assert [standing.seconds_to_target for standing in found] == [2.0, None]
    assert [cells[-1] for cells in rows(found, 0.95)] == ["2.00", "never"]
    assert head_of(0.95)[-1] == "s to 95.0%" and len(head_of(0.95)) == len(rows(found, 0.95)[0])


def test_the_table_shows_a_gap_where_nothing_was_measured() -> None:
    cells = rows(standings([turn(1, "akkafka", 61234.5, accuracy=None)]))
    assert cells == [("akkafka", "61,234", "61,234", "61,234", "", "", "")]
