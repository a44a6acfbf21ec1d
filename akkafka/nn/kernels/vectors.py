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
declared: Any = cgutils.get_or_insert_function
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


def products_of(rows: int, vectors: int) -> Callable[..., None]:
    """A function (x, starts, base, weight, row, bias, floor, out, at, stride) for use in a kernel: a tile of products.

    out[at + r·stride + q] = bias[r] + sum over k of weight[row + r·len(starts) + k]·x[base + starts[k] + q], for so
    many `rows` r, and q in 0…vectors·8 - 1; then `floor` where that is not more. All sums stay in registers. Arrays
    1-d, C-contiguous; `starts` int64, the rest float32; base, row, at, stride uint64. `bias` begins with row 0's.
    Order: the bias, then k from 0 on; product and sum are rounded once where the processor can, else each on its own.
    """

    @intrinsic
    def products(
        _: Any,
        x: Any,
        starts: Any,
        base: Any,
        weight: Any,
        row: Any,
        bias: Any,
        floor: Any,
        out: Any,
        at: Any,
        stride: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            def view(place: int) -> Any:
                return context.make_array(signature.args[place])(context, builder, args[place])

            whole, span = view(1).nitems, range(vectors)
            pixels, weights = builder.gep(view(0).data, [args[2]]), builder.gep(view(3).data, [args[4]])
            lines = [builder.gep(weights, [builder.mul(whole, ir.Constant(INDEX, r))]) for r in range(rows)]
            first = [
                splat(builder, builder.load(builder.gep(view(5).data, [ir.Constant(INDEX, r)]))) for r in range(rows)
            ]
            sums = [[variable(builder, value) for _ in span] for value in first]
            add = declared(builder.module, ir.FunctionType(FLOATS, [FLOATS] * 3), f"llvm.fmuladd.v{LANES}f32")
            with cgutils.for_range(builder, whole) as loop:
                start = builder.load(builder.gep(view(1).data, [loop.index]))
                seen = [load(builder, builder.gep(pixels, [start]), ir.Constant(INDEX, LANES * v)) for v in span]
                for line, totals in zip(lines, sums, strict=True):
                    factor = splat(builder, builder.load(builder.gep(line, [loop.index])))
                    for total, numbers in zip(totals, seen, strict=True):
                        builder.store(builder.call(add, [factor, numbers, builder.load(total)]), total)
            least = splat(builder, args[6])
            for r, totals in enumerate(sums):
                place = builder.add(args[8], builder.mul(args[9], ir.Constant(INDEX, r)))
                for v, total in enumerate(totals):
                    value = builder.load(total)
                    kept = builder.select(builder.fcmp_ordered("<=", value, least), least, value)
                    store(builder, kept, view(7).data, builder.add(place, ir.Constant(INDEX, LANES * v)))
            return context.get_dummy_value()

        return types.void(x, starts, base, weight, row, bias, floor, out, at, stride), generate

    made: Callable[..., None] = products
    return made


def dots_of(rows: int, cells: int) -> Callable[..., None]:
    """A function (y, row, stride, x, starts, cell, base, images, steps, out, at) for use in a kernel: a tile of sums.

    out[at + r·len(starts) + c] = sum over b and q of y[row + r·stride + b·y_image + q]·x[base + starts[cell + c] +
    b·x_image + q], for so many `rows` r and `cells` c; `images` is (number of b, y_image, x_image), q in 0…steps·8 - 1.
    All sums stay in registers. Arrays 1-d, C-contiguous; `starts` int64, the rest float32; numbers uint64. Eight sums,
    of every eighth q, each in the order of b and q, then those together; product and sum are rounded once where the
    processor can, else each on its own.
    """

    @intrinsic
    def dots(
        _: Any,
        y: Any,
        row: Any,
        stride: Any,
        x: Any,
        starts: Any,
        cell: Any,
        base: Any,
        images: Any,
        steps: Any,
        out: Any,
        at: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            def view(place: int) -> Any:
                return context.make_array(signature.args[place])(context, builder, args[place])

            def number(value: int) -> Any:
                return ir.Constant(INDEX, value)

            count, y_image, x_image = parts(builder, args[7])
            begin = builder.gep(view(0).data, [args[1]])
            lines = [builder.gep(begin, [builder.mul(args[2], number(r))]) for r in range(rows)]
            pixels, runs = builder.gep(view(3).data, [args[6]]), builder.gep(view(4).data, [args[5]])
            seen = [builder.gep(pixels, [builder.load(builder.gep(runs, [number(c)]))]) for c in range(cells)]
            zero = ir.Constant(FLOATS, [0.0] * LANES)
            sums = [[variable(builder, zero) for _ in range(cells)] for _ in range(rows)]
            add = declared(builder.module, ir.FunctionType(FLOATS, [FLOATS] * 3), f"llvm.fmuladd.v{LANES}f32")
            with cgutils.for_range(builder, count) as image:
                there, here = builder.mul(image.index, y_image), builder.mul(image.index, x_image)
                with cgutils.for_range(builder, args[8]) as step:
                    q = builder.mul(step.index, number(LANES))
                    ours, theirs = builder.add(there, q), builder.add(here, q)
                    left = [load(builder, line, ours) for line in lines]
                    right = [load(builder, run, theirs) for run in seen]
                    for factor, totals in zip(left, sums, strict=True):
                        for numbers, total in zip(right, totals, strict=True):
                            builder.store(builder.call(add, [factor, numbers, builder.load(total)]), total)
            for r, totals in enumerate(sums):
                place = builder.add(args[10], builder.mul(view(4).nitems, number(r)))
                for c, total in enumerate(totals):
                    target = builder.gep(view(9).data, [builder.add(place, number(c))])
                    builder.store(together(builder, builder.load(total)), target)
            return context.get_dummy_value()

        return types.void(y, row, stride, x, starts, cell, base, images, steps, out, at), generate

    made: Callable[..., None] = dots
    return made


def weighted_of(vectors: int) -> Callable[..., None]:
    """A function (positions, values, begin, end, table, column, stride, out, at) for use in a kernel: a sum of rows.

    out[at + q] = sum over p in begin…end - 1 of values[p]·table[positions[p]·stride + column + q], for q in
    0…vectors·8 - 1. All sums stay in registers. Arrays 1-d, C-contiguous: positions uint16, values uint8, the rest
    float32; numbers uint64. Order: p from begin on; product and sum are rounded once where the processor can, else each
    on its own.
    """

    @intrinsic
    def weighted(
        _: Any,
        positions: Any,
        values: Any,
        begin: Any,
        end: Any,
        table: Any,
        column: Any,
        stride: Any,
        out: Any,
        at: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            def data(place: int) -> Any:
                return context.make_array(signature.args[place])(context, builder, args[place]).data

            places = [ir.Constant(INDEX, LANES * vector) for vector in range(vectors)]
            where, what, rows = data(0), data(1), builder.gep(data(4), [args[5]])
            sums = [variable(builder, ir.Constant(FLOATS, [0.0] * LANES)) for _ in range(vectors)]
            add = declared(builder.module, ir.FunctionType(FLOATS, [FLOATS] * 3), f"llvm.fmuladd.v{LANES}f32")
            with cgutils.for_range_slice(builder, args[2], args[3], ir.Constant(INDEX, 1), inc=True) as (p, _):
                row = builder.zext(builder.load(builder.gep(where, [p])), INDEX)
                value = builder.zext(builder.load(builder.gep(what, [p])), LANE)
                factor = splat(builder, builder.uitofp(value, ir.FloatType()))
                line = builder.gep(rows, [builder.mul(row, args[6])])
                for place, total in zip(places, sums, strict=True):
                    term = [factor, load(builder, line, place), builder.load(total)]
                    builder.store(builder.call(add, term), total)
            for place, total in zip(places, sums, strict=True):
                store(builder, builder.load(total), data(7), builder.add(args[8], place))
            return context.get_dummy_value()

        return types.void(positions, values, begin, end, table, column, stride, out, at), generate

    made: Callable[..., None] = weighted
    return made


def copying() -> Callable[..., None]:
    """A function (x, start, out, at) for use in a kernel: out[at + k] = x[start + k] for k in 0…7.

    Both float32, 1-d, C-contiguous; start and at uint64.
    """

    @intrinsic
    def copy(_: Any, x: Any, start: Any, out: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            source, target = (context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 2))
            store(builder, load(builder, source, args[1]), target, args[3])
            return context.get_dummy_value()

        return types.void(x, start, out, at), generate

    made: Callable[..., None] = copy
    return made


def load(builder: Any, data: Any, at: Any) -> Any:
    """Eight floats from data[at] on."""
    found = builder.load(builder.bitcast(builder.gep(data, [at]), FLOATS.as_pointer()))
    found.align = 4
    return found


def store(builder: Any, vector: Any, data: Any, at: Any) -> None:
    """Eight floats to data[at] on."""
    builder.store(vector, builder.bitcast(builder.gep(data, [at]), FLOATS.as_pointer())).align = 4


def splat(builder: Any, value: Any, lanes: int = LANES) -> Any:
    """A number in all lanes."""
    kind = ir.VectorType(value.type, lanes)
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(LANE, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(LANE, lanes), [0] * lanes))


def together(builder: Any, vector: Any) -> Any:
    """Sum of the lanes, in pairs."""
    parts = [builder.extract_element(vector, ir.Constant(LANE, lane)) for lane in range(LANES)]
    while len(parts) > 1:
        parts = [builder.fadd(one, other) for one, other in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]
