"""Who works on a network is heard from the metrics topic, whatever else he tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from akkafka.broker.base import TopicPartition
from akkafka.broker.memory import MemoryBroker
from akkafka.broker.network import define
from akkafka.broker.reading import reading
from akkafka.broker.side import SideChannel
from akkafka.cli.training.tail import living
from akkafka.protocol.figures import GateFigures, SentinelFigures, TrainFigures
from akkafka.protocol.messages import Mode

from ..conftest import Run
from ..pipeline.fleet import small_definition


async def heard(name: str) -> tuple[list[str], list[str]]:
    broker = MemoryBroker()
    network = await define(broker, small_definition(), name)
    sentinel, gate = SideChannel(broker, network, "train-a"), SideChannel(broker, network, "gate-b")

    async def tell() -> None:
        while True:
            sentinel.tell(SentinelFigures(role=Mode.TRAIN, state="working", pid=7, host="here"))
            sentinel.tell(TrainFigures(batches=[]))
            gate.tell(GateFigures(gate=1, name="fc2", state="working", pid=8, host="here"))
            await asyncio.sleep(0.1)

    telling = asyncio.create_task(tell())
    try:
        async with reading(broker, "test") as reader:
            reader.assign({TopicPartition(network.topics.metrics, 0): 0})
            told = 0
            while told < 3:  # until all have spoken
                told += len(await reader.poll(timeout=5.0))
        return await living(broker, network)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        await asyncio.gather(sentinel.close(), gate.close())


def test_a_training_sentinel_is_heard_between_its_reports_of_batches(run: Run, unique: Callable[[], str]) -> None:
    trainers, others = run(heard(unique()))
    assert trainers == ["sentinel train (pid 7 on here)"]
    assert others == ["gate 1 (pid 8 on here)"]
