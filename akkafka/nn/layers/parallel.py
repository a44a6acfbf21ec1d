"""Parallel: blocks side by side on the same input, their outputs put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
from pydantic import Field

from akkafka.errors import ShapeError
from akkafka.nn.block import Branches
from akkafka.nn.layer import F32, FLOAT32, Array, Params, Pass, Shape, Tape
from akkafka.nn.sequence import Stack
from akkafka.nn.spec import LayerSpec, build_sequence

Join = Literal["concat", "sum"]


class ParallelSpec(LayerSpec):
    """Settings of blocks side by side."""

    type: Literal["parallel"] = "parallel"
    """Parallel: every branch sees the same input; params are named "<branch>.<position>.<name>"."""
    branches: Branches = Field(min_length=1, max_length=256)
    """The branches, each a list of layers."""
    join: Join = "concat"
    """concat: outputs one behind the other along `axis`; sum: added up, all of one shape."""
    axis: int = Field(default=0, ge=0, le=7)
    """Of a sample; 0 are the channels of an image and the features of a vector."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Parallel:
        """The layer; raises ShapeError naming the branch that does not fit its input or the other branches."""
        built: list[Stack] = []
        for number, branch in enumerate(self.branches):
            try:
                built.append(build_sequence(branch, in_shape, in_dtype))
            except ShapeError as err:
                raise ShapeError(f"branch {number}: {err}", hint=err.hint) from err
        return Parallel(tuple(built), _joined(built, self.join, self.axis), self.join, self.axis)


def _joined(branches: list[Stack], join: Join, axis: int) -> Shape:
    """Shape of the outputs put together."""
    first = branches[0].out_shape
    for number, branch in enumerate(branches):
        if branch.out_dtype != FLOAT32:
            raise ShapeError(f"branch {number} gives {branch.out_dtype}, takes float32", hint="put a scale layer there")
        if _common(branch.out_shape, join, axis) != _common(first, join, axis):
            raise ShapeError(
                f"branch {number} gives {branch.out_shape}, branch 0 {first}: takes "
                + (f"shapes that differ in axis {axis} alone" if join == "concat" else "equal shapes"),
                hint="strides and paddings of the branches must match",
            )
    if join == "sum":
        return first
    return (*first[:axis], sum(branch.out_shape[axis] for branch in branches), *first[axis + 1 :])


def _common(shape: Shape, join: Join, axis: int) -> Shape:
    """What all branches must agree in."""
    if join == "sum":
        return shape
    if axis >= len(shape):
        raise ShapeError(f"parallel: a branch gives {shape}, which has no axis {axis} to be joined along")
    return (*shape[:axis], -1, *shape[axis + 1 :])


@dataclass(frozen=True, slots=True)
class Parallel:
    """y = the branches' outputs of the same x, concatenated or summed in order. The tape is those of the branches."""

    branches: tuple[Stack, ...]
    out_shape: Shape
    join: Join
    axis: int

    @property
    def in_shape(self) -> Shape:
        """The branches'."""
        return self.branches[0].in_shape

    @property
    def in_dtype(self) -> np.dtype[Any]:
        """The branches'."""
        return self.branches[0].in_dtype

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    @property
    def param_shapes(self) -> Mapping[str, Shape]:
        """ "<branch>.<position>.<name>" to shape."""
        return {f"{k}.{n}": s for k, one in enumerate(self.branches) for n, s in one.param_shapes.items()}

    @property
    def buffers(self) -> Mapping[str, float]:
        """ "<branch>.<position>.<name>" to momentum."""
        return {f"{k}.{n}": m for k, one in enumerate(self.branches) for n, m in one.buffers.items()}

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """Params of all branches, drawn in order."""
        return {f"{k}.{n}": w for k, one in enumerate(self.branches) for n, w in one.init(rng).items()}

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer; chance in branch k follows from `run.at(k)`."""
        outs, tapes = [], []
        for k, branch in enumerate(self.branches):
            y, tape = branch.forward(self._inner(k, params), x, run.at(k))
            outs.append(y)
            tapes.append(tape)
        if self.join == "sum":
            return reduce(np.add, outs), tapes
        return np.concatenate(outs, axis=self.axis + 1), tapes

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer."""
        inputs: list[F32] = []
        grads: dict[str, F32] = {}
        for k, (branch, share) in enumerate(zip(self.branches, self._shares(dy), strict=True)):
            dx, inner = branch.backward(self._inner(k, params), tape[k], share, need_dx=need_dx)
            grads.update({f"{k}.{name}": g for name, g in inner.items()})
            inputs += [] if dx is None else [dx]
        return reduce(np.add, inputs) if need_dx else None, grads

    def _inner(self, k: int, params: Params) -> dict[str, F32]:
        return {name: params[f"{k}.{name}"] for name in self.branches[k].param_shapes}

    def _shares(self, dy: F32) -> list[F32]:
        """Each branch's part of the gradient, C-contiguous."""
        if self.join == "sum":
            return [dy] * len(self.branches)
        ends = np.cumsum([branch.out_shape[self.axis] for branch in self.branches])[:-1]
        return [np.ascontiguousarray(part) for part in np.split(dy, ends, axis=self.axis + 1)]
