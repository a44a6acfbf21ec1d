"""Figures come through the wire as they were; of what others write, nothing but a ProtocolError can come."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akkafka.errors import ProtocolError
from akkafka.protocol import figures as f
from akkafka.protocol import messages as m
from akkafka.protocol import wire
from tests.protocol.cases import RUN, bodies, texts, unhurried

BATCH = f.BatchFigures(
    lane=1, seq=2, epoch=3, batch=4, samples=5, loss=0.6, correct=4, home_ns=1_700_000_000_000_000_000, latency_ms=8.5
)
BODIES: dict[str, f.Body] = {
    "gate": f.GateFigures(gate=1, name="fc2", state="working", applied=[(0, 7), (1, 8)], compensation=0.01),
    "train": f.TrainFigures(batches=[BATCH]),
    "sentinel": f.SentinelFigures(
        role=m.Mode.TRAIN, state="working", lanes=[f.LaneFigures(lane=0, issued=9, home=4, epoch=1)]
    ),
    "pass": f.PassFigures(
        role=m.Mode.VALIDATE, data="digits", samples=180, loss=0.1, accuracy=0.97, seconds=0.5, started_ms=1,
        versions=[(3, 5), (4, 4)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_figures_come_out_of_the_wire_as_they_went_in(body: f.Body) -> None:
    message = wire.decode(wire.encode(f.to_message(RUN, "p", 1, body)))
    assert isinstance(message, m.Figures) and f.from_message(message) == body


def test_there_is_an_example_of_every_kind_of_figures() -> None:
    assert {type(body) for body in BODIES.values()} == set(f.Body.__args__)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_field_that_a_newer_akkafka_added_is_passed_over(body: f.Body) -> None:
    message = f.to_message(RUN, "p", 1, body)
    newer = m.Figures(RUN, message.kind, "p", 1, {**message.body, "since_2031": 1})
    assert f.from_message(newer) == body


@pytest.mark.parametrize("loss", [float("inf"), float("nan")])
def test_a_loss_that_is_not_finite_is_told_too(loss: float) -> None:
    """Just then somebody will look at the figures."""
    body = f.TrainFigures(batches=[BATCH.model_copy(update={"loss": loss})])
    message = wire.decode(wire.encode(f.to_message(RUN, "p", 1, body)))
    assert isinstance(message, m.Figures)
    got = f.from_message(message)
    assert isinstance(got, f.TrainFigures) and repr(got.batches[0].loss) == repr(loss)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("gossip", {}),
        ("", {}),
        ("gate", {}),
        ("gate", {"gate": "one", "name": "fc", "state": "working"}),
        ("gate", {"gate": 1, "name": "fc", "state": "dancing"}),
        ("train", {"batches": [{}]}),
        ("train", {"batches": 3}),
        ("sentinel", {"role": "spy", "state": "working"}),
        ("pass", {"kind": "train"}),
    ],
)
def test_figures_that_cannot_be_read_are_a_protocol_error(kind: str, body: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="cannot be read"):
        f.from_message(m.Figures(RUN, kind, "p", 1, body))


@unhurried
@given(st.sampled_from(["gate", "train", "sentinel", "pass"]) | texts, bodies)
def test_no_body_can_raise_anything_else(kind: str, body: dict[str, Any]) -> None:
    try:
        f.from_message(m.Figures(RUN, kind, "p", 1, body))
    except ProtocolError:
        return


@unhurried
@given(st.sampled_from(list(BODIES)), st.data())
def test_no_change_of_a_true_body_can_raise_anything_else(kind: str, data: st.DataObject) -> None:
    body = dict(f.to_message(RUN, "p", 1, BODIES[kind]).body)
    key = data.draw(st.sampled_from(sorted(body)))
    body[key] = next(iter(data.draw(bodies).values()), None)
    try:
        f.from_message(m.Figures(RUN, kind, "p", 1, body))
    except ProtocolError:
        return
