"""The network that all peers train, in plain numpy: what differs between them is the transport and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from akkafka.cli.bench.peers.job import F32, U8, Job, Op, Samples, first_weights

Params = dict[str, F32]
Numbers = NDArray[Any]


class Layer(Protocol):
    """A layer of a stage. Batches are (B, *shape)."""

    def forward(self, params: Params, x: Numbers) -> tuple[F32, Any]:
        """What comes out, and what `backward` needs."""

    def backward(self, params: Params, tape: Any, dy: F32, need_dx: bool) -> tuple[F32 | None, Params]:
        """Gradients of the input, if it is needed, and of the weights, by their names."""


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x @ weight + bias."""

    at: int

    def forward(self, params: Params, x: Numbers) -> tuple[F32, Any]:
        """x (B, n_in)."""
        y: F32 = np.dot(x, params[f"{self.at}.weight"])
        y += params[f"{self.at}.bias"]
        return y, x

    def backward(self, params: Params, tape: Any, dy: F32, need_dx: bool) -> tuple[F32 | None, Params]:
        """See Layer."""
        dx = dy @ params[f"{self.at}.weight"].T if need_dx else None
        return dx, {f"{self.at}.weight": tape.T @ dy, f"{self.at}.bias": dy.sum(axis=0)}


@dataclass(frozen=True, slots=True)
class Conv2d:
    """Windows of the image as rows, then one matrix product; step 1, a rim of `padding` zeros."""

    at: int
    padding: int

    def forward(self, params: Params, x: Numbers) -> tuple[F32, Any]:
        """x (B, C, H, W)."""
        weight = params[f"{self.at}.weight"]
        out, _, kh, kw = weight.shape
        rows = self._rows(x, kh, kw)
        y = rows @ weight.reshape(out, -1).T
        y += params[f"{self.at}.bias"]
        height, width = x.shape[2] + 2 * self.padding - kh + 1, x.shape[3] + 2 * self.padding - kw + 1
        return np.ascontiguousarray(y.reshape(len(x), height, width, out).transpose(0, 3, 1, 2)), x

    def backward(self, params: Params, tape: Any, dy: F32, need_dx: bool) -> tuple[F32 | None, Params]:
        """See Layer; rows are made again, as to keep them takes 25 times the memory of the input."""
        weight = params[f"{self.at}.weight"]
        out, channels, kh, kw = weight.shape
        dz = dy.transpose(0, 2, 3, 1).reshape(-1, out)
        grads = {
            f"{self.at}.weight": (dz.T @ self._rows(tape, kh, kw)).reshape(weight.shape),
            f"{self.at}.bias": dz.sum(axis=0),
        }
        if not need_dx:
            return None, grads
        batch, _, height, width = dy.shape
        drows = (dz @ weight.reshape(out, -1)).reshape(batch, height, width, channels, kh, kw)
        rim = self.padding
        padded = np.zeros((batch, channels, tape.shape[2] + 2 * rim, tape.shape[3] + 2 * rim), np.float32)
        for i in range(kh):
            for j in range(kw):
                padded[:, :, i : i + height, j : j + width] += drows[:, :, :, :, i, j].transpose(0, 3, 1, 2)
        inner = slice(rim, -rim or None)
        return np.ascontiguousarray(padded[:, :, inner, inner]), grads

    def _rows(self, x: Numbers, kh: int, kw: int) -> F32:
        rim = self.padding
        padded = np.pad(x, ((0, 0), (0, 0), (rim, rim), (rim, rim))) if rim else x
        windows = sliding_window_view(padded, (kh, kw), axis=(2, 3))
        rows: F32 = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, x.shape[1] * kh * kw)
        return rows


@dataclass(frozen=True, slots=True)
class MaxPool:
    """The greatest of each window of `kernel` times `kernel`, which do not overlap; the first of equals."""

    kernel: int

    def forward(self, params: Params, x: Numbers) -> tuple[F32, Any]:
        """x (B, C, H, W); sides that `kernel` divides."""
        k = self.kernel
        b, c, h, w = x.shape
        windows = x.reshape(b, c, h // k, k, w // k, k).transpose(0, 1, 2, 4, 3, 5).reshape(b, c, h // k, w // k, k * k)
        where = windows.argmax(axis=-1)[..., None]
        return np.take_along_axis(windows, where, axis=-1)[..., 0], (where, x.shape)

    def backward(self, params: Params, tape: Any, dy: F32, need_dx: bool) -> tuple[F32 | None, Params]:
        """See Layer."""
        where, (b, c, h, w) = tape
        k = self.kernel
        windows = np.zeros((*dy.shape, k * k), np.float32)
        np.put_along_axis(windows, where, dy[..., None], axis=-1)
        return windows.reshape(b, c, h // k, w // k, k, k).transpose(0, 1, 2, 4, 3, 5).reshape(b, c, h, w), {}


class Relu:
    """max(x, 0), in place: a layer that makes a new array comes before."""

    def forward(self, params: Params, x: Numbers) -> tuple[F32, Any]:
        """Any shape."""
        y: F32 = np.maximum(x, 0, out=x)
        return y, y

    def backward(self, params: Params, tape: Any, dy: F32, need_dx: bool) -> tuple[F32 | None, Params]:
        """See Layer."""
        return np.multiply(dy, tape > 0), {}


@dataclass(frozen=True, slots=True)
class Scale:
    """x * scale + shift; makes float32 of pixels."""

    scale: np.float32
    shift: np.float32

    def forward(self, params: Params, x: Numbers) -> tuple[F32, Any]:
        """Any shape."""
        y: F32 = x.astype(np.float32)
        y *= self.scale
        y += self.shift
        return y, None

    def backward(self, params: Params, tape: Any, dy: F32, need_dx: bool) -> tuple[F32 | None, Params]:
        """See Layer."""
        return dy * self.scale if need_dx else None, {}


@dataclass(frozen=True, slots=True)
class Reshape:
    """Samples in another shape; None: flat."""

    shape: tuple[int, ...] | None

    def forward(self, params: Params, x: Numbers) -> tuple[F32, Any]:
        """Any shape."""
        return x.reshape(len(x), *(self.shape or (-1,))), x.shape

    def backward(self, params: Params, tape: Any, dy: F32, need_dx: bool) -> tuple[F32 | None, Params]:
        """See Layer."""
        return dy.reshape(tape), {}


def layer_of(op: Op, at: int) -> Layer:
    """The layer that a job names."""
    match op:
        case {"type": "linear"}:
            return Linear(at)
        case {"type": "conv2d", "padding": padding}:
            return Conv2d(at, padding)
        case {"type": "max-pool2d", "kernel": kernel}:
            return MaxPool(kernel)
        case {"type": "relu"}:
            return Relu()
        case {"type": "scale", "scale": scale, "shift": shift}:
            return Scale(np.float32(scale), np.float32(shift))
        case {"type": "reshape", "shape": shape}:
            return Reshape(tuple(shape))
        case {"type": "flatten"}:
            return Reshape(None)
    raise ValueError(f"peers have no layer {op}")


@dataclass(slots=True)
class Tape:
    """What a stage remembers of a batch in flight: the weights too, as they may be newer when its gradient comes."""

    tapes: list[Any]
    params: Params


@dataclass(slots=True, eq=False)
class Stage:
    """The layers of one of akkafka's gates, and its SGD."""

    layers: list[Layer]
    params: Params  # arrays are replaced by every update, never written to: tapes hold them
    first: bool
    clip_norm: float | None
    rates: tuple[float, ...]
    version: int = 0
    keep_every: int = 0
    kept: dict[int, Params] = field(default_factory=dict)  # by version, see Job.keep_every
    _tapes: dict[int, Tape] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Job, index: int) -> Stage:
        """Stage `index`, before the first update."""
        layers = [layer_of(op, at) for at, op in enumerate(job.layers[index])]
        params = first_weights(job)[index]
        return cls(layers, params, index == 0, job.clip_norm, job.rates, keep_every=job.keep_every)

    def forward(self, batch: int, x: U8 | F32) -> F32:
        """x (B, *shape), pixels uint8 into the first stage, else float32 -> y; remembered for `backward`."""
        y, tapes = self._run(x)
        self._tapes[batch] = Tape(tapes, self.params)
        return y

    def backward(self, batch: int, dy: F32) -> F32 | None:
        """dy as y -> dx as x, None from the first stage, at the weights of the forward; then one update."""
        tape = self._tapes.pop(batch)
        weighted = min(at for at, layer in enumerate(self.layers) if isinstance(layer, Linear | Conv2d))
        last = weighted if self.first else 0
        grads: Params = {}
        back: F32 | None = dy
        for at in range(len(self.layers) - 1, last - 1, -1):
            assert back is not None, "only the last one is asked for nothing"
            need = not self.first or at > last
            back, own = self.layers[at].backward(tape.params, tape.tapes[at], back, need)
            grads.update(own)
        self._update(grads)
        return None if self.first else back

    def infer(self, x: U8 | F32) -> F32:
        """Forward without a trace."""
        return self._run(x)[0]

    def _run(self, x: U8 | F32) -> tuple[F32, list[Any]]:
        tapes = []
        y: Numbers = x
        for layer in self.layers:
            y, tape = layer.forward(self.params, y)
            tapes.append(tape)
        return y, tapes

    def _update(self, grads: Params) -> None:
        step = np.float32(self.rates[self.version] * self._share(grads))
        self.params = {name: self.params[name] - step * grad for name, grad in grads.items()}
        self.version += 1
        if self.keep_every and self.version % self.keep_every == 0:
            self.kept[self.version] = self.params

    def _share(self, grads: Params) -> float:
        if self.clip_norm is None:
            return 1.0
        norm = math.sqrt(sum(float(np.vdot(grad, grad)) for grad in grads.values()))
        return min(1.0, self.clip_norm / norm) if norm > 0 else 1.0


class Trainable(Protocol):
    """What can be trained: a stage, or what does the same by other means."""

    params: Params
    kept: dict[int, Params]

    def forward(self, batch: int, x: U8 | F32) -> F32:
        """See Stage."""

    def backward(self, batch: int, dy: F32) -> F32 | None:
        """See Stage."""

    def infer(self, x: U8 | F32) -> F32:
        """See Stage."""


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


def validated(stages: Sequence[Trainable], samples: Samples) -> float:
    """Accuracy of stages in this process over the validation samples, 1000 at a time."""
    hits = 0.0
    for first in range(0, len(samples.x_validation), 1000):
        x: U8 | F32 = samples.x_validation[first : first + 1000]
        for stage in stages:
            x = stage.infer(x)
        targets = samples.y_validation[first : first + 1000]
        hits += accuracy(x.astype(np.float32, copy=False), targets) * len(targets)
    return hits / len(samples.y_validation)


def first_reaching(
    job: Job, stages: Sequence[Trainable], kept: Sequence[Mapping[int, Params]], samples: Samples
) -> int:
    """Updates after which the weights that were `kept`, stage by stage, first have the job's target; 0: never.

    The stages are left with the weights that were looked at last.
    """
    for version in sorted(kept[0]) if job.target else ():
        for stage, own in zip(stages, kept, strict=True):
            stage.params = own[version]
        if validated(stages, samples) >= job.target:
            return version
    return 0
