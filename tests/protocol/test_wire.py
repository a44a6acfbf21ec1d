"""What is encoded is decoded, for every kind and array; bytes that were written once are read for ever."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import msgpack
import msgpack_numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from akkafka.data.epochs import Cursor
from akkafka.errors import NewerSchemaError, ProtocolError
from akkafka.protocol import messages as m
from akkafka.protocol import packing, wire
from tests.protocol.cases import EXAMPLES, FLOATS, RUN, STRATEGIES, TRAIL, VOIDS, arrays, facts, unhurried

GOLDEN = Path(__file__).parent / "golden"
HEAD = 6
OPTIONAL = {
    "forward": ("context", "tag", "void", "issued_ns", "tally"),
    "reference": ("context", "tag", "void", "issued_ns", "x"),
    "backward": ("void", "tally"),
    "zeroed": ("void", "tally", "zeroed"),
    "bfloat16": ("context", "tag", "void", "issued_ns"),
    "float16": ("context", "tag", "void", "issued_ns"),
    "int8": ("void",),
    "stamped": ("void", "stamps"),
    "followed": ("context", "tag", "void", "issued_ns", "followed"),
    "followed-back": ("void", "followed"),
    "journal": ("void", "writer", "tally"),
    "journal-narrow": ("void", "writer"),
    "journal-zeroed": ("void", "writer", "zeroed"),
    "manifest": ("sums", "staleness"),
}  # of today's fields, those that the first schema may leave out; a field that is added later joins them


def golden(name: str) -> bytes:
    return bytes.fromhex((GOLDEN / f"{name}.hex").read_text())


def body(value: bytes) -> dict[Any, Any]:
    """The map behind the head, read by msgpack alone; arrays stay in msgpack-numpy's form."""
    fields: dict[Any, Any] = msgpack.unpackb(value[HEAD:], raw=False)
    return fields


def rewritten(value: bytes, fields: dict[Any, Any]) -> bytes:
    return b"".join((value[:HEAD], msgpack.packb(fields, use_bin_type=True)))


def through(array: NDArray[Any]) -> NDArray[Any]:
    """The array as the receiver of a gradient sees it."""
    message = wire.decode(wire.encode(m.Backward(RUN, 0, 0, (), 0, array)))
    assert isinstance(message, m.Backward) and isinstance(message.dy, np.ndarray)
    return message.dy


# Golden bytes


def test_every_kind_of_message_has_an_example_and_golden_bytes() -> None:
    kinds = {kind.__name__ for kind in get_args(m.Message)}
    assert {type(example).__name__ for example in EXAMPLES.values()} == kinds
    assert EXAMPLES.keys() == STRATEGIES.keys()
    assert {file.stem for file in GOLDEN.glob("*.hex")} == EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_golden_bytes_are_read_as_the_message_that_they_were_written_from(name: str) -> None:
    assert facts(wire.decode(golden(name))) == facts(EXAMPLES[name])


@pytest.mark.parametrize("name", EXAMPLES)
def test_golden_bytes_are_what_is_written_today(name: str) -> None:
    """A change that old readers can follow changes the stored bytes too; one that they can't needs a new schema."""
    assert wire.encode(EXAMPLES[name]).hex() == golden(name).hex()


@pytest.mark.parametrize("name", OPTIONAL)
def test_golden_bytes_without_optional_fields_are_read_with_their_defaults(name: str) -> None:
    fields = body(golden(name))
    for optional in OPTIONAL[name]:
        del fields[optional]
    message = wire.decode(rewritten(golden(name), fields))
    defaults = {"context": {}, "tag": "", "void": "", "issued_ns": 0, "writer": "", "tally": None, "x": None}
    defaults |= {"sums": (), "staleness": (), "zeroed": "", "stamps": None, "followed": False}
    assert all(getattr(message, optional) == defaults[optional] for optional in OPTIONAL[name])


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_field_that_is_not_known_yet_is_passed_over(name: str) -> None:
    value = golden(name)
    assert facts(wire.decode(rewritten(value, {**body(value), "since-2031": [1]}))) == facts(EXAMPLES[name])


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_other_field_is_required(name: str) -> None:
    value = golden(name)
    for field in body(value).keys() - set(OPTIONAL.get(name, ())) - {"dy"}:  # no gradient: home
        rest = {key: inner for key, inner in body(value).items() if key != field}
        with pytest.raises(ProtocolError, match=r"missing|either data, or rows"):
            wire.decode(rewritten(value, rest))


# Round trips


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_encoded_is_decoded(name: str) -> None:
    @unhurried
    @given(STRATEGIES[name])
    def check(message: m.Message) -> None:
        assert facts(wire.decode(wire.encode(message))) == facts(message)

    check()


@pytest.mark.parametrize("name", VOIDS)
def test_what_has_no_array_travels_too(name: str) -> None:
    assert facts(wire.decode(wire.encode(VOIDS[name]))) == facts(VOIDS[name])


@unhurried
@given(arrays())
def test_msgpack_numpy_reads_what_is_written(array: NDArray[Any]) -> None:
    value = wire.encode(m.Backward(RUN, 0, 0, (), 0, array))
    assert facts(msgpack_numpy.unpackb(value[HEAD:])["dy"]) == facts(array)


@unhurried
@given(arrays())
def test_what_msgpack_numpy_writes_is_read(array: NDArray[Any]) -> None:
    fields = {**body(golden("backward")), "dy": array}
    message = wire.decode(golden("backward")[:HEAD] + msgpack_numpy.packb(fields, use_bin_type=True))
    assert isinstance(message, m.Backward) and facts(message.dy) == facts(array)


@unhurried
@given(arrays())
def test_a_decoded_array_is_ready_for_kernels(array: NDArray[Any]) -> None:
    flags = through(array).flags
    assert flags.c_contiguous and flags.aligned and not flags.writeable


def test_arrays_of_many_sizes_have_the_right_length_before_their_bytes() -> None:
    for size in (0, 1, 255, 256, 65535, 65536, 70000):
        assert through(np.ones(size, np.uint8)).sum() == size


def test_maps_of_many_sizes_are_read() -> None:
    for count in (0, 1, 15, 16, 17, 300):
        grads = {f"{i}.weight": np.full(1, i, np.float32) for i in range(count)}
        record = m.JournalRecord(RUN, 0, 0, 0, TRAIL[0], 0, grads)
        assert facts(wire.decode(wire.encode(record))) == facts(record)


@pytest.mark.parametrize(("plain", "held"), [(0, 0), (14, 1), (15, 1), (16, 0), (16, 1), (300, 20)])
def test_a_kind_may_have_any_number_of_fields(plain: int, held: int) -> None:
    fields = {f"p{i}": i for i in range(plain)}
    value = packing.packed(b"", fields, {f"a{i}": [FLOATS, {"in": FLOATS}] for i in range(held)})
    read = msgpack_numpy.unpackb(value, strict_map_key=False)
    assert len(read) == plain + held and {key: read[key] for key in fields} == fields


def test_older_states_of_many_counts_are_read() -> None:
    for count in (0, 15, 16, 600):
        image = m.StateImage({}, {}, tuple(m.OlderWeights(i, bytes(16), {"w": FLOATS}) for i in range(count)))
        assert facts(wire.decode(wire.encode(image))) == facts(image)


def test_a_trail_as_long_as_the_longest_network_travels() -> None:
    message = m.Backward(RUN, 0, 0, TRAIL[:1] * m.MAX_GATES, 0, None)
    assert facts(wire.decode(wire.encode(message))) == facts(message)


# What is not written


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, ">f4"),
        np.zeros(2, ">i8"),
        np.array([{}], object),
        np.zeros(2, [("a", "i4")]),
        np.array(["text"]),
        np.array([b"text"]),
        np.zeros(2, "M8[s]"),
        np.zeros(2, np.complex64),
        np.zeros(2, np.longdouble),
    ],
    ids=lambda array: array.dtype.str,
)
def test_an_array_of_another_dtype_is_refused_by_the_writer(array: NDArray[Any]) -> None:
    with pytest.raises(ProtocolError, match=re.escape(array.dtype.str)):
        wire.encode(m.Backward(RUN, 0, 0, (), 0, array))


def test_an_array_of_nine_dimensions_is_refused_by_the_writer() -> None:
    with pytest.raises(ProtocolError, match="at most 8 dimensions"):
        wire.encode(m.Backward(RUN, 0, 0, (), 0, np.zeros((1,) * 9, np.float32)))


@pytest.mark.parametrize(
    "message",
    [
        m.Backward(RUN, 0, 2**64, (), 0, None),
        m.Backward(RUN, 0, 0, TRAIL[:1] * (m.MAX_GATES + 1), 0, None),
        m.Defined(RUN, "x" * (wire.MAX_TEXT + 1), "0", 0),
        m.Figures(RUN, "k", "p", 0, {"loss": np.float32(1)}),
        m.Figures(RUN, "k", "p", 0, {"a": object()}),
    ],
)
def test_what_the_reader_would_refuse_is_refused_by_the_writer(message: m.Message) -> None:
    with pytest.raises(ProtocolError):
        wire.encode(message)


def test_encoding_leaves_the_array_as_it_was_and_keeps_no_hold_on_it() -> None:
    array = FLOATS.copy()
    value = wire.encode(m.Backward(RUN, 0, 0, (), 0, array))
    assert array.tobytes() == FLOATS.tobytes()
    array[:] = 0
    assert facts(wire.decode(value)) == facts(m.Backward(RUN, 0, 0, (), 0, FLOATS))


def test_the_headers_of_arrays_that_are_kept_do_not_mix_up_equal_sizes() -> None:
    """(2, 3) and (3, 2), int32 and float32: as many bytes, other arrays."""
    for shape in ((2, 3), (3, 2), (6,), (6, 1)):
        for dtype in (np.int32, np.uint32, np.float32):
            array = np.arange(6).astype(dtype).reshape(shape)
            assert facts(through(array)) == facts(array)


# Head and headers


def test_a_newer_schema_says_update_akkafka() -> None:
    value = bytearray(golden("backward"))
    value[4] = wire.SCHEMA + 1
    with pytest.raises(NewerSchemaError, match="schema 2") as error:
        wire.decode(bytes(value))
    assert "Update akkafka" in error.value.hint


@pytest.mark.parametrize("value", [None, b"", b"\x93", b"\x93akk", b"\x93akk\x01", b"{}" * 20, b"\x93AKK\x01\x01\x80"])
def test_bytes_without_the_magic_are_foreign(value: bytes | None) -> None:
    with pytest.raises(wire.ForeignBytesError):
        wire.decode(value)


@pytest.mark.parametrize(("schema", "kind"), [(1, 0), (1, 14), (1, 255), (0, 1)])
def test_a_kind_that_a_schema_has_not_is_refused(schema: int, kind: int) -> None:
    with pytest.raises(ProtocolError, match=f"schema {schema} has no message kind {kind}"):
        wire.decode(wire.MAGIC + bytes((schema, kind)) + b"\x80")


def test_headers_tell_the_facts_that_tools_want() -> None:
    assert wire.headers(EXAMPLES["forward"]) == (("mode", b"validate"), ("seq", b"41"), ("version", b"9"))
    assert wire.headers(EXAMPLES["backward"]) == (("mode", b"train"), ("seq", b"41"))
    assert wire.headers(EXAMPLES["journal"]) == (("lane", b"3"), ("seq", b"41"), ("version", b"9"))
    assert wire.headers(EXAMPLES["manifest"]) == (("version", b"900"),)
    assert wire.headers(EXAMPLES["letter"]) == ()


def test_a_forward_from_a_sentinel_has_version_0_in_its_headers() -> None:
    message = m.Forward(RUN, m.Mode.TRAIN, 0, 0, Cursor(0, 0), Cursor(0, 1), (), FLOATS)
    assert ("version", b"0") in wire.headers(message)


# Copies


def test_an_array_is_copied_once_on_the_way_out_and_once_on_the_way_in(peak_bytes: Any) -> None:
    big = np.ones((1024, 784), np.uint8)
    message = m.Backward(RUN, 0, 0, TRAIL, 0, big)
    value = wire.encode(message)
    assert peak_bytes(lambda: wire.encode(message)) < 1.1 * big.nbytes
    assert peak_bytes(lambda: wire.decode(value)) < 1.1 * big.nbytes


def test_few_shapes_are_remembered_for_ever() -> None:
    """A stream of ever new shapes must not fill the memory."""
    assert packing._array_header.cache_info().maxsize is not None
    assert packing._name.cache_info().maxsize is not None


@unhurried
@given(st.integers(0, 2**63 - 1))
def test_numbers_up_to_63_bits_travel(number: int) -> None:
    message = wire.decode(wire.encode(m.Backward(RUN, number, number, (), number, None)))
    assert isinstance(message, m.Backward) and (message.lane, message.seq, message.source) == (number,) * 3
