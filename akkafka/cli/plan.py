"""`akkafka plan`: which gates had better share a process here, from what their work costs on this machine.

Measured: each gate's forward, backward and update of one batch of zeros on one thread, with rounding for narrow edges,
and writing and reading its messages. Added: what a gate's process spends per batch besides, in Python and client, and
what broker and sentinel spend: so much a batch, and for each byte that is written into the log, which the broker takes
in, keeps and gives out. The figures below are of `akkafka train` on two cores over a broker that had been up for a
minute, with batches of .8, 6.7 and 10.7 MB (mnist.toml, `--net mlp-wide` with bfloat16 and float32 edges); one that has
just started compiles, and takes two to three times as much (`akkafka bench pipeline` has such a one). A process is one
after the other, as its Python is; so with gates given to processes, a batch takes at least

    max(the busiest process, all the work / cores)

of time, and of the placements (neighbours stay together) that come within a twentieth of the least, the one with the
fewest processes is proposed: each costs some 200 MB and its share of the machine's attention.

Neighbours may also be merged into one gate (protocol/merge.py), a network of its own: between its layers nothing is
written, and it divides the rows of a batch among the threads that gates gone together leave it (nn/divided.py). What it
costs is reckoned from the same measurements: the sum of computing, the messages at its two ends, all of the journals.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from akkafka.cli.console import table
from akkafka.cli.training.placement import cores_here, threads_of
from akkafka.data.dataset import shapes
from akkafka.data.epochs import Cursor
from akkafka.gate import events as e
from akkafka.gate.model import Model
from akkafka.nn.divided import by_row, effort, parts_of
from akkafka.nn.layer import Pass
from akkafka.protocol import wire
from akkafka.protocol.config import load_config
from akkafka.protocol.definition import Definition
from akkafka.protocol.messages import Array, Backward, Forward, Mode

GATE_MS = 3.0  # CPU of a gate's process a batch, besides its computing
REST_MS = 6.5  # CPU of broker and sentinel a batch, with whatever in it
WRITTEN_MS = 3.7  # of the broker for each MB (10^6 bytes) of edges and journals
NEAR = 1.05
REPEATS = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """One gate, one batch."""

    name: str
    compute_ms: float  # forward, backward, update
    codec_ms: float  # its two messages, written and read
    out_bytes: int  # what it sends on
    back_bytes: int  # its input's gradient
    journal_bytes: int  # a record of its journal
    by_row: bool = True  # whether its threads can share a batch's rows
    effort: int = 1 << 40  # of a batch: whether they do (nn/divided.py)

    @property
    def own_ms(self) -> float:
        """CPU in its process."""
        return self.compute_ms + self.codec_ms + GATE_MS

    @property
    def written_bytes(self) -> int:
        """Into the log."""
        return self.out_bytes + self.back_bytes + self.journal_bytes

    def longest_ms(self, threads: int) -> float:
        """That its process is at it, if nothing else takes the cores."""
        parts = parts_of(self.effort, threads) if self.by_row else 1
        return self.own_ms - self.compute_ms * (1 - 1 / parts)


@dataclass(frozen=True, slots=True)
class Placement:
    """Gates by process."""

    groups: tuple[range, ...]
    busiest_ms: float  # of all processes
    batch_ms: float  # the least time between two batches

    @property
    def layers(self) -> list[str]:
        """As `run.processes` has them."""
        return [str(g.start) if len(g) == 1 else f"{g.start}-{g.stop - 1}" for g in self.groups]


def rest_of(costs: Sequence[Cost]) -> float:
    """CPU of broker and sentinel a batch; the loss's gradient is as large as the last gate's result."""
    written = sum(cost.written_bytes for cost in costs) + costs[-1].out_bytes
    return REST_MS + WRITTEN_MS * written / 1e6


def placements(loads: Sequence[float], rest_ms: float, cores: int) -> list[Placement]:
    """For 1, 2, … processes the best each. `loads`: CPU of each gate for a batch, ms."""
    even = (sum(loads) + rest_ms) / cores
    found = []
    for processes in range(1, len(loads) + 1):
        groups = partition(loads, processes)
        busiest = max(sum(loads[i] for i in group) for group in groups)
        found.append(Placement(groups, busiest, max(busiest, even)))
    return found


def proposed(found: Sequence[Placement]) -> Placement:
    """See the module's docstring."""
    least = min(placement.batch_ms for placement in found)
    return next(placement for placement in found if placement.batch_ms <= NEAR * least)


def merged(costs: Sequence[Cost]) -> Cost:
    """Of neighbours as one gate."""
    return Cost(
        "-".join(cost.name for cost in costs),
        sum(cost.compute_ms for cost in costs),
        costs[-1].codec_ms,
        costs[-1].out_bytes,
        costs[0].back_bytes,
        sum(cost.journal_bytes for cost in costs),
        all(cost.by_row for cost in costs),
        sum(cost.effort for cost in costs),
    )


def mergers(costs: Sequence[Cost], cores: int) -> list[Placement]:
    """For all gates merged into 1, 2, … the best each, with a process for each merged gate."""
    found = []
    for gates in range(1, len(costs)):
        groups = partition([cost.own_ms for cost in costs], gates)
        together = [merged(costs[group.start : group.stop]) for group in groups]
        busiest = max(cost.longest_ms(threads_of(gates, cores)) for cost in together)
        work = sum(cost.own_ms for cost in together) + rest_of(together)
        found.append(Placement(groups, busiest, max(busiest, work / cores)))
    return found


def partition(loads: Sequence[float], parts: int) -> tuple[range, ...]:
    """Neighbours cut into `parts` groups so that the greatest sum is least; of equals with the earliest cuts."""

    @cache
    def best(start: int, left: int) -> tuple[float, tuple[int, ...]]:
        if left == 1:
            return sum(loads[start:]), ()
        options = []
        for cut in range(start + 1, len(loads) - left + 2):
            greatest, cuts = best(cut, left - 1)
            options.append((max(sum(loads[start:cut]), greatest), (cut, *cuts)))
        return min(options)

    cuts = (0, *best(0, parts)[1], len(loads))
    return tuple(range(start, stop) for start, stop in pairwise(cuts))


def plan(path: Path | None, overrides: Sequence[str], cores: int | None, data_dir: Path | None) -> list[str]:
    """What to print. Raises AkkafkaError."""
    definition = load_config(path, overrides, data_dir=data_dir).definition
    cores = cores or cores_here()
    costs = measured(definition)
    found = placements([cost.own_ms for cost in costs], rest_of(costs), cores)
    return lines(definition, costs, found, cores)


def lines(definition: Definition, costs: Sequence[Cost], found: Sequence[Placement], cores: int) -> list[str]:
    """The tables, and what to do."""
    choice = proposed(found)
    gates = [
        [c.name, f"{c.compute_ms:.2f}", f"{c.codec_ms:.2f}", f"{c.own_ms:.2f}", f"{c.out_bytes / 1000:,.0f}"]
        for c in costs
    ]
    ways = [[*_row(p, definition), "proposed" if p is choice else ""] for p in found]
    told = ", ".join(f'"{layers}"' for layers in choice.layers)
    return [
        *table(["gate, ms a batch", "compute", "messages", "in all", "KB sent on"], gates),
        "",
        *table([f"processes, {cores} cores", "busiest ms", "batch ms", "samples/s at most", ""], ways),
        "",
        f"assumed besides: {GATE_MS:g} ms of CPU a batch in each gate, {rest_of(costs):.1f} ms in broker and sentinel",
        f"each gate: {threads_of(len(costs), cores)} thread(s)",
        f"[run] processes = [{told}]    (or --set 'run.processes=[{told}]')",
        *(_merging(definition, mergers(costs, cores)) if len(costs) > 1 else []),
    ]


def _merging(definition: Definition, found: Sequence[Placement]) -> list[str]:
    """What another network would give that has the same layers in fewer gates."""
    best = proposed(found)
    told = ", ".join(f'"{layers}"' for layers in best.layers)
    return [
        "",
        *table(
            ["or merged into gates such as", "busiest ms", "batch ms", "samples/s at most"],
            [_row(p, definition) for p in found],
        ),
        "",
        "another network, trained anew: fewer messages, cores divide the rows of a batch, gradients are less stale,",
        f"but a gate is what can be moved to another machine: merge = [{told}]    (or --set 'merge=[{told}]')",
    ]


def _row(p: Placement, definition: Definition) -> list[str]:
    return [
        " ".join(p.layers),
        f"{p.busiest_ms:.1f}",
        f"{p.batch_ms:.1f}",
        f"{1000 * definition.batch_size / p.batch_ms:,.0f}",
    ]


def measured(definition: Definition) -> list[Cost]:
    """Each gate, on batches of zeros with a little noise: the median of some repeats."""
    shape, dtype = shapes(definition.data)
    rng = np.random.default_rng(0)
    x: Array = rng.integers(0, 100, (definition.batch_size, *shape)).astype(dtype)
    costs = []
    for gate in range(len(definition.gates)):
        cost, x = _measured(definition, gate, x, rng)
        costs.append(cost)
    return costs


def _measured(definition: Definition, gate: int, x: Array, rng: np.random.Generator) -> tuple[Cost, Array]:
    """The gate's cost, and what it gives."""
    run = definition.new_run()
    model = Model(definition, gate, run, "plan")
    model.warm_up()
    state = model.initial()
    came = Forward(run, Mode.TRAIN, 0, 0, Cursor(0, 0), Cursor(0, 1), (), x)
    forward = e.ComputeForward(0, came, state, 0)
    there = model.forward(forward)
    if there.y is None:
        raise ValueError(f"gate {definition.gates[gate].name}: {there.failure}")
    dy = rng.standard_normal(there.y.shape).astype(np.float32)
    back = Backward(run, 0, 0, (), 0, dy)
    hop = state.hop(0)
    backward = e.ComputeBackward(0, back, hop, state.params, there.tape, None, state, 0)
    applied = model.backward(backward)
    compute = _median(lambda: model.forward(forward)) + _median(lambda: model.backward(backward))
    out = Forward(run, Mode.TRAIN, 0, 0, Cursor(0, 0), Cursor(0, 1), (hop,), there.y)
    codec = _median(lambda: wire.decode(wire.encode(out))) + _median(lambda: wire.decode(wire.encode(back)))
    given = model.layer.forward(state.params, x, Pass(False, 0))[0]
    back_bytes = 0 if applied.dx is None else applied.dx.nbytes
    name, divisible = definition.gates[gate].name, by_row(model.layer)
    batch = len(x) * effort(model.layer)
    return Cost(name, compute, codec, there.y.nbytes, back_bytes, len(applied.value), divisible, batch), given


def _median(work: Callable[[], object]) -> float:
    """Milliseconds."""
    work()
    took = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return 1000 * sorted(took)[REPEATS // 2]
