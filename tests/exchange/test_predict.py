"""What is exported of a network that trains is what its live gates predict with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from akkafka.broker.base import Broker
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.memory import MemoryBroker
from akkafka.cli.exporting import weights_of
from akkafka.exchange.onnx_graph import onnx_model
from akkafka.sentinel.predict import predict

from ..conftest import Run
from ..pipeline.fleet import fleet, small_definition
from ..pipeline.test_exactness import WITH_CHANCE, WITH_STATISTICS

reference = pytest.importorskip("onnx.reference")


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest, run: Run) -> Iterator[Broker]:
    """Both brokers in turn."""
    if request.param == "memory":
        yield MemoryBroker()
        return
    kafka = KafkaBroker(Connection(bootstrap_servers=request.getfixturevalue("kafka_bootstrap")))
    yield kafka
    run(kafka.close())


@pytest.mark.parametrize("first", [WITH_CHANCE, WITH_STATISTICS], ids=["chance", "statistics"])
def test_the_graph_of_a_trained_network_gives_what_its_live_gates_predict(
    first: str, broker: Broker, run: Run, unique: Callable[[], str]
) -> None:
    definition = small_definition(first)
    x = np.random.default_rng(1).integers(0, 17, (50, 64), dtype=np.uint8)

    async def scene() -> None:
        async with fleet(broker, definition, unique()) as running:
            gates = [running.start_gate(gate) for gate in range(3)]
            await running.ended(running.start_training(1))
            predicted = await predict(broker, running.network, x)
            weights = await weights_of(broker, running.network)
            assert weights.facts["versions"] == '{"fc1": 6, "fc2": 6, "fc3": 6}'
            model = onnx_model(definition, weights)
            (y,) = reference.ReferenceEvaluator(model).run(None, {"x": x})
            np.testing.assert_allclose(y, predicted, rtol=1e-5, atol=1e-5)
            await running.stop(*gates)

    run(scene())
