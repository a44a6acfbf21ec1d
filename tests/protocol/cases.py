"""Messages to test with: one fixed example a kind, strategies for arbitrary ones, and when two of them are equal."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from akkafka.data.epochs import Cursor
from akkafka.protocol import messages as m
from akkafka.protocol.narrow import narrow
from akkafka.protocol.packing import DTYPES
from akkafka.protocol.tally import Tally

RUN = m.Run(bytes(range(8)), bytes(range(8, 16)))
TRAIL = (m.Hop(11, 7, b"chain-01"), m.Hop(12, 9, b"chain-02"))
TALLY = Tally(2, 2, 2**63 - 1, 0, 80_000)
FLOATS = np.array([[0.0, -0.0, 1.5], [np.inf, np.nan, -1e-40]], np.float32)

EXAMPLES: dict[str, m.Message] = {
    "forward": m.Forward(
        RUN, m.Mode.VALIDATE, 3, 41, Cursor(2, 5), Cursor(2, 6), TRAIL,
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        {"y": np.array([7, 1], np.uint8), "ids": np.array([3, 70000], np.uint32)},
        tag="pass-1", issued_ns=1_700_000_000, tally=TALLY,
    ),
    "reference": m.Forward(
        RUN, m.Mode.TRAIN, 0, 42, Cursor(2, 6), Cursor(2, 7), (), None, {"y": np.array([7, 1], np.uint8)},
        rows=m.Rows(b"0123456789abcdef", np.array([3, 70000], np.uint32)),
    ),
    "backward": m.Backward(RUN, 3, 41, TRAIL, 17, FLOATS, tally=TALLY),
    "zeroed": m.Backward(RUN, 3, 41, TRAIL, 17, None, tally=TALLY, zeroed="gate 2: not finite"),
    "journal-zeroed": m.JournalRecord(RUN, 1, 3, 41, TRAIL[1], 18, {}, writer="gate-1", zeroed="gate 2: not finite"),
    "bfloat16": m.Forward(
        RUN, m.Mode.TRAIN, 0, 42, Cursor(2, 6), Cursor(2, 7), TRAIL, narrow(FLOATS, "bfloat16"),
    ),
    "float16": m.Forward(
        RUN, m.Mode.TRAIN, 0, 42, Cursor(2, 6), Cursor(2, 7), TRAIL, narrow(FLOATS, "float16"),
    ),
    "stamped": m.Backward(RUN, 3, 48, TRAIL, 19, None, stamps=(1_700_000_000_000_000_000, 1_700_000_000_000_000_001)),
    "followed": m.Forward(RUN, m.Mode.TRAIN, 3, 41, Cursor(2, 5), Cursor(2, 6), TRAIL, FLOATS, followed=True),
    "followed-back": m.Backward(RUN, 3, 41, TRAIL, 17, FLOATS, followed=True),
    "int8": m.Backward(RUN, 3, 41, TRAIL, 17, narrow(FLOATS, "int8")),
    "journal": m.JournalRecord(
        RUN, 1, 3, 41, TRAIL[1], 18, {"0.weight": FLOATS, "0.bias": np.array(2.5, np.float64)}, writer="gate-1",
        tally=TALLY,
    ),
    "journal-narrow": m.JournalRecord(
        RUN, 1, 3, 41, TRAIL[1], 18, {"0.weight": narrow(FLOATS, "bfloat16"), "1.mean": FLOATS[1]}, writer="gate-1",
    ),
    "chunk": m.SnapshotChunk(RUN, 1, 900, "gate-1", 2, b"\x00piece\xff"),
    "attempt": m.Attempt(RUN, 1, 3, True, 41, 2, "gate-1"),
    "manifest": m.SnapshotManifest(
        RUN, 1, 900, "gate-1", b"0123456789abcdef", 901, {0: 450, 1: 451}, {0: 460, 1: 461},
        (b"h" * 32, b"i" * 32), 7654, ((0, 450, 2, 9, 5, 7, 3, 0, 80_000), (1, 2**63 - 1)), (400, 500),
    ),
    "image": m.StateImage(
        {"0.weight": FLOATS}, {"ms.0.weight": FLOATS * 2},
        (m.OlderWeights(899, b"fedcba9876543210", {"0.weight": FLOATS}),),
    ),
    "defined": m.Defined(RUN, '{"name":"prüfung"}', "0.1.0", 1_700_000_000_000),
    "piece": m.SamplesChunk(RUN, b"0123456789abcdef", 3, b"\x00piece\xff"),
    "samples": m.SamplesManifest(RUN, b"0123456789abcdef", "|u1", (60000, 28, 28), 6, 12, (b"h" * 32, b"i" * 32)),
    "claim": m.LaneClaim(RUN, 7, m.Mode.TRAIN, '{"name":"own"}', "sentinel-2"),
    "figures": m.Figures(
        RUN, "train", "sentinel-1", 1_700_000_000_001,
        {"batches": [{"lane": 0, "loss": 2.25, "home_ns": -1, "note": None}]},
    ),
    "letter": m.DeadLetter("gate-1", "akkafka.net.forward.1", 3, 99, "not the msgpack …", 5000, b"\x93akk\x01"),
}  # fmt: skip

VOIDS: dict[str, m.Message] = {
    "forward": m.Forward(RUN, m.Mode.TRAIN, 0, 0, Cursor(0, 0), Cursor(0, 1), (), None, void="killed its gate 3 times"),
    "backward": m.Backward(RUN, 0, 0, (), 0, None, void="killed its gate 3 times"),
    "home": m.Backward(RUN, 0, 0, TRAIL, 0, None),
    "journal": m.JournalRecord(RUN, 0, 0, 0, TRAIL[0], 0, {}, void="killed its gate 3 times"),
}


def facts(value: Any) -> Any:
    """`value` as plain data that compare by ==; arrays by dtype, shape and bits, so not-a-number equals itself."""
    if isinstance(value, np.ndarray):
        return "array", value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value).__name__, {f.name: facts(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: facts(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [facts(inner) for inner in value]
    if isinstance(value, float):
        return "float", value.hex()  # "nan", too
    return value.value if isinstance(value, enum.Enum) else value


# Strategies

unhurried = settings(max_examples=40, deadline=None)  # no deadline: the machine may be busy

numbers = st.integers(0, 2**63 - 1)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
runs = st.builds(m.Run, st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8))
cursors = st.builds(Cursor, numbers, numbers)
hops = st.builds(m.Hop, numbers, numbers, st.binary(min_size=8, max_size=8))
trails = st.lists(hops, max_size=4).map(tuple)
lanes = st.dictionaries(numbers, numbers, max_size=4)
chains = st.binary(min_size=16, max_size=16)
hashes = st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple)
rows = hnp.arrays(np.uint32, st.integers(1, 5))


@st.composite
def arrays(draw: st.DrawFn) -> NDArray[Any]:
    """Any array that may travel: every dtype, 0 to 8 dimensions, empty ones, any bits, contiguous or not."""
    dtype = DTYPES[draw(st.sampled_from(sorted(DTYPES)))]
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=8, min_side=0, max_side=3))
    size = int(np.prod(shape)) * dtype.itemsize
    bits = draw(st.binary(min_size=size, max_size=size))
    raw = np.frombuffer(bits, np.uint8)
    array = (raw % 2).astype(bool).reshape(shape) if dtype.kind == "b" else raw.view(dtype).reshape(shape)
    return draw(st.sampled_from((array, array.T, array[..., ::2]) if array.ndim else (array,)))


named = st.dictionaries(texts, arrays(), max_size=3)
floats = hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
reasons = st.text("abc", min_size=1)
tallies = st.none() | st.builds(Tally, numbers, numbers, numbers, numbers, numbers)
counts = st.lists(numbers, max_size=4).map(tuple)
older = st.builds(m.OlderWeights, numbers, chains, named)
_plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | texts
bodies = st.dictionaries(texts, st.recursive(_plain, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)))

STRATEGIES: dict[str, st.SearchStrategy[m.Message]] = {
    "forward": st.builds(
        m.Forward, runs, st.sampled_from(m.Mode), numbers, numbers, cursors, cursors, trails, arrays(), named, texts,
        issued_ns=numbers, tally=tallies,
    ),
    "backward": st.builds(m.Backward, runs, numbers, numbers, trails, numbers, arrays(), tally=tallies),
    **{
        form: st.builds(
            m.Forward, runs, st.sampled_from(m.Mode), numbers, numbers, cursors, cursors, trails,
            floats.map(partial(narrow, form=form)),
        )
        for form in ("bfloat16", "float16")
    },
    "stamped": st.builds(
        m.Forward, runs, st.sampled_from(m.Mode), numbers, numbers, cursors, cursors, trails, arrays(),
        stamps=st.lists(numbers, min_size=1, max_size=40).map(tuple),
    ),
    "followed": st.builds(
        m.Forward, runs, st.sampled_from(m.Mode), numbers, numbers, cursors, cursors, trails, arrays(),
        followed=st.booleans(),
    ),
    "followed-back": st.builds(m.Backward, runs, numbers, numbers, trails, numbers, arrays(), followed=st.booleans()),
    "int8": st.builds(
        m.Backward, runs, numbers, numbers, trails, numbers, floats.map(partial(narrow, form="int8")),
    ),
    "journal": st.builds(
        m.JournalRecord, runs, numbers, numbers, numbers, hops, numbers, named, writer=texts, tally=tallies
    ),
    "zeroed": st.builds(
        m.Backward, runs, numbers, numbers, trails, numbers, st.none(), tally=tallies, zeroed=reasons
    ),
    "journal-narrow": st.builds(
        m.JournalRecord, runs, numbers, numbers, numbers, hops, numbers,
        st.dictionaries(texts, arrays() | floats.map(partial(narrow, form="bfloat16")), max_size=3), writer=texts,
    ),
    "journal-zeroed": st.builds(
        m.JournalRecord, runs, numbers, numbers, numbers, hops, numbers, st.just({}), writer=texts, tally=tallies,
        zeroed=reasons,
    ),
    "reference": st.builds(
        m.Forward, runs, st.sampled_from(m.Mode), numbers, numbers, cursors, cursors, st.just(()), st.none(), named,
        texts, issued_ns=numbers, rows=st.builds(m.Rows, chains, rows),
    ),
    "chunk": st.builds(m.SnapshotChunk, runs, numbers, numbers, texts, numbers, st.binary()),
    "attempt": st.builds(m.Attempt, runs, numbers, numbers, st.booleans(), numbers, numbers, texts),
    "manifest": st.builds(
        m.SnapshotManifest, runs, numbers, numbers, texts, chains, numbers, lanes, lanes,
        hashes, numbers,
        st.lists(counts, max_size=3).map(tuple), counts,
    ),
    "image": st.builds(m.StateImage, named, named, st.lists(older, max_size=2).map(tuple)),
    "defined": st.builds(m.Defined, runs, texts, texts, numbers),
    "piece": st.builds(m.SamplesChunk, runs, chains, numbers, st.binary()),
    "samples": st.builds(
        m.SamplesManifest, runs, chains, st.sampled_from(sorted(DTYPES)),
        st.lists(numbers, min_size=1, max_size=8).map(tuple), numbers, numbers, hashes,
    ),
    "claim": st.builds(m.LaneClaim, runs, numbers, st.sampled_from(m.Mode), texts, texts),
    "figures": st.builds(m.Figures, runs, texts, texts, numbers, bodies),
    "letter": st.builds(m.DeadLetter, texts, texts, numbers, numbers, texts, numbers, st.binary(max_size=50)),
}  # fmt: skip
