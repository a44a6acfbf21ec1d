"""Whatever bytes come in: a message or a ProtocolError, no code run, no memory taken."""

from __future__ import annotations

import pathlib
import pickle
import struct
from collections.abc import Callable
from typing import Any

import msgpack
import msgpack_numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akkafka.errors import ProtocolError
from akkafka.protocol import messages as m
from akkafka.protocol import wire
from tests.protocol.cases import EXAMPLES, RUN, facts, unhurried

BACKWARD, FIGURES = 2, 8
VALUES = {name: wire.encode(example) for name, example in EXAMPLES.items()}
FIELDS: dict[str, dict[Any, Any]] = {n: msgpack.unpackb(v[6:], raw=False) for n, v in VALUES.items()}


def head(kind: int) -> bytes:
    return wire.MAGIC + bytes((wire.SCHEMA, kind))


def message_with(kind: str = "backward", /, **fields: Any) -> bytes:
    packed: bytes = msgpack.packb({**FIELDS[kind], **fields}, use_bin_type=True)
    return VALUES[kind][:6] + packed


def array(**form: Any) -> dict[bytes, Any]:
    """msgpack-numpy's form of one float32 row, with some of it changed."""
    plain = {"nd": True, "type": "<f4", "kind": b"", "shape": [1, 2], "data": bytes(8)}
    return {key.encode(): value for key, value in {**plain, **form}.items() if value is not ...}


def refused(value: bytes) -> str:
    with pytest.raises(ProtocolError) as error:
        wire.decode(value)
    return str(error.value)


# Arrays

ARRAYS: dict[str, Any] = {
    "no map": [1, 2],
    "no nd": array(nd=...),
    "nd is a number": array(nd=1),
    "a numpy scalar": array(nd=False),
    "complex": {b"complex": True, b"data": "1j"},
    "kind V": array(kind=b"V", type=[["a", "<i4"]]),
    "kind O": array(kind=b"O", type="|O"),
    "kind is a list": array(kind=[]),
    "object dtype without kind": array(kind=..., type="|O"),
    "structured dtype without kind": array(type="i4,i4"),
    "dtype by a dangerous name": array(type="f4,(100000,100000)f4"),
    "dtype is a list": array(type=["<f4"]),
    "dtype is bytes": array(type=b"<f4"),
    "dtype is missing": array(type=...),
    "big-endian": array(type=">f4"),
    "another spelling": array(type="float32"),
    "void": array(type="|V8", shape=[1]),
    "text dtype": array(type="<U2", shape=[1]),
    "date": array(type="<M8[s]", shape=[1]),
    "no shape": array(shape=...),
    "shape is a number": array(shape=2),
    "negative": array(shape=[-1, -2]),
    "minus one": array(shape=[-1]),
    "bool sizes": array(shape=[True, 2]),
    "float sizes": array(shape=[1.0, 2.0]),
    "text sizes": array(shape=["1", "2"]),
    "huge": array(shape=[2**62, 2**62]),
    "product wraps to 2": array(shape=[2**63 - 1, 2, 2**62]),
    "beyond 63 bits": array(shape=[2**64 - 1]),
    "huge beside zero": array(shape=[0, 2**62, 2**62], data=b""),
    "nine dimensions": array(shape=[1] * 7 + [2, 1]),
    "four thousand dimensions": array(shape=[1] * 4000),
    "too little data": array(data=bytes(7)),
    "too much data": array(data=bytes(9)),
    "no data": array(data=...),
    "data is text": array(data="12345678"),
    "data is a list": array(data=[0] * 8),
    "bools that are neither": array(type="|b1", shape=[8], data=b"\x00\x01\x02\xff\x00\x00\x00\x00"),
}


@pytest.mark.parametrize("form", ARRAYS.values(), ids=ARRAYS.keys())
def test_what_is_no_plain_array_is_refused_by_field(form: Any) -> None:
    assert "'dy'" in refused(message_with(dy=form)) or form == ARRAYS["four thousand dimensions"]
    refused(message_with("journal", grads={"0.weight": form}))
    refused(message_with("forward", context={"y": form}))
    refused(message_with("image", older=[[1, bytes(16), {"w": form}]]))


def test_the_form_that_the_others_differ_from_is_accepted() -> None:
    assert isinstance(wire.decode(message_with(dy=array())), m.Backward)
    assert isinstance(wire.decode(message_with(dy=array(kind=...))), m.Backward)


def test_a_shape_without_samples_takes_no_memory(peak_bytes: Callable[[Callable[[], Any]], int]) -> None:
    value = message_with(dy=array(shape=[0, 2**40], data=b""))
    message = wire.decode(value)
    assert isinstance(message, m.Backward) and message.dy is not None and message.dy.shape == (0, 2**40)
    assert peak_bytes(lambda: wire.decode(value)) < 10_000


# Code


class Planted:
    """Creates a file when it is unpickled."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return pathlib.Path.touch, (self.path,)


def test_a_pickle_in_an_object_array_is_not_run(tmp_path: pathlib.Path) -> None:
    fields = {**FIELDS["backward"], "dy": np.array([Planted(tmp_path / "here")], object)}
    packed = msgpack_numpy.packb(fields, use_bin_type=True)
    refused(VALUES["backward"][:6] + packed)
    assert not (tmp_path / "here").exists()
    msgpack_numpy.unpackb(packed)  # the trap was live: the package's own decoder runs it
    assert (tmp_path / "here").exists()


def test_a_pickle_is_not_run_wherever_it_stands(tmp_path: pathlib.Path) -> None:
    pickled = pickle.dumps(Planted(tmp_path / "here"))
    for form in (array(kind=b"O", data=pickled), array(type="O", data=pickled, shape=[1]), pickled):
        refused(message_with(dy=form))
        for kind in ("figures", "letter", "chunk"):
            wire.decode(message_with(kind, extra=form))
    assert not (tmp_path / "here").exists()


# Fields

FIELDS_OF_BACKWARD: dict[str, dict[str, Any]] = {
    "run of 15 bytes": {"run": bytes(15)},
    "run is text": {"run": "a" * 16},
    "lane is negative": {"lane": -1},
    "lane is a bool": {"lane": True},
    "lane is a float": {"lane": 1.0},
    "lane is beyond 63 bits": {"lane": 2**63},
    "seq is nothing": {"seq": None},
    "seq is a list": {"seq": [1]},
    "trail is a map": {"trail": {}},
    "trail of numbers": {"trail": [1]},
    "hop of two": {"trail": [[1, 2]]},
    "hop without chain": {"trail": [[1, 2, 3]]},
    "hop with a short chain": {"trail": [[1, 2, b"1234567"]]},
    "hop with a bool": {"trail": [[True, 2, b"12345678"]]},
    "hop before the log": {"trail": [[-1, 2, b"12345678"]]},
    "trail longer than any network": {"trail": [[1, 2, b"12345678"]] * (m.MAX_GATES + 1)},
    "void is bytes": {"void": b"why"},
    "void and yet a gradient": {"void": "why"},
    "zeroed is bytes": {"zeroed": b"why"},
    "zeroed and yet a gradient": {"zeroed": "why"},
    "zeroed and void": {"zeroed": "why", "void": "why", "dy": None},
}


@pytest.mark.parametrize("fields", FIELDS_OF_BACKWARD.values(), ids=FIELDS_OF_BACKWARD.keys())
def test_a_field_of_another_type_or_size_is_refused(fields: dict[str, Any]) -> None:
    reason = refused(message_with(**fields))
    assert f"'{next(iter(fields))}'" in reason or "void" in reason


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("forward", {"mode": "train\x00"}),
        ("forward", {"mode": 1}),
        ("forward", {"cursor": [1]}),
        ("forward", {"cursor": [1, -1]}),
        ("forward", {"x": None}),
        ("forward", {"void": "why"}),
        ("forward", {"context": {b"y": array()}}),
        ("forward", {"context": []}),
        ("journal", {"void": "why"}),
        ("journal", {"zeroed": "why"}),
        ("journal", {"zeroed": "why", "void": "why", "grads": {}}),
        ("journal", {"hop": [1, 2]}),
        ("manifest", {"chunks": [bytes(31)]}),
        ("manifest", {"chunks": ["h" * 32]}),
        ("manifest", {"chain": bytes(8)}),
        ("manifest", {"applied": [[0, 1], [0, 2]]}),
        ("manifest", {"applied": [[0]]}),
        ("manifest", {"applied": {"0": 1}}),
        ("image", {"older": [[1, bytes(15), {}]]}),
        ("image", {"older": [[-1, bytes(16), {}]]}),
        ("image", {"older": [[1, bytes(16), []]]}),
        ("figures", {"body": []}),
        ("figures", {"body": {b"kind": 1}}),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(kind: str, fields: dict[str, Any]) -> None:
    refused(message_with(kind, **fields))


@pytest.mark.parametrize(
    "value", [msgpack.ExtType(5, b""), msgpack.ExtType(5, b"1"), msgpack.Timestamp(0, 0)], ids=repr
)
def test_an_extension_is_refused_where_any_plain_value_would_do(value: Any) -> None:
    assert isinstance(wire.decode(message_with("figures", body={"a": [1]})), m.Figures)
    refused(message_with("figures", body={"a": [value]}))
    refused(message_with("figures", since_2031=value))


def test_a_reason_repeats_only_the_beginning_of_what_came() -> None:
    long = "x" * 100_000
    assert len(refused(message_with("forward", mode=long))) < 300
    assert len(refused(message_with("forward", context={long: 1}))) < 300


# Bytes

TRAIL_BOMB = b"\x81\xa5trail"
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "a number": b"\x07",
    "a list": b"\x90",
    "never used": b"\xc1",
    "something behind": b"\x80\x00",
    "key is a list": b"\x81\x91\x01\x01",
    "key is a number": b"\x81\x01\x01",
    "text that is no text": b"\x81\xa1a\xa2\xff\xfe",
    "half a surrogate": b"\x81\xa1a\xa3\xed\xa0\x80",
    "list of 2**32 - 1": b"\x81\xa1a\xdd\xff\xff\xff\xff",
    "map of 2**32 - 1": b"\xdf\xff\xff\xff\xff",
    "text of 2**32 - 1": b"\x81\xa1a\xdb\xff\xff\xff\xff",
    "bytes of 2**32 - 1": b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "extension of 2**32 - 1": b"\x81\xa1a\xc9\xff\xff\xff\xff\x01",
    "empty extension": b"\x81\xa1a\xc7\x00\x01",
    "extension": b"\x81\xa1a\xd4\x05\x00",
    "timestamp 32": b"\x81\xa1a\xd6\xff\x00\x00\x00\x00",
    "timestamp 64": b"\x81\xa1a\xd7\xff" + bytes(8),
    "timestamp 96": b"\x81\xa1a\xc7\x0c\xff" + bytes(12),
    "empty timestamp": b"\x81\xa1a\xc7\x00\xff",
    "500 lists deep": TRAIL_BOMB + b"\x91" * 500 + b"\x00",
    "500 maps deep": b"\x81\xa1a" * 500 + b"\x00",
    "a million lists deep": TRAIL_BOMB + b"\x91" * 1_000_000 + b"\x00",
    "a million maps deep": b"\x81\xa1a" * 1_000_000 + b"\x00",
    "deep lists that ask for room": TRAIL_BOMB + b"\xdc\x0f\xff" * 510,
    "deep lists that ask for less": TRAIL_BOMB + b"\xdc\x02\x00" * 510,
    "broad lists that ask for room": TRAIL_BOMB + b"\x9f" + (b"\xdc\x02\x00" + b"\xc0" * 512) * 14 + b"\xdc\x02\x00",
    "a thousand empty lists": TRAIL_BOMB + b"\xdc\x01\xff" + b"\x90" * 511,
}


@pytest.mark.parametrize("kind", range(1, 11))
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_msgpack_made_to_hurt_is_refused_and_takes_little_memory(
    body: bytes, kind: int, peak_bytes: Callable[[Callable[[], Any]], int]
) -> None:
    value = head(kind) + body
    allowed = (17 << 20 if kind in (5, FIGURES, 10) else 5 << 19) + 8 * len(value)
    assert peak_bytes(lambda: refused(value)) < allowed


def test_many_small_things_take_no_more_than_a_multiple(peak_bytes: Callable[[Callable[[], Any]], int]) -> None:
    """The dearest bytes that msgpack knows are empty lists and maps: one byte each, 56 and 64 in Python."""
    value = head(FIGURES) + msgpack.packb({"body": {str(i): [[]] * 4000 for i in range(50)}})
    assert peak_bytes(lambda: refused(value)) < 80 * len(value)


def test_of_a_field_that_comes_twice_every_reader_takes_the_last() -> None:
    twice = b"".join(
        (b"\xde", struct.pack(">H", len(FIELDS["backward"]) + 1), msgpack.packb({**FIELDS["backward"], "lane": 1})[1:])
    )
    message = wire.decode(head(BACKWARD) + twice + b"\xa4lane\x02")
    assert isinstance(message, m.Backward) and message.lane == 2


# Fuzz


def settled(value: bytes) -> None:
    """A message that can be written again and is then the same, or a ProtocolError."""
    try:
        message = wire.decode(value)
    except ProtocolError:
        return
    wire.headers(message)
    assert facts(wire.decode(wire.encode(message))) == facts(message)


@unhurried
@given(st.binary(max_size=300))
def test_arbitrary_bytes_settle(value: bytes) -> None:
    settled(value)


@unhurried
@given(st.integers(1, 10), st.binary(max_size=300))
def test_arbitrary_bytes_behind_a_true_head_settle(kind: int, body: bytes) -> None:
    settled(head(kind) + body)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_message_cut_short_is_refused(name: str) -> None:
    for length in range(len(VALUES[name])):
        refused(VALUES[name][:length])


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_message_with_one_byte_changed_settles(name: str) -> None:
    value = VALUES[name]
    for at in range(6, len(value)):
        for byte in (0x00, 0x7F, 0x80, 0x90, 0xC1, 0xC6, 0xD9, 0xDD, 0xDF, 0xFF, value[at] ^ 1):
            settled(value[:at] + bytes((byte,)) + value[at + 1 :])


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.binary(), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_messages_with_arbitrary_values_in_their_fields_settle(name: str) -> None:
    @unhurried
    @given(st.data(), plain)
    def check(data: st.DataObject, value: Any) -> None:
        field = data.draw(st.sampled_from(sorted(FIELDS[name])))
        settled(message_with(name, **{field: value}))

    check()


@unhurried
@given(st.dictionaries(st.sampled_from([*array(), b"complex", b"else"]), plain), st.booleans())
def test_arrays_with_arbitrary_values_in_their_form_settle(form: dict[bytes, Any], whole: bool) -> None:
    settled(message_with(dy={**(array() if whole else {}), **form}))


def test_nothing_of_a_message_is_shared_between_runs_of_the_decoder() -> None:
    one, two = wire.decode(VALUES["forward"]), wire.decode(VALUES["forward"])
    assert isinstance(one, m.Forward) and isinstance(two, m.Forward)
    assert one.context is not two.context and one.run == RUN
