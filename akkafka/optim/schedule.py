"""Learning rates that change with the gate's version, as pure functions of it: a replay meets the same
rates."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny

from akkafka.nn.registry import Frozen, from_table


class ScheduleSpec(Frozen):
    """A factor on the learning rate for each version."""

    type: str
    """Which schedule: a key of SCHEDULES."""

    @abstractmethod
    def factor(self, version: int) -> float:
        """What the learning rate is multiplied by in the update that leads from `version` to `version` + 1;
        float64."""

    def rate(self, lr: float, version: int) -> np.float32:
        """Learning rate at `version`, computed in float64 and rounded once."""
        return np.float32(lr * self.factor(version))


class ConstantSpec(ScheduleSpec):
    """The learning rate as it is."""

    type: Literal["constant"] = "constant"
    """Constant."""

    def factor(self, version: int) -> float:
        """1."""
        return 1.0


class WarmupSpec(ScheduleSpec):
    """From small to full in a straight line, then constant."""

    type: Literal["warmup"] = "warmup"
    """Warm-up: the first update takes 1/updates of the learning rate, the one numbered `updates` - 1 all of
    it."""
    updates: int = Field(ge=1)
    """Length of the warm-up, in updates of the gate."""

    def factor(self, version: int) -> float:
        """min(1, (version + 1) / updates)."""
        return min(1.0, (version + 1) / self.updates)


class CosineSpec(ScheduleSpec):
    """Warm-up, then down along half a cosine to `floor`, where it stays."""

    type: Literal["cosine"] = "cosine"
    """Cosine (Loshchilov, Hutter 2017, arXiv:1608.03983, without restarts), behind an optional warm-up."""
    updates: int = Field(ge=1)
    """Version at which the floor is reached, the warm-up included."""
    warmup: int = Field(default=0, ge=0)
    """Length of the warm-up, in updates of the gate."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Fraction of the learning rate that remains."""

    def factor(self, version: int) -> float:
        """floor + (1 - floor) (1 + cos(pi t)) / 2, t from 0 to 1 between `warmup` and `updates`."""
        if version < self.warmup:
            return (version + 1) / self.warmup
        t = min(1.0, (version - self.warmup) / max(1, self.updates - self.warmup))
        return self.floor + (1.0 - self.floor) * (0.5 + 0.5 * cos_pi(t))


class StepSpec(ScheduleSpec):
    """Down by a factor every so often."""

    type: Literal["step"] = "step"
    """Step: the learning rate times gamma once in `every` updates."""
    every: int = Field(ge=1)
    """Updates of the gate between two steps."""
    gamma: float = Field(default=0.1, ge=0, le=1)
    """What the learning rate is multiplied by at each step."""

    def factor(self, version: int) -> float:
        """gamma**(version // every), by repeated squaring: the same bits everywhere."""
        result, base, left = 1.0, self.gamma, version // self.every
        while left:
            result, base, left = result * base if left & 1 else result, base * base, left >> 1
        return result


class OneCycleSpec(ScheduleSpec):
    """From small up to full and down to next to nothing, in half cosines."""

    type: Literal["one-cycle"] = "one-cycle"
    """One cycle (Smith, Topin 2018, arXiv:1708.07120), as PyTorch's OneCycleLR: `lr` is the greatest rate."""
    updates: int = Field(ge=2)
    """Length of the cycle, in updates of the gate; the rate stays at its end behind it."""
    rise: float = Field(default=0.3, gt=0, lt=1)
    """Part of the cycle in which the rate goes up."""
    start: float = Field(default=0.04, ge=0, le=1)
    """Fraction of the learning rate at the beginning."""
    end: float = Field(default=4e-6, ge=0, le=1)
    """Fraction of the learning rate at the end."""

    def factor(self, version: int) -> float:
        """start to 1 until update rise·updates - 1, then 1 to end until update updates - 1; half cosines."""
        top, last = self.rise * self.updates - 1, self.updates - 1
        if version <= top:
            return _half_cosine(self.start, 1.0, version / top if top else 1.0)
        return _half_cosine(1.0, self.end, min(1.0, (version - top) / (last - top)))


def _half_cosine(first: float, last: float, t: float) -> float:
    return last + (first - last) * (0.5 + 0.5 * cos_pi(t))


def cos_pi(t: float) -> float:
    """cos(pi·t) for 0 ≤ t ≤ 1, error below 1e-15, by its Taylor series around the nearer of 0, 1/2, 1.

    Not `math.cos`: C libraries differ in the last bit, and a replay must find the same rate on every machine.
    """
    if t > 0.5:
        return -cos_pi(1.0 - t)
    if t <= 0.25:
        return _taylor(math.pi * t, 0)
    return _taylor(math.pi * (0.5 - t), 1)


def _taylor(x: float, first: int) -> float:
    """Series of cos (first = 0) or sin (first = 1) at 0 ≤ x ≤ pi/4."""
    total, square = 0.0, x * x
    for n in range(first + 18, first, -2):
        total = (1.0 + total) * (-square / (n * (n - 1)))
    return (1.0 + total) * (x if first else 1.0)


SCHEDULES: dict[str, type[ScheduleSpec]] = {
    "constant": ConstantSpec,
    "warmup": WarmupSpec,
    "cosine": CosineSpec,
    "step": StepSpec,
    "one-cycle": OneCycleSpec,
}
"""The table that a new schedule is added to."""


def schedule_spec(data: Mapping[str, Any]) -> ScheduleSpec:
    """The schedule that `data` describes, such as {"type": "warmup", "updates": 100}; raises ConfigError."""
    return from_table("schedule", data, SCHEDULES)


def _spec(data: Any) -> Any:
    return schedule_spec(data) if isinstance(data, Mapping) else data


Schedule = Annotated[SerializeAsAny[ScheduleSpec], BeforeValidator(_spec)]
"""Type of a model's field that takes a schedule or the table that describes one."""
