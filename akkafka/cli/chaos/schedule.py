"""Which faults hit whom, and when: a pure function of seed, duration and victims, so that a storm can be had again.

Moments are seconds from the storm's begin. What really happens also depends on the machine (a victim may just be
starting); what was asked for does not.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from akkafka.errors import ConfigError

QUIET_S = 3.0  # at the begin: let training start
BROKER_GAP_S = 14.0  # between two faults of the broker: four quick deaths in a row and its supervisor gives it up
LONGEST_PAUSE_S = 30.0
NETWORK = "network"
BROKER = "broker"
COMMAND = "command"  # `akkafka train` itself


class Fault(enum.StrEnum):
    """What can be done."""

    KILL = "kill"  # SIGKILL of a process
    PAUSE = "pause"  # SIGSTOP, later SIGCONT: by then another one may do its work
    COLLAPSE = "collapse"  # SIGKILL of the training command: all its processes die with it, the command is run again
    BROKER_KILL = "broker-kill"  # SIGKILL of Kafka; its supervisor starts it again
    BROKER_STOP = "broker-stop"  # SIGTERM of Kafka, the same
    CUT = "cut"  # every connection is reset
    PART = "part"  # and nobody gets in for a while
    DELAY = "delay"  # each request and answer takes longer for a while
    SWALLOW = "swallow"  # an answer never comes, its connection stays open
    LOSE = "lose"  # a produce request is written, its acknowledgement lost
    TEAR = "tear"  # a produce request is cut off in its middle


GROUPS: dict[str, tuple[Fault, ...]] = {
    "kill": (Fault.KILL, Fault.COLLAPSE),
    "pause": (Fault.PAUSE,),
    "broker": (Fault.BROKER_KILL, Fault.BROKER_STOP),
    "network": (Fault.CUT, Fault.PART, Fault.DELAY, Fault.SWALLOW, Fault.LOSE, Fault.TEAR),
}
PER_MINUTE: dict[Fault, float] = {
    Fault.KILL: 12.0,
    Fault.PAUSE: 1.5,
    Fault.COLLAPSE: 0.25,
    Fault.BROKER_KILL: 0.5,
    Fault.BROKER_STOP: 0.5,
    Fault.CUT: 1.0,
    Fault.PART: 0.5,
    Fault.DELAY: 0.5,
    Fault.SWALLOW: 0.5,
    Fault.LOSE: 2.0,
    Fault.TEAR: 1.0,
}


@dataclass(frozen=True, slots=True, order=True)
class Strike:
    """One fault."""

    at: float
    fault: Fault
    victim: str  # a role: "gate-1", "sentinel-train"; or BROKER, NETWORK, COMMAND
    seconds: float = 0.0  # how long a pause or a parting lasts
    number: int = 0  # which of several processes of that role; which answer


@dataclass(frozen=True, slots=True)
class Mix:
    """How many of each."""

    counts: dict[Fault, int] = field(default_factory=dict)

    def of(self, fault: Fault) -> int:
        """How many of this one."""
        return self.counts.get(fault, 0)


def mix_for(minutes: float, groups: Sequence[str]) -> Mix:
    """The usual mix of these groups of faults, at least one of each. Raises ConfigError for an unknown group."""
    unknown = [group for group in groups if group not in GROUPS]
    if unknown:
        raise ConfigError(f"--faults {unknown[0]}: takes {', '.join(GROUPS)}, with commas")
    wanted = [fault for group in GROUPS if group in groups for fault in GROUPS[group]]
    return Mix({fault: max(1, round(PER_MINUTE[fault] * minutes)) for fault in wanted})


def plan(seed: int, seconds: float, roles: Sequence[str], mix: Mix) -> list[Strike]:
    """All strikes of a storm, in order. Raises ConfigError if the broker would die too often.

    Faults of the broker lie `BROKER_GAP_S` apart, everything else where chance puts it.
    """
    rng = random.Random(f"akkafka chaos {seed}")
    broker = [fault for fault in GROUPS["broker"] for _ in range(mix.of(fault))]
    rng.shuffle(broker)
    strikes = [
        Strike(at, fault, BROKER)
        for at, fault in zip(_apart(rng, len(broker), seconds, BROKER_GAP_S), broker, strict=True)
    ]
    for fault in Fault:
        if fault not in broker:
            strikes += [_strike(rng, fault, seconds, roles) for _ in range(mix.of(fault))]
    return sorted(strikes)


def _strike(rng: random.Random, fault: Fault, seconds: float, roles: Sequence[str]) -> Strike:
    at = rng.uniform(min(QUIET_S, seconds / 4), seconds)
    number = rng.randrange(1, 12)
    if fault is Fault.KILL:
        return Strike(at, fault, rng.choice(roles), 0.0, number)
    if fault is Fault.PAUSE:
        longest = min(LONGEST_PAUSE_S, max(1.0, seconds / 3))
        return Strike(at, fault, rng.choice(roles), rng.uniform(1.0, longest), number)
    if fault is Fault.COLLAPSE:
        return Strike(at, fault, COMMAND)
    lasting = {Fault.PART: rng.uniform(0.5, 4.0), Fault.DELAY: rng.uniform(1.0, 6.0)}
    return Strike(at, fault, NETWORK, lasting.get(fault, 0.0), number)


def _apart(rng: random.Random, count: int, seconds: float, gap: float) -> list[float]:
    """So many moments, at least `gap` apart: chance moments of a shorter time, spread."""
    free = seconds - QUIET_S - gap * max(0, count - 1)
    if count and free < 0:
        raise ConfigError(
            f"{count} faults of the broker do not fit into {seconds:g} s: it needs {gap:g} s between two",
            hint="Ask for more --minutes, or leave the broker out of --faults.",
        )
    moments = sorted(rng.uniform(0.0, free) for _ in range(count))
    return [QUIET_S + moment + place * gap for place, moment in enumerate(moments)]
