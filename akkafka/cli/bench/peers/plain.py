"""The network that all peers train, in plain numpy: what differs between them is the transport and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from akkafka.cli.bench.peers.job import F32, U8, Job, Samples, first_weights


@dataclass(slots=True)
class Tape:
    """What a stage remembers of a batch in flight: the weights too, as they may be newer when its gradient comes."""

    x: F32
    y: F32
    weight: F32


@dataclass(slots=True, eq=False)
class Stage:
    """A linear layer, perhaps relu and scaling behind it, and its SGD; a network's first takes and scales pixels."""

    weight: F32  # (n_in, n_out); replaced by every update, never written to: tapes hold it
    bias: F32  # (n_out,)
    relu: bool
    behind: tuple[np.float32, np.float32] | None  # scale and shift of what goes out
    first: bool
    scale: np.float32
    shift: np.float32
    clip_norm: float | None
    rates: tuple[float, ...]
    version: int = 0
    _tapes: dict[int, Tape] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Job, index: int) -> Stage:
        """Stage `index`, before the first update."""
        weight, bias = first_weights(job)[index]
        scale, shift = np.float32(job.scale), np.float32(job.shift)
        pair = job.behind[index]
        behind = pair and (np.float32(pair[0]), np.float32(pair[1]))
        return cls(weight, bias, job.relu[index], behind, index == 0, scale, shift, job.clip_norm, job.rates)

    def forward(self, batch: int, x: U8 | F32) -> F32:
        """x (B, n_in), pixels uint8 in the first stage, else float32 -> y (B, n_out); remembered for `backward`."""
        taken = self._taken(x)
        y = self._layer(taken)
        self._tapes[batch] = Tape(taken, y, self.weight)
        return self._given(y)

    def backward(self, batch: int, dy: F32) -> F32 | None:
        """dy (B, n_out) -> dx (B, n_in), None from the first stage, at the weights of the forward; then one update."""
        tape = self._tapes.pop(batch)
        dz: F32 = dy if self.behind is None else dy * self.behind[0]
        if self.relu:
            dz = np.multiply(dz, tape.y > 0)
        dx = None if self.first else dz @ tape.weight.T
        self._update(tape.x.T @ dz, dz.sum(axis=0))
        return dx

    def infer(self, x: U8 | F32) -> F32:
        """Forward without a trace."""
        return self._given(self._layer(self._taken(x)))

    def _taken(self, given: U8 | F32) -> F32:
        x = given.astype(np.float32, copy=self.first)
        if not self.first:
            return x
        x *= self.scale
        x += self.shift
        return x

    def _layer(self, x: F32) -> F32:
        y: F32 = np.dot(x, self.weight)
        y += self.bias
        if self.relu:
            np.maximum(y, 0, out=y)
        return y

    def _given(self, y: F32) -> F32:
        if self.behind is None:
            return y
        scale, shift = self.behind
        out = y * scale
        out += shift
        return out

    def _update(self, weight: F32, bias: F32) -> None:
        step = np.float32(self.rates[self.version] * self._share(weight, bias))
        self.weight = self.weight - step * weight
        self.bias = self.bias - step * bias
        self.version += 1

    def _share(self, weight: F32, bias: F32) -> float:
        if self.clip_norm is None:
            return 1.0
        norm = math.sqrt(float(np.vdot(weight, weight)) + float(np.vdot(bias, bias)))
        return min(1.0, self.clip_norm / norm) if norm > 0 else 1.0


def cross_entropy(logits: F32, targets: NDArray[np.int64]) -> tuple[float, F32]:
    """Softmax cross-entropy, mean over the batch, and its gradient. logits (B, C) float32, targets (B,)."""
    rows = np.arange(len(targets))
    shifted = logits - logits.max(axis=1, keepdims=True)
    gradient: F32 = np.exp(shifted)
    total = gradient.sum(axis=1, keepdims=True)
    loss = float(np.mean(np.log(total[:, 0]) - shifted[rows, targets]))
    gradient /= total
    gradient[rows, targets] -= 1
    gradient /= np.float32(len(targets))
    return loss, gradient


def accuracy(logits: F32, targets: NDArray[np.int64]) -> float:
    """Share of the samples whose greatest logit is the target's."""
    return float(np.mean(logits.argmax(axis=1) == targets))


@dataclass(slots=True)
class Losses:
    """Mean loss by epoch, from its batches in any order."""

    sums: dict[int, float] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)

    def add(self, epoch: int, loss: float, samples: int) -> None:
        """One batch."""
        self.sums[epoch] = self.sums.get(epoch, 0.0) + loss * samples
        self.counts[epoch] = self.counts.get(epoch, 0) + samples

    def means(self) -> list[float]:
        """By epoch, in order."""
        return [self.sums[epoch] / self.counts[epoch] for epoch in sorted(self.sums)]


def validated(stages: list[Stage], samples: Samples) -> float:
    """Accuracy of stages in this process over the validation samples."""
    x: U8 | F32 = samples.x_validation
    for stage in stages:
        x = stage.infer(x)
    return accuracy(x.astype(np.float32, copy=False), samples.y_validation)
