"""What it means to call `akkafka train` for a network that is there already. Pure: the log's facts in, a verdict out.

Same definition and unfinished: goes on. Finished: a fresh run, or, with `--resume` and more epochs, goes on.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from akkafka.cli.training.standing import LaneStand
from akkafka.errors import AkkafkaError, ConfigError, NetworkError


class Way(enum.Enum):
    """What to do with the network."""

    NEW = "new"  # nothing is defined under the name: define it
    ON = "on"  # go on where it stands
    ANEW = "anew"  # delete it, define it again


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the network."""

    name: str
    lanes: Sequence[LaneStand]  # empty: there is no such network
    applied: bool = False  # every gate's journal holds every issued batch
    goal: int | None = None  # epochs that the last `train` from this machine was to make; None: not known
    trainers: Sequence[str] = ()  # training sentinels of the network that work now
    others: Sequence[str] = ()  # gates and other sentinels that do

    @property
    def epochs_done(self) -> int:
        """Whole epochs that were issued in every lane."""
        return min((lane.after.epoch for lane in self.lanes), default=0)

    @property
    def finished(self) -> bool:
        """The last training has come to its end: it reached its goal, or, if nobody knows that, the end of an epoch."""
        if not self.lanes or not self.applied or any(lane.home < lane.issued for lane in self.lanes):
            return False
        if self.goal is not None:
            return self.epochs_done >= self.goal
        return all(lane.at_epoch for lane in self.lanes) and len({lane.after.epoch for lane in self.lanes}) == 1

    @property
    def untouched(self) -> bool:
        """Nothing was ever issued."""
        return all(lane.issued == 0 for lane in self.lanes)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and what to say about it."""

    way: Way
    say: str = ""


def judge(facts: Facts, epochs: int, *, fresh: bool, resume: bool) -> Verdict:
    """What a `train` for `epochs` epochs in all does. Raises ConfigError or NetworkError where nothing helps."""
    if fresh and resume:
        raise ConfigError("--fresh and --resume exclude each other")
    if not facts.lanes:
        if resume:
            raise NetworkError(
                f"there is no network {facts.name!r} to go on with", hint="Leave --resume out to start it."
            )
        return Verdict(Way.NEW)
    if facts.trainers:
        raise _busy(facts)
    verdict = _of_what_is_there(facts, epochs, fresh, resume)
    if verdict.way is Way.ANEW and facts.others:
        raise _busy(facts)
    return verdict


def _of_what_is_there(facts: Facts, epochs: int, fresh: bool, resume: bool) -> Verdict:
    if fresh:
        return Verdict(Way.ANEW, f"network {facts.name!r} starts anew (--fresh)")
    if facts.untouched:
        return Verdict(Way.ON, f"network {facts.name!r} is defined and not trained yet")
    if facts.finished:
        return _after_the_end(facts, epochs, resume)
    if epochs <= facts.epochs_done:
        raise ConfigError(
            f"network {facts.name!r} is unfinished, but has been through {facts.epochs_done} epochs; "
            f"--epochs {epochs} asks for no more than that",
            hint="Ask for more epochs to go on, or for --fresh to start anew.",
        )
    at = min(lane.after for lane in facts.lanes)
    return Verdict(
        Way.ON, f"network {facts.name!r} is unfinished: it goes on in epoch {at.epoch + 1} (--fresh starts anew)"
    )


def _after_the_end(facts: Facts, epochs: int, resume: bool) -> Verdict:
    if not resume:
        return Verdict(
            Way.ANEW,
            f"network {facts.name!r} is finished ({facts.epochs_done} epochs): it starts anew "
            f"(--resume with more --epochs goes on)",
        )
    if epochs <= facts.epochs_done:
        raise ConfigError(
            f"network {facts.name!r} has been through {facts.epochs_done} epochs, --epochs {epochs} asks for no more",
            hint=f"Epochs count from the beginning: ask for {facts.epochs_done + 1} or more, or leave --resume out.",
        )
    return Verdict(Way.ON, f"network {facts.name!r} goes on behind epoch {facts.epochs_done}")


def _busy(facts: Facts) -> AkkafkaError:
    return NetworkError(
        f"network {facts.name!r} is at work now: {', '.join([*facts.trainers, *facts.others])}",
        hint="`akkafka status --watch` shows it. Stop those processes first, or train under another --network name.",
    )
