"""Narrow arrays: what is refused on arrival, and who computes with what."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest

from akkafka.errors import AkkafkaError, ConfigError, ProtocolError
from akkafka.protocol import wire
from akkafka.protocol.config import load_config
from akkafka.protocol.messages import Backward, JournalRecord, Narrow
from akkafka.protocol.narrow import FORMS, Form, narrow, shown, wide
from akkafka.protocol.settings import EdgeSpec
from tests.protocol.cases import RUN, TRAIL

X = np.array([[1.0, -2.5], [3e-5, 700.0], [0.0, -0.1]], np.float32)


def test_float32_and_what_is_no_float_stay_as_they_are() -> None:
    pixels = np.zeros((2, 3), np.uint8)
    assert narrow(X, "float32") is X and wide(X) is X
    assert narrow(pixels, "bfloat16") is pixels


@pytest.mark.parametrize(("form", "error"), [("bfloat16", 2**-8), ("float16", 2**-10), ("int8", 1 / 126)])
def test_what_comes_back_is_near_and_narrower(form: Form, error: float) -> None:
    given = narrow(X, form)
    assert isinstance(given, Narrow) and given.nbytes < X.nbytes and given.shape == X.shape and len(given) == len(X)
    back = wide(given)
    assert back.dtype == np.float32 and back.flags.c_contiguous
    assert (np.abs(back - X) <= error * np.abs(X).max(axis=1, keepdims=True)).all()
    assert (wide(narrow(back, form)) == back).all(), "rounding what is rounded changes nothing"


def test_what_is_shown_of_a_narrow_array_has_its_shape_and_dtype() -> None:
    assert shown(narrow(X, "int8")).shape == X.shape and shown(narrow(X, "int8")).dtype == np.float32
    assert shown(X) is X


@pytest.mark.parametrize(
    ("told", "match"),
    [
        (Narrow("float8", np.zeros((2, 2), np.uint16)), "form 'float8'"),
        (Narrow("bfloat16", np.zeros((2, 2), np.uint8)), "holds uint8"),
        (Narrow("float16", np.zeros((2, 2), np.uint16)), "holds uint16"),
        (Narrow("float16", np.zeros((), np.float16)), r"holds float16 \(\)"),
        (Narrow("int8", np.zeros((2, 2), np.int8)), "comes with a scale"),
        (Narrow("bfloat16", np.zeros((2, 2), np.uint16), np.ones(2, np.float32)), "others? forms without"),
        (Narrow("int8", np.zeros((2, 2), np.int8), np.ones(3, np.float32)), r"scales float32 \(3,\)"),
        (Narrow("int8", np.zeros((2, 2), np.int8), np.ones(2)), "scales float64"),
    ],
)
def test_what_does_not_fit_is_refused_on_arrival(told: Narrow, match: str) -> None:
    with pytest.raises(ProtocolError, match=match):
        wire.decode(wire.encode(Backward(RUN, 0, 0, (), 0, told)))


def test_a_narrow_array_without_values_is_refused() -> None:
    message: Any = Backward(RUN, 0, 0, (), 0, None)
    value = wire.encode(message)
    forged = value.replace(b"\xa2dy\xc0", b"\xa2dy\x81\xa4form\xa4int8")
    assert forged != value
    with pytest.raises(ProtocolError, match="no values"):
        wire.decode(forged)


def test_edges_are_set_for_all_or_by_the_gate_in_front() -> None:
    definition = load_config(
        None, ["wire.edges=bfloat16", "gate.fc2.wire={forward='int8', backward='float16'}"]
    ).definition
    told = [(edge.forward, edge.backward) for edge in map(definition.edge, range(4))]
    plain = ("float32", "float32")
    assert told == [plain, ("bfloat16", "bfloat16"), ("int8", "float16"), plain]
    assert load_config(None, ["gate.fc3.wire=float16"]).definition.edge(3) == EdgeSpec(
        forward="float16", backward="float16"
    )


def test_settings_that_change_nothing_change_no_hash() -> None:
    plain = load_config(None).definition
    assert load_config(None, ["wire.edges=float32"]).definition.hash == plain.hash
    assert load_config(None, ["wire.edges=bfloat16"]).definition.hash != plain.hash
    assert "edges" not in plain.canonical and '"wire"' not in plain.canonical


@pytest.mark.parametrize("setting", ["wire.edges=float64", "gate.fc1.wire=fp16", "wire.edges={forwards='int8'}"])
def test_unknown_forms_are_told_with_those_there_are(setting: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [setting])
    assert setting.partition("=")[0].split(".")[-1] in str(caught.value)
    assert isinstance(caught.value, AkkafkaError) and (
        "float16" in str(caught.value) or "forwards" in str(caught.value)
    )


def test_the_forms_are_those_of_the_settings() -> None:
    assert FORMS == ("float32", "float16", "bfloat16", "int8")


def test_a_journal_has_a_form_of_its_own_and_the_default_changes_no_hash() -> None:
    plain = load_config(None).definition
    assert load_config(None, ["wire.journal=float32"]).definition.hash == plain.hash
    narrow_journal = load_config(None, ["wire.journal=bfloat16"]).definition
    assert narrow_journal.wire.journal == "bfloat16" and narrow_journal.hash != plain.hash
    assert all(edge.forward == "float32" for edge in map(narrow_journal.edge, range(4)))
    with pytest.raises(ConfigError, match="journal"):
        load_config(None, ["wire.journal=int8"])


def test_a_record_with_nothing_under_a_name_is_refused() -> None:
    value = wire.encode(JournalRecord(RUN, 1, 3, 41, TRAIL[1], 18, {"w": np.ones(1, np.float32)}))
    fields = msgpack.unpackb(value[6:], raw=False)
    for forged, words in ((None, "nothing under 'w'"), ({"form": "bfloat16"}, "no values"), (7, "w")):
        fields["grads"]["w"] = forged
        with pytest.raises(ProtocolError, match=words):
            wire.decode(value[:6] + msgpack.packb(fields, use_bin_type=True))
