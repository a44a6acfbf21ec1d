"""Networks of one layer in random sizes, by the layer's name: what hypothesis puts beside PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Sized = tuple[dict[str, Any], tuple[int, ...]]
"""A layer's table, and the shape of a sample."""
Draw = Callable[[st.SearchStrategy[Any]], Any]

few = st.integers(1, 5)
some = st.integers(1, 40)
vector = st.tuples(some)
image = st.tuples(few, st.integers(1, 9), st.integers(1, 9))
anything = st.one_of(vector, st.tuples(few, some), image)
booleans = st.booleans()


def plain(kind: str, shapes: st.SearchStrategy[tuple[int, ...]] = anything, **more: Any) -> st.SearchStrategy[Sized]:
    """A layer without sizes of its own, on samples of `shapes`; `more`: its settings, as strategies."""
    return st.tuples(st.fixed_dictionaries({"type": st.just(kind), **more}), shapes)


@st.composite
def residual(draw: Draw) -> Sized:
    n = draw(some)
    inner = [{"type": "linear", "out": draw(some)}, {"type": "tanh"}, {"type": "linear", "out": n}]
    return {"type": "residual", "layers": inner}, (n,)


@st.composite
def parallel(draw: Draw) -> Sized:
    n, join = draw(some), draw(st.sampled_from(("concat", "sum")))
    outs = [draw(some) if join == "concat" else n for _ in range(draw(few))]
    branches = [[{"type": "linear", "out": out}] for out in outs]
    return {"type": "parallel", "join": join, "branches": [*branches, [{"type": "silu"}]]}, (n,)


@st.composite
def reshape(draw: Draw) -> Sized:
    a, b, c = draw(few), draw(few), draw(few)
    return {"type": "reshape", "shape": [a, -1]}, (b, a * c)


SIZES: dict[str, st.SearchStrategy[Sized]] = {
    "linear": plain("linear", vector, out=some, bias=booleans),
    "leaky-relu": plain("leaky-relu", slope=st.floats(0, 0.9)),
    "elu": plain("elu", alpha=st.floats(0.1, 3)),
    **{kind: plain(kind) for kind in ("relu", "gelu", "silu", "tanh", "sigmoid", "softmax", "flatten")},
    "scale": plain("scale", scale=st.floats(-2, 2), shift=st.floats(-2, 2)),
    "reshape": reshape(),
    "sequential": st.tuples(
        st.fixed_dictionaries({"type": st.just("sequential"), "layers": st.just([{"type": "tanh"}, {"type": "elu"}])}),
        anything,
    ),
    "residual": residual(),
    "parallel": parallel(),
    "each": plain("each", st.tuples(few, some), layers=st.builds(lambda n: [{"type": "linear", "out": n}], some)),
}
