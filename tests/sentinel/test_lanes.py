"""Where a lane is taken up: by its ends, unless a late copy lies there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from akkafka.broker.base import TopicPartition
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.network import Network, define
from akkafka.data.epochs import Cursor
from akkafka.gate.restore import read_lanes
from akkafka.protocol import wire
from akkafka.protocol.messages import Backward, Forward, Hop, Mode
from akkafka.sentinel.lanes import training_places

from ..conftest import Run
from ..pipeline.fleet import small_definition

BATCHES = 60
HOP = Hop(0, 0, bytes(8))


def issued(network: Network, seq: int) -> Forward:
    x = np.zeros((1, 64), np.uint8)
    return Forward(network.run, Mode.TRAIN, 0, seq, Cursor(0, seq), Cursor(0, seq + 1), (), x)


def answer(network: Network, seq: int, source: int) -> Backward:
    return Backward(network.run, 0, seq, (HOP,) * 3, source, np.zeros((1, 10), np.float32))


def _hop(offset: int) -> Hop:
    return Hop(offset, 0, bytes(8))


async def lane_of(broker: MemoryBroker, late: Sequence[int]) -> Network:
    """A lane that came through `BATCHES` batches, one offset each; then a woken process sends some of them again."""
    network = await define(broker, small_definition(), "net")
    topics, producer = network.topics, await broker.producer("log")
    for seq in (*range(BATCHES), *late):
        output = Forward(
            network.run,
            Mode.TRAIN,
            0,
            seq,
            Cursor(0, seq),
            Cursor(0, seq + 1),
            (Hop(seq, 0, bytes(8)),),
            None,
            void="-",
        )
        for topic, message in (
            (topics.forward(0), issued(network, seq)),
            (topics.forward(1), output),
            (topics.backward(network.gate_count), answer(network, seq, 100 + seq)),
        ):
            await producer.send(TopicPartition(topic, 0), wire.encode(message))
    for seq in range(BATCHES):
        home = Backward(network.run, 0, seq, (HOP,) * 3, seq, None)
        await producer.send(TopicPartition(topics.backward(0), 0), wire.encode(home))
    await producer.close()
    return network


@pytest.mark.parametrize("late", [(), (3,), tuple(range(3, 40))], ids=["none", "one", "many"])
def test_a_lane_is_taken_up_where_it_stands_whatever_a_woken_process_has_sent_late(
    run: Run, late: tuple[int, ...]
) -> None:
    async def scene() -> None:
        broker = MemoryBroker()
        network = await lane_of(broker, late)
        place = (await training_places(broker, network, [0]))[0]
        at = place.standing
        assert (at.issued, at.answered, at.home) == (BATCHES, BATCHES, BATCHES)
        assert at.cursor == Cursor(0, BATCHES)
        assert place.output_offset == 100 + BATCHES, (
            "behind the last output that was answered: earlier ones may be gone"
        )

    run(scene())


@pytest.mark.parametrize("late", [(), (3,), tuple(range(3, 40))], ids=["none", "one", "many"])
def test_a_gate_takes_a_lane_up_where_it_stands_whatever_a_woken_one_has_sent_late(
    run: Run, late: tuple[int, ...]
) -> None:
    async def scene() -> None:
        broker = MemoryBroker()
        network = await lane_of(broker, late)
        applied = tuple(BATCHES if lane == 0 else 0 for lane in range(network.lane_count))
        place = (await read_lanes(broker, network, 0, applied))[0]
        assert place.start.next_forward == BATCHES
        assert place.forward_offset == BATCHES, "earlier inputs may be gone"
        assert place.start.open == ()

    run(scene())
