"""Batches that cannot be processed are voided at every gate, or applied at every one with a gradient of zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from akkafka.audit.examine import examine
from akkafka.audit.replay import replay
from akkafka.audit.report import facts_of
from akkafka.broker.base import TopicPartition
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.reading import read_to_end, reading
from akkafka.gate import shell
from akkafka.nn.layers.linear import Linear
from akkafka.protocol import wire
from akkafka.protocol.messages import DeadLetter

from ..conftest import Run
from .fleet import journal, small_definition, train_through

FULL, PARTIAL = range(5), 5  # batches of an epoch: five of 256 samples, one of 157


def test_an_output_over_the_message_limit_voids_its_batch_everywhere(
    run: Run, unique: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    envelope, between = 1 << 16, 40_000  # 256 x 48 floats are 49,152 bytes, 157 x 48 are 30,144
    monkeypatch.setattr(shell, "MAX_MESSAGE_BYTES", envelope + between)
    broker = MemoryBroker()
    network, states = run(train_through(broker, small_definition("schedule.window=3"), unique(), epochs=2))
    assert [state.version for state in states] == [12, 12, 12]
    for gate in range(3):
        records = run(journal(broker, network, gate))
        voided = [record.seq for record in records if record.void]
        assert voided == [seq for seq in range(12) if seq % 6 != PARTIAL], f"gate {gate}"
        assert all("49152 bytes" in record.void for record in records if record.void)


def test_a_batch_on_which_a_layer_fails_is_voided_everywhere_with_the_reason(
    run: Run, unique: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Linear.forward

    def failing(self: Linear, params: Any, x: Any, *rest: Any, **named: Any) -> Any:
        if len(x) == 157 and params["weight"].shape == (48, 24):
            raise FloatingPointError("a layer of one's own has its day")
        return forward(self, params, x, *rest, **named)

    monkeypatch.setattr(Linear, "forward", failing)
    broker = MemoryBroker()
    network, states = run(train_through(broker, small_definition("schedule.window=3"), unique(), epochs=2))
    assert [state.version for state in states] == [12, 12, 12]
    for gate in range(3):
        records = run(journal(broker, network, gate))
        assert [record.seq for record in records if record.void] == [5, 11], f"gate {gate}"
    letters = run(_letters(broker, network.topics.dead))
    assert [letter.topic for letter in letters] == [network.topics.forward(1)] * 2
    assert "a layer of one's own has its day" in letters[0].reason


def test_a_loss_that_is_not_finite_voids_its_batch_everywhere(run: Run, unique: Callable[[], str]) -> None:
    broker = MemoryBroker()
    wild = small_definition("optimizer={type='sgd', lr=3e37}")
    network, states = run(train_through(broker, wild, unique(), epochs=2))
    assert [state.version for state in states] == [12, 12, 12]
    seen = [[record.seq for record in run(journal(broker, network, gate)) if record.void] for gate in range(3)]
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) >= 10


@pytest.mark.parametrize("how", ["raises", "gives no numbers"])
def test_a_batch_that_fails_on_its_way_back_is_applied_everywhere_with_a_gradient_of_zero_from_there_on(
    run: Run, unique: Callable[[], str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    # Past rule: it was void at gates 1 and 0, while gate 2 had applied it.
    backward = Linear.backward

    def failing(self: Linear, params: Any, tape: Any, dy: Any, **named: Any) -> Any:
        if len(dy) != 157 or params["weight"].shape != (48, 24):
            return backward(self, params, tape, dy, **named)
        if how == "raises":
            raise FloatingPointError("a layer of one's own has its day")
        dx, grads = backward(self, params, tape, dy, **named)
        return np.full_like(dx, np.nan), {name: np.full_like(g, np.nan) for name, g in grads.items()}

    monkeypatch.setattr(Linear, "backward", failing)
    broker = MemoryBroker()
    definition = small_definition(
        "schedule.window=3", "optimizer={type='momentum', lr=0.1}", "snapshots.every_bytes=9000"
    )
    network, states = run(train_through(broker, definition, unique(), epochs=2))
    assert [state.version for state in states] == [12, 12, 12]
    for gate in range(3):
        records = run(journal(broker, network, gate))
        assert not any(record.void for record in records)
        assert [record.seq for record in records if record.zeroed] == ([5, 11] if gate < 2 else [])
    letters = run(_letters(broker, network.topics.dead))
    assert [letter.topic for letter in letters] == [network.topics.backward(2)] * 2
    assert letters[0].reason.startswith("gate 1 (fc2): ") and letters[0].reason.count("gate 1 (fc2)") == 1
    facts = facts_of(run(examine(broker, network)))
    assert facts["holds"], facts["faults"]
    assert [(batch["seq"], batch["gates"]) for batch in facts["zeroed"]] == [(5, [0, 1]), (11, [0, 1])]
    for gate in range(3):
        assert run(replay(broker, network, gate)).equal


async def _letters(broker: MemoryBroker, topic: str) -> list[DeadLetter]:
    letters: list[DeadLetter] = []
    async with reading(broker, "dead") as reader:
        async for record in read_to_end(broker, reader, TopicPartition(topic, 0)):
            message = wire.decode(record.value)
            assert isinstance(message, DeadLetter)
            letters.append(message)
    return letters
