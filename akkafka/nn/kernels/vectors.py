"""Eight numbers at a time where numba's loops take one: instructions on vectors, written for LLVM directly.

A sum whose order is told cannot be vectorised by a compiler, and eight sums side by side are not found by it. So the
eight are one vector here. LLVM makes of it what the processor has; each lane is rounded as a number alone would be, so
that the bits are the same everywhere.

As with `machine.py`, numba's cache does not see a change of this file: who edits it must delete the *.nbi.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
FLOATS, DOUBLES = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.DoubleType(), LANES)
INDEX, LANE = ir.IntType(64), ir.IntType(32)

parts: Any = cgutils.unpack_tuple
variable: Any = cgutils.alloca_once_value
Terms = Callable[[Any, Sequence[Any], Sequence[Any]], Sequence[Any]]


def sums_of(count: int, terms: Terms) -> Callable[..., tuple[float, ...]]:
    """A function (arrays, scalars) -> so many sums over the arrays, for use in a kernel; both arguments are tuples.

    Arrays float32, 1-d, C-contiguous, of one size; scalars float64; sums float64. `terms(builder, arrays, scalars)`
    gives what is added to each, all of them vectors of doubles. A sum is made of eight of every eighth number, then
    ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)); numbers behind the last whole eight are left to the caller.
    """

    @intrinsic
    def sums(_: Any, arrays: Any, scalars: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            views = [
                context.make_array(kind)(context, builder, value)
                for kind, value in zip(signature.args[0], parts(builder, args[0]), strict=True)
            ]
            numbers = [splat(builder, value) for value in parts(builder, args[1])]
            totals = [variable(builder, ir.Constant(DOUBLES, [0.0] * LANES)) for _ in range(count)]
            whole = builder.and_(views[0].nitems, ir.Constant(INDEX, -LANES))
            step = ir.Constant(INDEX, LANES)
            with cgutils.for_range_slice(builder, ir.Constant(INDEX, 0), whole, step, inc=True) as (at, _):
                found = [builder.fpext(load(builder, view.data, at), DOUBLES) for view in views]
                for total, term in zip(totals, terms(builder, found, numbers), strict=True):
                    builder.store(builder.fadd(builder.load(total), term), total)
            results = [together(builder, builder.load(total)) for total in totals]
            return context.make_tuple(builder, signature.return_type, results)

        result: Any = types.UniTuple(types.float64, count)  # type: ignore[no-untyped-call]
        return result(arrays, scalars), generate

    made: Callable[..., tuple[float, ...]] = sums
    return made


def load(builder: Any, data: Any, at: Any) -> Any:
    """Eight floats from data[at] on."""
    found = builder.load(builder.bitcast(builder.gep(data, [at]), FLOATS.as_pointer()))
    found.align = 4
    return found


def splat(builder: Any, value: Any) -> Any:
    """A number in all lanes."""
    kind = ir.VectorType(value.type, LANES)
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(LANE, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(LANE, LANES), [0] * LANES))


def together(builder: Any, vector: Any) -> Any:
    """Sum of the lanes, in pairs."""
    parts = [builder.extract_element(vector, ir.Constant(LANE, lane)) for lane in range(LANES)]
    while len(parts) > 1:
        parts = [builder.fadd(one, other) for one, other in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]
