"""Messages to bytes and back: magic, schema version, kind, then one msgpack map with arrays in msgpack-numpy's form.

Writing arrays is packing.py's, reading fields is fields.py's. Whatever bytes come in, `decode` returns a message or
raises ProtocolError. It runs no code from the wire, and allocates no more than a small multiple of what came; but for
lists that msgpack makes room for before they turn out to be short, up to 2 MiB (16 MiB in the kinds named in `_LONG`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import msgpack

from akkafka.data.epochs import Cursor
from akkafka.errors import NewerSchemaError, ProtocolError
from akkafka.protocol import messages as m
from akkafka.protocol.fields import Fields, exactly, whole
from akkafka.protocol.narrow import checked_narrow
from akkafka.protocol.packing import DTYPES, MAX_NDIM, packed

MAGIC: Final = b"\x93akk"  # \x93: not a letter, so that no text file looks like a message
SCHEMA: Final = 1
MAX_TEXT: Final = 1 << 20
_HEAD: Final = len(MAGIC) + 2
_MAX_MAP: Final = 4096  # grads, context; msgpack makes no room beforehand
_MAX_LIST: Final = 512  # msgpack nests up to 512 lists and makes room for each: 512 x 512 x 8 bytes = 2 MiB
_MAX_LONG_LIST: Final = 4096  # in manifests (chunks, lanes), figures and states, which are few

Headers = tuple[tuple[str, bytes], ...]
Written = tuple[int, dict[str, Any], dict[str, Any]]  # kind, plain fields, fields that are or hold arrays


class ForeignBytesError(ProtocolError):
    """The bytes do not even begin like a message of akkafka."""


def encode(message: m.Message) -> bytes:
    """Bytes of a message. Raises ProtocolError for what `decode` would refuse for its type or its size."""
    kind, plain, arrays = _ENCODERS[type(message)](message)
    return packed(MAGIC + bytes((SCHEMA, kind)), plain, arrays)


def decode(value: bytes | None) -> m.Message:
    """The message in `value`; raises ForeignBytesError, NewerSchemaError or ProtocolError, and nothing else."""
    if value is None or value[: len(MAGIC)] != MAGIC or len(value) < _HEAD:
        raise ForeignBytesError("no message of akkafka: the first bytes are not its magic")
    schema, kind = value[len(MAGIC)], value[len(MAGIC) + 1]
    if schema > SCHEMA:
        raise NewerSchemaError(
            f"a record of schema {schema}; this akkafka reads up to {SCHEMA}",
            hint="Update akkafka here: a newer one writes to this network.",
        )
    decoder = _DECODERS.get(kind)
    if decoder is None or schema < 1:
        raise ProtocolError(f"schema {schema} has no message kind {kind}")
    return decoder(Fields(_unpacked(memoryview(value)[_HEAD:], _MAX_LONG_LIST if kind in _LONG else _MAX_LIST)))


def _unpacked(body: memoryview, longest: int) -> Any:
    try:
        return msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            ext_hook=_no_extension,
            max_ext_len=0,
            max_array_len=longest,
            max_map_len=_MAX_MAP,
            max_str_len=MAX_TEXT,
        )
    except Exception as error:  # msgpack raises half a dozen kinds; to us they are one
        raise ProtocolError(f"not the msgpack that a message is made of: {error}") from error


def _no_extension(code: int, data: bytes) -> NoReturn:
    raise ValueError(f"extension type {code}")


def headers(message: m.Message) -> Headers:
    """Facts that tools want without decoding. Nothing in akkafka decides by them, but for which figures to look at."""
    match message:
        case m.Forward():
            facts = {"mode": message.mode.value, "seq": message.seq, "version": _last_version(message)}
        case m.Backward():
            facts = {"mode": m.Mode.TRAIN.value, "seq": message.seq}
        case m.JournalRecord():
            facts = {"lane": message.lane, "seq": message.seq, "version": message.hop.version}
        case m.SnapshotChunk() | m.SnapshotManifest():
            facts = {"version": message.version}
        case m.Figures():
            facts = {"kind": message.kind, "process": message.process}
        case _:
            return ()
    return tuple((name, str(value).encode()) for name, value in facts.items())


def _last_version(message: m.Forward) -> int:
    return message.trail[-1].version if message.trail else 0


def _trail(trail: tuple[m.Hop, ...]) -> list[Any]:
    if len(trail) > m.MAX_GATES:
        raise ProtocolError(f"a trail of {len(trail)} gates does not travel: at most {m.MAX_GATES}")
    return [_hop(hop) for hop in trail]


def _hop(hop: m.Hop) -> list[Any]:
    return [hop.offset, hop.version, hop.chain]


def _cursor(cursor: Cursor) -> list[int]:
    return [cursor.epoch, cursor.batch]


def _tally(message: m.Forward | m.Backward | m.JournalRecord) -> dict[str, Any]:
    return {} if message.tally is None else {"tally": list(message.tally.numbers)}


def _zeroed(message: m.Backward | m.JournalRecord) -> dict[str, Any]:
    return {"zeroed": message.zeroed} if message.zeroed else {}


def _stamps(message: m.Forward | m.Backward) -> dict[str, Any]:
    return {} if message.stamps is None else {"stamps": list(message.stamps)}


def _followed(message: m.Forward | m.Backward) -> dict[str, Any]:
    return {"followed": 1} if message.followed else {}


def _read_stamps(f: Fields) -> tuple[int, ...] | None:
    return f.counts("stamps") or None


# One pair of functions a kind. Fields are only ever added, and then optional.


def _forward(f: m.Forward) -> Written:
    return 1, {
        "run": f.run.bytes, "mode": f.mode.value, "lane": f.lane, "seq": f.seq, "cursor": _cursor(f.cursor),
        "after": _cursor(f.after), "trail": _trail(f.trail), "tag": f.tag, "void": f.void, "issued_ns": f.issued_ns,
        **_tally(f), **_stamps(f), **_followed(f), **({} if f.rows is None else {"data": f.rows.data}),
    }, {"x": _numbers(f.x), "context": f.context, **({} if f.rows is None else {"rows": f.rows.numbers})}  # fmt: skip


def _read_forward(f: Fields) -> m.Forward:
    x, rows, void = _read_numbers(f, "x"), _rows(f), f.text("void", "")
    if (x is not None) + (rows is not None) + bool(void) != 1:
        raise ProtocolError("a forward has either data, or rows of published data, or a reason to be void")
    trail = f.trail()
    if rows is not None and trail:
        raise ProtocolError("rows of published data go into gate 0 only, this forward has passed a gate")
    return m.Forward(
        run=f.run(), mode=f.mode("mode"), lane=f.number("lane"), seq=f.number("seq"), cursor=f.cursor("cursor"),
        after=f.cursor("after"), trail=trail, x=x, context=f.arrays("context", {}), tag=f.text("tag", ""),
        void=void, issued_ns=f.number("issued_ns", 0), rows=rows, tally=f.tally(), stamps=_read_stamps(f),
        followed=bool(f.number("followed", 0)),
    )  # fmt: skip


def _numbers(x: m.Array | m.Narrow | None) -> Any:
    """As packing.py takes it; a narrow array is a map of its parts."""
    if not isinstance(x, m.Narrow):
        return x
    return {"form": x.form, "values": x.values, **({} if x.scale is None else {"scale": x.scale})}


def _read_numbers(f: Fields, name: str) -> m.Array | m.Narrow | None:
    parts = f.parts(name)
    if parts is None:
        return f.array(name)
    values = parts.array("values")
    if values is None:
        raise ProtocolError(f"field {name!r} is narrow and has no values")
    return checked_narrow(m.Narrow(parts.text("form"), values, parts.array("scale")))


def _read_all_numbers(f: Fields, name: str) -> dict[str, m.Array | m.Narrow]:
    """By name, each one narrow or not."""
    inner, found = Fields(f.table(name)), {}
    for key in f.table(name):
        numbers = _read_numbers(inner, key)
        if numbers is None:
            raise ProtocolError(f"field '{name}' has nothing under {key[:60]!r}")
        found[key] = numbers
    return found


def _rows(f: Fields) -> m.Rows | None:
    numbers = f.array("rows")
    if numbers is None:
        return None
    if numbers.dtype.str != "<u4" or numbers.ndim != 1 or not numbers.size:
        raise ProtocolError(f"field 'rows' is {numbers.dtype} {numbers.shape}, takes uint32 (batch,)")
    return m.Rows(f.blob("data", length=m.SAMPLES_ID_BYTES), numbers)


def _backward(b: m.Backward) -> Written:
    return 2, {
        "run": b.run.bytes, "lane": b.lane, "seq": b.seq, "trail": _trail(b.trail), "source": b.source, "void": b.void,
        **_tally(b), **_zeroed(b), **_stamps(b), **_followed(b),
    }, {"dy": _numbers(b.dy)}  # fmt: skip


def _read_backward(f: Fields) -> m.Backward:
    dy, void, zeroed = _read_numbers(f, "dy"), f.text("void", ""), f.text("zeroed", "")
    if (dy is not None) + bool(void) + bool(zeroed) > 1:
        raise ProtocolError("a backward has either a gradient, or a reason to be void, or one to be of zero")
    return m.Backward(
        run=f.run(), lane=f.number("lane"), seq=f.number("seq"), trail=f.trail(), source=f.number("source"),
        dy=dy, void=void, tally=f.tally(), zeroed=zeroed, stamps=_read_stamps(f),
        followed=bool(f.number("followed", 0)),
    )  # fmt: skip


def _journal(r: m.JournalRecord) -> Written:
    return 3, {
        "run": r.run.bytes, "gate": r.gate, "lane": r.lane, "seq": r.seq, "hop": _hop(r.hop), "source": r.source,
        "void": r.void, "writer": r.writer, **_tally(r), **_zeroed(r),
    }, {"grads": {name: _numbers(gradient) for name, gradient in r.grads.items()}}  # fmt: skip


def _read_journal(f: Fields) -> m.JournalRecord:
    grads, void, zeroed = _read_all_numbers(f, "grads"), f.text("void", ""), f.text("zeroed", "")
    if bool(grads) + bool(void) + bool(zeroed) > 1:
        raise ProtocolError("a record has either a gradient, or a reason to be void, or one to be of zero")
    return m.JournalRecord(
        run=f.run(), gate=f.number("gate"), lane=f.number("lane"), seq=f.number("seq"), hop=f.hop("hop"),
        source=f.number("source"), grads=grads, void=void, writer=f.text("writer", ""),
        tally=f.tally(), zeroed=zeroed,
    )  # fmt: skip


def _chunk(c: m.SnapshotChunk) -> Written:
    return 4, {
        "run": c.run.bytes, "gate": c.gate, "version": c.version, "writer": c.writer, "index": c.index,
        "data": c.data,
    }, {}  # fmt: skip


def _read_chunk(f: Fields) -> m.SnapshotChunk:
    return m.SnapshotChunk(
        run=f.run(), gate=f.number("gate"), version=f.number("version"), writer=f.text("writer"),
        index=f.number("index"), data=f.blob("data"),
    )  # fmt: skip


def _manifest(s: m.SnapshotManifest) -> Written:
    return 5, {
        "run": s.run.bytes, "gate": s.gate, "version": s.version, "writer": s.writer, "chain": s.chain,
        "next_offset": s.next_offset, "applied": sorted(map(list, s.applied.items())),
        "sources": sorted(map(list, s.sources.items())), "chunks": list(s.chunks), "size": s.size,
        **({"sums": list(map(list, s.sums)), "staleness": list(s.staleness)} if s.sums or s.staleness else {}),
    }, {}  # fmt: skip


def _read_manifest(f: Fields) -> m.SnapshotManifest:
    return m.SnapshotManifest(
        run=f.run(), gate=f.number("gate"), version=f.number("version"), writer=f.text("writer"),
        chain=f.blob("chain", length=m.CHAIN_BYTES), next_offset=f.number("next_offset"),
        applied=f.offsets("applied"), sources=f.offsets("sources"), chunks=_hashes(f), size=f.number("size"),
        sums=f.rows("sums"), staleness=f.counts("staleness"),
    )  # fmt: skip


def _image(i: m.StateImage) -> Written:
    older = [[o.version, o.chain, o.weights] for o in i.older]
    return 10, {}, {"weights": i.weights, "optimizer": i.optimizer, "older": older}


def _read_image(f: Fields) -> m.StateImage:
    return m.StateImage(f.arrays("weights"), f.arrays("optimizer"), tuple(map(_read_older, f.items("older"))))


def _read_older(value: Any) -> m.OlderWeights:
    version, chain, weights = exactly("older", value, 3)
    if not isinstance(chain, bytes) or len(chain) != m.CHAIN_BYTES:
        raise ProtocolError("field 'older' has no chain hash of 16 bytes")
    return m.OlderWeights(whole("older", version), chain, Fields({"weights": weights}).arrays("weights"))


def _piece(c: m.SamplesChunk) -> Written:
    return 11, {"run": c.run.bytes, "data": c.data, "index": c.index, "piece": c.piece}, {}


def _read_piece(f: Fields) -> m.SamplesChunk:
    return m.SamplesChunk(f.run(), f.blob("data", length=m.SAMPLES_ID_BYTES), f.number("index"), f.blob("piece"))


def _samples(s: m.SamplesManifest) -> Written:
    return 12, {
        "run": s.run.bytes, "data": s.data, "dtype": s.dtype, "shape": list(s.shape), "start": s.start, "end": s.end,
        "chunks": list(s.chunks),
    }, {}  # fmt: skip


def _read_samples(f: Fields) -> m.SamplesManifest:
    shape = tuple(whole("shape", size) for size in f.items("shape"))
    if not 1 <= len(shape) <= MAX_NDIM or f.text("dtype") not in DTYPES:
        raise ProtocolError("a data set of a dtype or number of dimensions that does not travel")
    return m.SamplesManifest(
        f.run(), f.blob("data", length=m.SAMPLES_ID_BYTES), f.text("dtype"),
        shape, f.number("start"), f.number("end"), _hashes(f),
    )  # fmt: skip


def _hashes(f: Fields) -> tuple[bytes, ...]:
    chunks = f.items("chunks")
    if not all(isinstance(chunk, bytes) and len(chunk) == 32 for chunk in chunks):
        raise ProtocolError("field 'chunks' holds something that is no sha256")
    return tuple(chunks)


def _defined(d: m.Defined) -> Written:
    if len(d.definition.encode()) > MAX_TEXT:
        raise ProtocolError(f"a definition of {len(d.definition.encode())} bytes does not travel: at most {MAX_TEXT}")
    return 6, {"run": d.run.bytes, "definition": d.definition, "akkafka": d.akkafka, "created_ms": d.created_ms,
        **({"keep_log": 1} if d.keep_log else {}),
    }, {}  # fmt: skip


def _read_defined(f: Fields) -> m.Defined:
    return m.Defined(
        f.run(), f.text("definition"), f.text("akkafka"), f.number("created_ms"), bool(f.number("keep_log", 0))
    )


def _claim(c: m.LaneClaim) -> Written:
    return 7, {
        "run": c.run.bytes, "lane": c.lane, "mode": c.mode.value, "source": c.source, "claimant": c.claimant,
    }, {}  # fmt: skip


def _read_claim(f: Fields) -> m.LaneClaim:
    return m.LaneClaim(f.run(), f.number("lane"), f.mode("mode"), f.text("source"), f.text("claimant"))


def _figures(g: m.Figures) -> Written:
    return 8, {
        "run": g.run.bytes, "kind": g.kind, "process": g.process, "time_ms": g.time_ms, "body": dict(g.body),
    }, {}  # fmt: skip


def _read_figures(f: Fields) -> m.Figures:
    return m.Figures(f.run(), f.text("kind"), f.text("process"), f.number("time_ms"), f.table("body"))


def _letter(d: m.DeadLetter) -> Written:
    return 9, {
        "process": d.process, "topic": d.topic, "partition": d.partition, "offset": d.offset, "reason": d.reason,
        "size": d.size, "head": d.head,
    }, {}  # fmt: skip


def _read_letter(f: Fields) -> m.DeadLetter:
    return m.DeadLetter(
        f.text("process"), f.text("topic"), f.number("partition"), f.number("offset"), f.text("reason"),
        f.number("size"), f.blob("head"),
    )  # fmt: skip


def _attempt(a: m.Attempt) -> Written:
    return 13, {
        "run": a.run.bytes, "gate": a.gate, "lane": a.lane, "backward": int(a.backward), "seq": a.seq,
        "times": a.times, "writer": a.writer,
    }, {}  # fmt: skip


def _read_attempt(f: Fields) -> m.Attempt:
    return m.Attempt(
        run=f.run(), gate=f.number("gate"), lane=f.number("lane"), backward=bool(f.number("backward")),
        seq=f.number("seq"), times=f.number("times"), writer=f.text("writer"),
    )  # fmt: skip


_ENCODERS: Final[Mapping[type, Callable[[Any], Written]]] = {
    m.Forward: _forward,
    m.Backward: _backward,
    m.JournalRecord: _journal,
    m.SnapshotChunk: _chunk,
    m.SnapshotManifest: _manifest,
    m.Attempt: _attempt,
    m.StateImage: _image,
    m.SamplesChunk: _piece,
    m.SamplesManifest: _samples,
    m.Defined: _defined,
    m.LaneClaim: _claim,
    m.Figures: _figures,
    m.DeadLetter: _letter,
}
_DECODERS: Final[Mapping[int, Callable[[Fields], m.Message]]] = {
    1: _read_forward,
    2: _read_backward,
    3: _read_journal,
    4: _read_chunk,
    5: _read_manifest,
    6: _read_defined,
    7: _read_claim,
    8: _read_figures,
    9: _read_letter,
    10: _read_image,
    11: _read_piece,
    12: _read_samples,
    13: _read_attempt,
}
_LONG: Final = frozenset({5, 8, 10, 12})  # kinds whose lists may be long: manifests, figures, states
