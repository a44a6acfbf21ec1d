"""Results that fit into no cache go past it: the body of an elementwise kernel again, with stores that do not read.

A processor reads a line of memory before it is written to, though all of it will be overwritten: a kernel that fills
new arrays pays for each of them twice. Non-temporal stores spare that. Numba has none, and LLVM does not find them; so
the kernel's body is run once, as Python, with lanes in place of numbers, and leaves its instructions behind.

As with `machine.py`, numba's cache does not see a change of this file: who edits it must delete the *.nbi.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.lib.mixins import NDArrayOperatorsMixin

from akkafka.nn.kernels.machine import compiled, nothing
from akkafka.nn.kernels.vectors import INDEX, LANE, declared, parts, splat
from akkafka.nn.memory import LINE_BYTES

STREAMED_BYTES = 40 << 20  # read and written in one sweep: more than a server's last cache holds (here 32 MiB)
LINE = LINE_BYTES // 4  # floats
NUMBER = ir.FloatType()
NUMBERS = ir.VectorType(NUMBER, LINE)
Body = Callable[..., None]


def fits_no_cache(arrays: int, size: int) -> bool:
    """Whether a sweep over so many float32 arrays of that size is better written past the cache."""
    return arrays * size * 4 >= STREAMED_BYTES


@cache
def past_cache(kernel: Any) -> Body:
    """`kernel`, made by `compiled`, as `streamed`; compiled or read from numba's cache when first asked for."""
    return streamed(kernel.py_func, *kernel.nopython_signatures[0].args)


class Lanes(NDArrayOperatorsMixin):
    """A float32, or a line of them, in the code that is being made; rounded as numba's loop rounds each."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any) -> Lanes:
        """What numpy calls for an operator or a function that has one of ours among its operands."""
        return Lanes(self.builder, _MADE[ufunc](self.builder, *(self._value(operand) for operand in operands)))

    def _value(self, operand: Any) -> Any:
        if isinstance(operand, Lanes):
            return operand.value
        if not isinstance(operand, np.float32):
            raise TypeError(
                f"constants of a streamed kernel must be float32, got {operand!r}: it would round otherwise"
            )
        kind = self.value.type
        return ir.Constant(kind, float(operand) if kind == NUMBER else [float(operand)] * LINE)


def _root(builder: Any, value: Any) -> Any:
    kind, suffix = value.type, "f32" if value.type == NUMBER else f"v{LINE}f32"
    return builder.call(declared(builder.module, ir.FunctionType(kind, [kind]), f"llvm.sqrt.{suffix}"), [value])


_MADE: dict[np.ufunc, Callable[..., Any]] = {
    np.add: lambda builder, a, b: builder.fadd(a, b),
    np.subtract: lambda builder, a, b: builder.fsub(a, b),
    np.multiply: lambda builder, a, b: builder.fmul(a, b),
    np.divide: lambda builder, a, b: builder.fdiv(a, b),
    np.sqrt: _root,
}


class Place:
    """An array as the kernel's body sees it: of one entry, which is a number or a line of numbers at `pointer`."""

    size = 1

    def __init__(self, builder: Any, pointer: Any, kind: Any) -> None:
        self.builder, self.pointer, self.kind = builder, builder.bitcast(pointer, kind.as_pointer()), kind
        self.known: Lanes | None = None

    def __getitem__(self, _: int) -> Lanes:
        if self.known is None:
            found = self.builder.load(self.pointer)
            found.align = 4
            self.known = Lanes(self.builder, found)
        return self.known

    def __setitem__(self, _: int, lanes: Lanes) -> None:
        self.known = lanes
        written = self.builder.store(lanes.value, self.pointer)
        written.align = 4
        if self.kind == NUMBERS:
            written.align = LINE_BYTES
            written.set_metadata("nontemporal", self.builder.module.add_metadata([ir.Constant(LANE, 1)]))


def streamed(body: Body, *arguments: Any) -> Body:
    """The kernel that `body` describes, outputs written past the cache: each begins at a multiple of LINE_BYTES.

    `body` is a loop `for i in range(array.size)` over float32 arrays, 1-d, C-contiguous, of one size, with + - × ÷ and
    roots of entries i, of scalars and of float32 constants; what it writes it may read again. The same bits as the
    loop's. `arguments`: numba's types of its arguments.
    """

    @intrinsic
    def sweep(_: Any, given: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kinds = signature.args[0].types
            values = [
                context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else value
                for kind, value in zip(kinds, parts(builder, args[0]), strict=True)
            ]
            size = values[0].nitems
            whole = builder.and_(size, ir.Constant(INDEX, -LINE))
            _loop(builder, body, values, (ir.Constant(INDEX, 0), whole), NUMBERS)
            _loop(builder, body, values, (whole, size), NUMBER)
            _fence(builder)
            return context.get_dummy_value()

        return types.void(given), generate

    # numba's cache goes by file, name and line: those of the body
    code, seen = body.__code__, {"sweep": sweep, "__name__": body.__module__}
    name = f"{code.co_name}_streamed"
    own = _all_at_once.__code__.replace(
        co_filename=code.co_filename, co_name=name, co_qualname=name, co_firstlineno=code.co_firstlineno
    )
    return compiled(nothing, types.StarArgTuple(arguments))(  # type: ignore[no-untyped-call]
        FunctionType(own, seen)
    )


def _all_at_once(*given: Any) -> None:
    sweep(given)  # type: ignore[name-defined]  # noqa: F821 (the kernel's own)


def _loop(builder: Any, body: Body, values: Sequence[Any], bounds: tuple[Any, Any], kind: Any) -> None:
    """The body once for each number or line of numbers between the bounds."""
    step = ir.Constant(INDEX, 1 if kind == NUMBER else LINE)
    with cgutils.for_range_slice(builder, *bounds, step, inc=True) as (at, _):
        body(*(_seen(builder, value, at, kind) for value in values))


def _seen(builder: Any, value: Any, at: Any, kind: Any) -> Place | Lanes:
    """An argument as the body sees it."""
    if hasattr(value, "data"):
        return Place(builder, builder.gep(value.data, [at]), kind)
    return Lanes(builder, value if kind == NUMBER else splat(builder, value, LINE))


def _fence(builder: Any) -> None:
    """Such stores keep no order with others: whoever is told that the arrays are ready must find them so."""
    if builder.module.triple.startswith(("x86_64", "i686", "i386")):
        builder.call(declared(builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse.sfence"), [])
    else:
        builder.fence("seq_cst")
