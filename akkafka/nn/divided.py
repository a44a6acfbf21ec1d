"""A layer's work divided among threads: each takes some rows of the batch through the whole block of layers.

BLAS's own threads are no match for it: they divide one product at a time, leave all that is between, kernels included,
to one thread, and burn the other core's time while they wait for the next. A part, once begun, is nobody's business
until it ends, and lies in a core's own cache from layer to layer.

*What it does to the numbers.* Outputs and input gradients are those of the rows, so as close to the whole batch's as
two products of BLAS are whose matrices differ in height: equal but for the last bits. A weight's gradient is the sum of
the parts', added up in their order. Which rows a part has follows from the number of rows and of threads alone, so the
same training on as many threads gives the same bits, whichever thread was faster.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from akkafka.nn.block import Around
from akkafka.nn.layer import F32, Array, Layer, Params, Pass, Shape, Tape
from akkafka.nn.layers.attention import Attention
from akkafka.nn.layers.conv2d import Conv2d
from akkafka.nn.layers.conv_transpose2d import ConvTranspose2d
from akkafka.nn.layers.dropconnect_weights import DropConnectWeights
from akkafka.nn.layers.each import Each
from akkafka.nn.layers.embedding import Embedding, PositionalEmbedding
from akkafka.nn.layers.flatten import Flatten
from akkafka.nn.layers.global_pool import GlobalAvgPool, GlobalMaxPool
from akkafka.nn.layers.group_norm import GroupNorm
from akkafka.nn.layers.linear import Linear
from akkafka.nn.layers.parallel import Parallel
from akkafka.nn.layers.pointwise import Pointwise
from akkafka.nn.layers.pool2d import AvgPool2d, MaxPool2d
from akkafka.nn.layers.recurrent import Recurrent
from akkafka.nn.layers.relu import Relu
from akkafka.nn.layers.reshape import Reshape
from akkafka.nn.layers.residual import Residual
from akkafka.nn.layers.row_norm import RowNorm
from akkafka.nn.layers.scale import Scale
from akkafka.nn.layers.softmax import Softmax
from akkafka.nn.sequence import Stack

T = TypeVar("T")

BY_ROW: Final = {
    Attention,
    AvgPool2d,
    Conv2d,
    ConvTranspose2d,
    DropConnectWeights,
    Each,
    Embedding,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    Linear,
    MaxPool2d,
    Parallel,
    Pointwise,
    PositionalEmbedding,
    Recurrent,
    Relu,
    Reshape,
    Residual,
    RowNorm,
    Scale,
    Softmax,
    Stack,
}
"""Layers that do to a row what they would do if it came alone; those that hold others, if these do. Not here:
statistics of the batch, and masks over samples, whose chance goes by the row's place in it; nor layers of other
packages, though they may derive from these."""

WORTH: Final = 45_000_000
"""Effort that a part takes at least, half a millisecond to one: to hand it over and to wait for its thread take some
.1 ms, and the core is missed elsewhere. Measured with a merged MLP for MNIST, whose pixels are mostly zero: parts of 20
and 40 million cost a tenth of the throughput, of 80 million they gained 17 %."""
DEARER: Final = 4
"""Times the effort of a linear layer's multiplication that one takes elsewhere, roughly."""


def by_row(layer: Layer) -> bool:
    """True if `layer`, with all that it holds, may be divided by rows."""
    if type(layer) not in BY_ROW:  # no more than these: what derives from them may look at the whole batch
        return False
    if isinstance(layer, Stack):
        return all(map(by_row, layer.layers))
    if isinstance(layer, Around):
        return by_row(layer.inner)
    return all(map(by_row, layer.branches)) if isinstance(layer, Parallel) else True


def effort(layer: Layer) -> int:
    """Roughly that of a forward of one sample, in multiplications of a linear layer.

    Each weight multiplies once for every place that it is used at.
    """
    if isinstance(layer, Stack):
        return sum(map(effort, layer.layers))
    if isinstance(layer, Parallel):
        return sum(map(effort, layer.branches))
    multiplications = sum(map(math.prod, layer.param_shapes.values())) * _places(layer.out_shape)
    return multiplications * (1 if isinstance(layer, Linear) else DEARER)


def parts_of(batch: int, threads: int) -> int:
    """How many parts a batch of such effort is divided into among `threads`."""
    return min(threads, max(1, batch // WORTH))


def _places(shape: Shape) -> int:
    """(C, H, W) has H·W, a sequence (T, n) has T, a vector one."""
    return math.prod(shape[1:]) if len(shape) == 3 else math.prod(shape[:-1])


class Team:
    """Threads that work on one thing at a time: the caller's and `threads` - 1 of its own, started at first use."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._helpers = ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="team")

    def map(self, work: Callable[[int], T], count: int) -> list[T]:
        """`work(0)` to `work(count - 1)`, each by whoever is free; raises what one of them raised.

        Returns when none is under way. The caller does not wait for a helper that has not begun: where cores are taken,
        it does all by itself.
        """
        results: list[Any] = [None] * count
        numbers = itertools.count()

        def some() -> None:
            while (number := next(numbers)) < count:
                results[number] = work(number)

        helpers = [self._helpers.submit(some) for _ in range(min(self.threads, count) - 1)]
        try:
            some()
        finally:
            failures = [error for error in map(_ended, helpers) if error is not None]
        if failures:
            raise failures[0]
        return results

    def beside(self, work: Callable[[], T]) -> Callable[[], T]:
        """Have a helper do `work`; what is returned gives the result, or does the work if no helper has begun."""
        helper = self._helpers.submit(work)
        return lambda: work() if helper.cancel() else helper.result()

    def close(self) -> None:
        """End its threads."""
        self._helpers.shutdown(wait=False)


def _ended(helper: Future[None]) -> BaseException | None:
    """What it raised, when it has ended."""
    return None if helper.cancel() else helper.exception()


class PartsTape(NamedTuple):
    """The tapes of the parts, in order."""

    tapes: Sequence[Tape]


@dataclass(frozen=True)
class Divided:
    """Forward and backward of a layer that is `by_row`, by a team."""

    layer: Layer
    team: Team

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[Array, Tape]:
        """See Layer."""
        cuts = self._cuts(len(x))
        if len(cuts) == 1:
            return self.layer.forward(params, x, run)
        parts = self.team.map(lambda k: self.layer.forward(params, x[cuts[k]], run), len(cuts))
        return np.concatenate([y for y, _ in parts]), PartsTape([tape for _, tape in parts])

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer; the tape is one of `forward` here."""
        if not isinstance(tape, PartsTape):
            return self.layer.backward(params, tape, dy, need_dx=need_dx)
        cuts = self._cuts(len(dy))
        parts = self.team.map(
            lambda k: self.layer.backward(params, tape.tapes[k], dy[cuts[k]], need_dx=need_dx), len(cuts)
        )
        inputs = [dx for dx, _ in parts if dx is not None]
        sums = {name: reduce(np.add, [grads[name] for _, grads in parts]) for name in parts[0][1]}
        return np.concatenate(inputs) if inputs else None, sums

    def _cuts(self, rows: int) -> list[slice]:
        """Rows of each part: as even as can be, and enough to be worth it."""
        parts = min(parts_of(rows * self._effort, self.team.threads), rows)
        return [slice(rows * k // parts, rows * (k + 1) // parts) for k in range(parts)]

    @cached_property
    def _effort(self) -> int:
        """For a row."""
        return effort(self.layer)
