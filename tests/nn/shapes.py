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


pairs = st.one_of(st.integers(1, 3), st.lists(st.integers(1, 3), min_size=2, max_size=2))
rims = st.one_of(st.integers(0, 2), st.lists(st.integers(0, 2), min_size=2, max_size=2))


def each_way(sizes: Any) -> list[int]:
    return [sizes, sizes] if isinstance(sizes, int) else list(sizes)


@st.composite
def conv(draw: Draw, transposed: bool = False) -> Sized:
    """Convolutions whose window fits."""
    groups, kernel, dilation = draw(st.integers(1, 3)), draw(pairs), draw(pairs)
    stride, padding = draw(pairs), draw(rims)
    data = {"type": "conv2d", "out": groups * draw(few), "kernel": kernel, "stride": stride, "padding": padding}
    data |= {"dilation": dilation, "groups": groups, "bias": draw(booleans)}
    spans = [d * (k - 1) + 1 for d, k in zip(each_way(dilation), each_way(kernel), strict=True)]
    sides = [max(1, span - 2 * p) + draw(st.integers(0, 8)) for span, p in zip(spans, each_way(padding), strict=True)]
    if transposed:
        data |= {"type": "conv-transpose2d", "output_padding": min(*each_way(stride)) - 1}
        sides = [side + 2 * p for side, p in zip(sides, each_way(padding), strict=True)]
    return data, (groups * draw(few), sides[0], sides[1])


@st.composite
def pool(draw: Draw, kind: str) -> Sized:
    kernel, dilation = draw(pairs), draw(pairs) if kind == "max-pool2d" else 1
    data = {"type": kind, "kernel": kernel, "padding": [draw(st.integers(0, k // 2)) for k in each_way(kernel)]}
    if draw(booleans):
        data["stride"] = draw(pairs)
    if kind == "max-pool2d":
        data["dilation"] = dilation
    spans = [d * (k - 1) + 1 for d, k in zip(each_way(dilation), each_way(kernel), strict=True)]
    return data, (draw(few), spans[0] + draw(st.integers(0, 8)), spans[1] + draw(st.integers(0, 8)))


@st.composite
def group_norm(draw: Draw) -> Sized:
    groups = draw(few)
    return {"type": "group-norm", "groups": groups}, (
        groups * draw(st.integers(2, 4)),
        *draw(st.sampled_from(((), (5,), (4, 3)))),
    )


@st.composite
def attention(draw: Draw) -> Sized:
    heads = draw(few)
    data = {"type": "attention", "heads": heads, "causal": draw(booleans), "bias": draw(booleans)}
    return data, (draw(st.integers(1, 12)), heads * draw(few))


sequences = st.tuples(st.integers(1, 8), some)


SIZES: dict[str, st.SearchStrategy[Sized]] = {
    "linear": plain("linear", vector, out=some, bias=booleans),
    "leaky-relu": plain("leaky-relu", slope=st.floats(0, 0.9)),
    "elu": plain("elu", alpha=st.floats(0.1, 3)),
    **{kind: plain(kind) for kind in ("relu", "gelu", "silu", "tanh", "sigmoid", "softmax", "flatten")},
    "scale": plain("scale", scale=st.floats(-2, 2), shift=st.floats(-2, 2)),
    "conv2d": conv(),
    "conv-transpose2d": conv(transposed=True),
    "max-pool2d": pool("max-pool2d"),
    "avg-pool2d": pool("avg-pool2d"),
    **{kind: plain(kind, image) for kind in ("global-avg-pool", "global-max-pool")},
    "batch-norm": plain("batch-norm", eps=st.sampled_from((1e-5, 1e-2))),
    "layer-norm": plain("layer-norm", eps=st.sampled_from((1e-5, 1e-2))),
    "rms-norm": plain("rms-norm"),
    "group-norm": group_norm(),
    "embedding": plain(
        "embedding", st.one_of(st.tuples(some), st.tuples(few, some)), count=st.integers(1, 256), out=some
    ),
    "positional-embedding": plain("positional-embedding", sequences),
    **{kind: plain(kind, sequences, out=some, last=booleans) for kind in ("rnn", "lstm", "gru")},
    "attention": attention(),
    "reshape": reshape(),
    "sequential": st.tuples(
        st.fixed_dictionaries({"type": st.just("sequential"), "layers": st.just([{"type": "tanh"}, {"type": "elu"}])}),
        anything,
    ),
    "residual": residual(),
    "parallel": parallel(),
    "each": plain("each", st.tuples(few, some), layers=st.builds(lambda n: [{"type": "linear", "out": n}], some)),
}
