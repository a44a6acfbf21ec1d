"""What is made of the rounds: medians, ratios of rounds run side by side, and the JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from akkafka.cli.bench.machine import QUIET, Calm

SCHEMA = 1
OURS = "akkafka"  # the contender that all others are compared with


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a contender did in one round."""

    samples_per_second: float  # steady state
    measured: str  # how warm-up was cut
    loss: float | None  # of the last epoch, mean over its samples
    validation_accuracy: float | None
    versions: Mapping[str, str] = field(default_factory=dict)
    seconds_to_target: float | None = None  # from the first batch to the target's accuracy; None: never, or not asked


@dataclass(frozen=True, slots=True)
class Round:
    """One contender's turn."""

    number: int  # from 1; in each, all contenders have a turn
    contender: str
    outcome: Outcome
    calm: Calm
    wall_seconds: float
    cpu_seconds: Mapping[str, float]  # by process, start-up and validation included


@dataclass(frozen=True, slots=True)
class Standing:
    """A contender's rounds in one line."""

    contender: str
    median: float  # samples/s
    least: float
    greatest: float
    accuracy: float | None  # median
    seconds_to_target: float | None  # median of the rounds; None if one of them never got there
    ratio: float | None  # median over rounds of ours / this one's in the same round; None: it is ours, or never ran
    ratio_of_medians: float | None


def standings(rounds: Sequence[Round]) -> list[Standing]:
    """In the order of their first turns.

    `ratio` compares within a round and takes the median then: what slows the machine down for a while slows both, and
    one bad round moves nothing.
    """
    by_name: dict[str, dict[int, Outcome]] = {}
    for turn in rounds:
        by_name.setdefault(turn.contender, {})[turn.number] = turn.outcome
    return [_standing(name, turns, by_name.get(OURS, {})) for name, turns in by_name.items()]


def _standing(name: str, turns: Mapping[int, Outcome], ours: Mapping[int, Outcome]) -> Standing:
    rates = [outcome.samples_per_second for outcome in turns.values()]
    accuracies = [o.validation_accuracy for o in turns.values() if o.validation_accuracy is not None]
    times = [o.seconds_to_target for o in turns.values() if o.seconds_to_target is not None]
    pairs = [
        ours[number].samples_per_second / outcome.samples_per_second
        for number, outcome in turns.items()
        if number in ours and outcome.samples_per_second > 0
    ]
    middle = median(rates)
    compared = name != OURS and bool(pairs)
    of_medians = median(o.samples_per_second for o in ours.values()) / middle if compared and middle > 0 else None
    return Standing(
        name,
        middle,
        min(rates),
        max(rates),
        median(accuracies) if accuracies else None,
        median(times) if len(times) == len(turns) else None,
        median(pairs) if compared else None,
        of_medians,
    )


def noise(rounds: Sequence[Round]) -> str:
    """A sentence if the machine was not quiet, else nothing.

    The load average counts only before the first turn: later ones still hold our own rounds. Before those the
    processor's use is looked at with nothing of ours running.
    """
    if not rounds:
        return ""
    told = []
    if rounds[0].calm.load > QUIET:
        told.append(f"load average {rounds[0].calm.load:.2f} before the first turn")
    loud = [turn.calm.busy_cores for turn in rounds if not turn.calm.quiet]
    if loud:
        told.append(f"up to {max(loud):.1f} cores busy before {len(loud)} of {len(rounds)} turns")
    return f"the machine was not quiet: {', '.join(told)}; figures may mean little" if told else ""


def report(rounds: Sequence[Round], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON. `facts`: what is not in the rounds (machine, config, definition_hash, epochs, …)."""
    return {
        "schema": SCHEMA,
        **facts,
        "quiet": not noise(rounds),
        "noise": noise(rounds),
        "contenders": [asdict(standing) for standing in standings(rounds)],
        "rounds": [_turn(turn) for turn in rounds],
    }


def _turn(turn: Round) -> dict[str, Any]:
    return {
        "round": turn.number,
        "contender": turn.contender,
        **asdict(turn.outcome),
        "load_before": turn.calm.load,
        "busy_cores_before": turn.calm.busy_cores,
        "wall_seconds": turn.wall_seconds,
        "cpu_seconds": dict(turn.cpu_seconds),
    }
