"""The chain that every optimizer of the package is: links that every rule can have, then the rule, one sweep a param.

A gradient passes, where it is asked for: gap-aware shrinking, accumulation, clipping by value, clipping by norm. The
rate passes: schedule, then staleness. The rule does the rest in one kernel, weight decay included.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from akkafka import optim
from akkafka.errors import ConfigError
from akkafka.nn import kernels
from akkafka.nn.layer import F32, Params
from akkafka.nn.memory import MEMORY
from akkafka.optim.exact import power, root
from akkafka.optim.norm import clip_share, norm
from akkafka.optim.optimizer import OptimizerSpec, Step, matching, trained

GAP_MEMORY, GAP_EPS = 0.999, 1e-8
Scalars = Mapping[str, float]
Coefficients = tuple[float, ...]


class Rule:
    """How weights move by a gradient: a kernel of akkafka.optim.kernels, its state, and its numbers for one step.

    The kernel takes (w, g, then if `stale`, one array for each slot, lr, decay, share, coefficients…, out, one output
    for each slot); everything flat, scalars float32.
    """

    __slots__ = ()

    kernel: ClassVar[str]
    slots: ClassVar[tuple[str, ...]] = ()
    """State with the params' shapes, "<slot>.<name of the param>"; at first 0."""
    copied: ClassVar[frozenset[str]] = frozenset()
    """Those of the slots that begin as copies of the params."""
    scalars: ClassVar[Scalars] = {}
    """State of one number, each an array (1,), with its first value; numbers beyond 2**24 are not counted."""
    stale: ClassVar[bool] = False
    """Whether it looks at the weights of the batch's forward."""
    streams: ClassVar[bool] = True
    """Whether its kernel can be `streamed`, for weights that fit into no cache: no branches in its loop."""
    coupled: ClassVar[bool] = True
    """Whether weight decay is added to the gradient, and not left to `coefficients`."""

    def coefficients(self, rate: np.float32, scalars: Scalars, step: Step) -> tuple[Coefficients, dict[str, float]]:
        """What the kernel takes behind lr, decay and share, in float64; and the scalars after this step."""
        return (), {}

    def compensation_squares(self, arrays: Sequence[Sequence[Any]]) -> float:
        """Sum of the squares of what is added to the gradients; `arrays`: w, g, then, slots of each param."""
        return 0.0


class ChainSpec(OptimizerSpec):
    """What every optimizer of the package can have besides its rule."""

    # left out of a definition unless they are used: definitions from before they came keep their hashes
    weight_decay: float = Field(default=0.0, ge=0, lt=3e38, exclude_if=lambda decay: decay == 0)
    """Pull towards 0, added to the gradient (for adamw and lion: to the step); biases too. It is never clipped."""
    clip_value: float | None = Field(default=None, gt=0, lt=3e38, exclude_if=lambda limit: limit is None)
    """Each number of the gradient is cut to this, whatever its sign; no limit by default."""
    clip_norm: float | None = Field(default=None, gt=0, exclude_if=lambda limit: limit is None)
    """A gradient whose 2-norm over the gate's params is greater is scaled down to this; no limit by
    default."""
    accumulate: int = Field(default=1, ge=1, le=1 << 20, exclude_if=lambda batches: batches == 1)
    """The weights move once in so many batches, by the mean of their gradients."""
    staleness_aware: bool = Field(default=False, exclude_if=lambda used: not used)
    """Learning rate / max(1, staleness) (Zhang et al. 2016, arXiv:1511.05950)."""
    pipemare: int | None = Field(default=None, ge=1, exclude_if=lambda updates: updates is None)
    """PipeMare's T1 (Yang et al. 2021, arXiv:1910.05124): learning rate / staleness**p, p from 1 to 0 in so many
    updates."""
    gap_aware: bool = Field(default=False, exclude_if=lambda used: not used)
    """Each number of a gradient is divided by 1 + |way its weight has gone since the forward| / usual step (Barkai et
    al. 2020, arXiv:1909.10802)."""

    @abstractmethod
    def rule(self) -> Rule:
        """The rule with these settings."""

    def build(self, *, buffers: Collection[str] = ()) -> Chain:
        """The optimizer; `buffers` are passed through."""
        return Chain(self, self.rule(), frozenset(buffers))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.staleness_aware and self.pipemare is not None:
            raise ConfigError(
                "staleness_aware and pipemare both divide the learning rate by the staleness", hint="Take one of them."
            )
        if self.accumulate > 1 and self.rule().stale:
            raise ConfigError(
                f"accumulate = {self.accumulate}: each of the gradients has weights of its own to be compensated for",
                hint="Set accumulate = 1, or take larger batches.",
            )
        return self

    def delayed_rate(self, step: Step) -> np.float32:
        """Learning rate of an update, rounded once: the schedule's, divided for staleness where that is asked for."""
        tau = max(1, step.staleness)
        if tau > 1 and self.staleness_aware:
            return np.float32(self.lr * self.schedule.factor(step.version) / tau)
        if tau > 1 and self.pipemare is not None:
            p = 1.0 - min(step.version / self.pipemare, 1.0)
            return np.float32(self.lr * self.schedule.factor(step.version) * root(tau, p))
        return self.rate(step.version)


@dataclass(frozen=True, slots=True)
class Chain:
    """Links and rule. State: the rule's, and "gap", "gap-updates", "sum", "batches" where links need them."""

    spec: ChainSpec
    rule: Rule
    buffers: frozenset[str] = frozenset()

    @property
    def compensates(self) -> bool:
        """See Optimizer."""
        return self.rule.stale or self.spec.gap_aware

    def init(self, params: Params) -> dict[str, F32]:
        """Zeros, but for slots that begin as copies of the params and scalars that begin elsewhere."""
        names = trained(params, self.buffers)
        slots = [*self.rule.slots, *(["gap"] if self.spec.gap_aware else []), *(["sum"] if self._accumulates else [])]
        scalars = {**self.rule.scalars}
        scalars |= {"gap-updates": 0.0} if self.spec.gap_aware else {}
        scalars |= {"batches": 0.0} if self._accumulates else {}
        arrays = {
            f"{slot}.{name}": params[name].copy()
            if slot in self.rule.copied
            else np.zeros_like(params[name], order="C")
            for slot in slots
            for name in names
        }
        return {**arrays, **{name: np.full(1, value, np.float32) for name, value in scalars.items()}}

    def update(self, params: Params, state: Mapping[str, F32], step: Step) -> tuple[dict[str, F32], dict[str, F32]]:
        """See Optimizer; where a batch is only added to a sum, params stay the very same arrays."""
        grads, new_state = self._gradients(params, step), dict(state)
        rate = self.spec.delayed_rate(step)
        if self.spec.gap_aware:
            grads = self._shrunk(params, grads, new_state, step, rate)
        if self._accumulates and not self._add_up(params, grads, new_state):
            return dict(params), new_state
        if self.spec.clip_value is not None:
            grads = {name: _limited(g, self.spec.clip_value) for name, g in grads.items()}
        share = clip_share(grads, self.spec.clip_norm)
        return self._moved(params, grads, new_state, step, (rate, self._decay, share)), new_state

    def compensation_ratio(self, params: Params, state: Mapping[str, F32], step: Step) -> float:
        """See Optimizer."""
        if not self.compensates:
            return 0.0
        grads = self._gradients(params, step)
        arrays = [self._inputs(name, g, params, step, state) for name, g in grads.items()]
        size = norm(grads.values())
        if self.spec.gap_aware and size:
            shrunk = self._shrunk(params, grads, dict(state), step, self.spec.delayed_rate(step))
            return norm(shrunk[name] - g for name, g in grads.items()) / size
        return float(np.sqrt(self.rule.compensation_squares(arrays))) / size if size else 0.0

    def _gradients(self, params: Params, step: Step) -> dict[str, F32]:
        """Of the trained params, checked and flat."""
        names = trained(params, self.buffers)
        return {name: matching(name, "gradient", step.grads, params[name]).ravel() for name in names}

    @property
    def _accumulates(self) -> bool:
        return self.spec.accumulate > 1

    @property
    def _decay(self) -> np.float32:
        return np.float32(self.spec.weight_decay if self.rule.coupled else 0.0)

    def _moved(
        self, params: Params, grads: Params, state: dict[str, F32], step: Step, first: tuple[np.float32, ...]
    ) -> dict[str, F32]:
        """New params by the rule; `state` gets the rule's new entries."""
        scalars = {name: float(_scalar(name, state)) for name in self.rule.scalars} if self.rule.scalars else {}
        numbers, after = self.rule.coefficients(first[0], scalars, step)
        coefficients = [*first, *(np.float32(number) for number in numbers)]
        new, old = dict(params), dict(state)
        for name, g in grads.items():
            inputs = self._inputs(name, g, params, step, old)
            kernel, outs = self._way(inputs, params[name].shape)
            kernel(*inputs, *coefficients, *(out.reshape(-1) for out in outs))
            new[name] = outs[0]
            state.update({f"{slot}.{name}": out for slot, out in zip(self.rule.slots, outs[1:], strict=True)})
        state.update({name: np.full(1, value, np.float32) for name, value in after.items()})
        return new

    def _way(self, inputs: Sequence[F32], shape: tuple[int, ...]) -> tuple[Callable[..., None], list[F32]]:
        """The rule's kernel for inputs of that size, and new arrays for its outputs."""
        kernel: Callable[..., None] = getattr(optim.kernels, self.rule.kernel)
        count = 1 + len(self.rule.slots)
        if not self.rule.streams or not kernels.streaming.fits_no_cache(len(inputs) + count, inputs[0].size):
            return kernel, [np.empty(shape, np.float32) for _ in range(count)]
        outs: list[F32] = []
        for _ in range(count):
            outs.append(MEMORY.placed(shape, [*inputs, *outs]))
        return kernels.streaming.past_cache(kernel), outs

    def _inputs(self, name: str, g: F32, params: Params, step: Step, state: Mapping[str, F32]) -> list[F32]:
        """w, g, then if the rule looks at it, and slots of one param, checked and flat; `g` is that already."""
        w = params[name]
        found = [w.ravel(), g]
        if self.rule.stale:
            found.append(matching(name, "weights at the forward", step.then, w).ravel())
        for slot in self.rule.slots:
            found.append(matching(f"{slot}.{name}", "state", state, w).ravel())  # noqa: PERF401
        return found

    def _shrunk(
        self, params: Params, grads: Mapping[str, F32], state: dict[str, F32], step: Step, rate: np.float32
    ) -> dict[str, F32]:
        """Gradients divided by the gap; `state` gets the new mean squares."""
        updates = float(_scalar("gap-updates", state)) + 1
        correction = 1.0 / (1.0 - power(GAP_MEMORY, int(updates)))
        memory, rest = np.float32(GAP_MEMORY), np.float32(1 - GAP_MEMORY)
        c, eps = np.float32(correction), np.float32(GAP_EPS)
        shrunk: dict[str, F32] = {}
        for name, g in grads.items():
            w = params[name]
            then = matching(name, "weights at the forward", step.then, w).ravel()
            u = matching(f"gap.{name}", "state", state, w).ravel()
            shrunk[name], out_u = np.empty(g.shape, np.float32), np.empty(w.shape, np.float32)
            optim.kernels.shrink_by_gap(
                w.ravel(), g, then, u, rate, memory, rest, c, eps, shrunk[name], out_u.reshape(-1)
            )
            state[f"gap.{name}"] = out_u
        state["gap-updates"] = np.full(1, updates, np.float32)
        return shrunk

    def _add_up(self, params: Params, grads: dict[str, F32], state: dict[str, F32]) -> bool:
        """Whether the sum is complete; `grads` become its mean then, and `state` gets the new sum."""
        batches = int(_scalar("batches", state)) + 1
        complete = batches == self.spec.accumulate
        for name, g in grads.items():
            total = matching(f"sum.{name}", "state", state, params[name]) + g.reshape(params[name].shape)
            grads[name] = total.ravel() * np.float32(1 / batches)
            state[f"sum.{name}"] = np.zeros_like(total) if complete else total
        state["batches"] = np.full(1, 0 if complete else batches, np.float32)
        return complete


_ONE: Any = np.zeros(1, np.float32)


def _scalar(name: str, state: Mapping[str, F32]) -> np.float32:
    return np.float32(matching(name, "state", state, _ONE)[0])


def _limited(g: F32, greatest: float) -> F32:
    out = np.empty(g.shape, np.float32)
    optim.kernels.limit(g, np.float32(greatest), out)
    return out
