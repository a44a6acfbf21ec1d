"""`python -m akkafka.sentinel train|validate|test`: a sentinel of a network; several at once, at any time."""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # before numpy comes in: processes share a machine's cores

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from akkafka.broker.base import OffsetGoneError
from akkafka.broker.connection import Connection
from akkafka.broker.expected import prepare
from akkafka.broker.network import Network, wait_for
from akkafka.broker.process import Host, Main, process_name, run_process, say, tell
from akkafka.broker.trimming import Overtaken
from akkafka.errors import AkkafkaError
from akkafka.nn.allow import allow_packages
from akkafka.nn.losses import loss_named
from akkafka.protocol.definition import Definition
from akkafka.protocol.messages import Mode
from akkafka.sentinel.evaluate import EvaluationSentinel, PassRunner, loss_evaluator
from akkafka.sentinel.loss import warm_up
from akkafka.sentinel.source import Wanted, load_split, passing_batch, published
from akkafka.sentinel.train import TrainSentinel

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="A sentinel brings data in and computes losses.",
    rich_markup_mode=None,
)

NetworkName = Annotated[str | None, typer.Option("--network", help="The network; not needed if there is only one.")]
Servers = Annotated[
    str | None,
    typer.Option("--bootstrap-servers", help="Kafka as host:port; else KAFKA_BOOTSTRAP_SERVERS, else localhost:9092."),
]
Data = Annotated[str | None, typer.Option("--data", help="Data set; what the definition names if left out.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where its files lie; else AKKAFKA_DATA_DIR.")]
Every = Annotated[float, typer.Option("--every", min=0.0, help="Seconds from the beginning of one pass to the next.")]
Once = Annotated[bool, typer.Option("--once", help="One pass, then leave.")]
Allow = Annotated[list[str] | None, typer.Option("--allow", help="Package with own data sets or layers (import name).")]


async def _network(host: Host, name: str | None) -> Network | None:
    """The network once it is defined; None if asked to leave before."""
    prepare(_load_loss)
    broker = await host.reach()
    waiting = asyncio.create_task(wait_for(broker, name, say))
    leaving = asyncio.create_task(host.leave.wait())
    await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
    leaving.cancel()
    if not waiting.done():
        waiting.cancel()
        return None
    network = waiting.result()
    say(f"network {network.name!r}, run {network.run}")
    return network


def _load_loss(definition: Definition) -> None:
    """With its kernels."""
    warm_up(loss_named(definition.loss, definition.loss_settings))


async def _train(host: Host, name: str | None, wanted: Wanted, epochs: int | None, window: int | None) -> int:
    network = await _network(host, name)
    if network is not None:
        assert host.broker is not None, "the network was found on it"
        overtaken = Overtaken(say)
        while True:
            process = process_name("train")
            sentinel = TrainSentinel(host.broker, network, wanted, process, epochs=epochs, window=window)
            try:
                await sentinel.run(host.leave)
                break
            except OffsetGoneError as error:
                overtaken.begin_anew(error)
    return 0


async def _evaluate(host: Host, name: str | None, wanted: Wanted, mode: Mode, every: float, once: bool) -> int:
    network = await _network(host, name)
    if network is None:
        return 0
    assert host.broker is not None, "the network was found on it"
    dataset = await asyncio.to_thread(load_split, network, wanted, mode, say)
    size, process = network.definition.batch_size, process_name(mode.value)
    reference = await published(host.broker, network, dataset, process, host.leave, say)
    overtaken = Overtaken(say)
    while True:
        runner = PassRunner(
            host.broker,
            network,
            mode,
            process,
            partial(passing_batch, network, dataset, mode, size, reference=reference),
            loss_evaluator(network),
        )
        sentinel = EvaluationSentinel(runner, -(-len(dataset) // size), len(dataset), dataset.name, mode)
        try:
            await sentinel.run(host.leave, host.now, every=every, once=once)
            break
        except OffsetGoneError as error:
            overtaken.begin_anew(error)
    return 0


def _run(servers: str | None, allow: list[str] | None, main: Main) -> None:
    try:
        allow_packages(allow or [])
        connection = Connection.load({"bootstrap_servers": servers})
    except AkkafkaError as error:
        sys.exit(tell(error))
    sys.exit(run_process(connection, main))


@app.command()
def train(
    network: NetworkName = None,
    bootstrap_servers: Servers = None,
    data: Data = None,
    data_dir: DataDir = None,
    shard: Annotated[str | None, typer.Option("--shard", help="Rows of the data set, e.g. 0:30000.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Leave after so many; else never.")] = None,
    window: Annotated[int | None, typer.Option("--window", min=1, help="Batches in flight in each lane.")] = None,
    allow: Allow = None,
) -> None:
    """Bring training batches in and send the loss's gradients back."""
    wanted = Wanted(data, shard, data_dir)
    _run(bootstrap_servers, allow, partial(_train, name=network, wanted=wanted, epochs=epochs, window=window))


@app.command()
def validate(
    network: NetworkName = None,
    bootstrap_servers: Servers = None,
    data: Data = None,
    data_dir: DataDir = None,
    every: Every = 20.0,
    once: Once = False,
    allow: Allow = None,
) -> None:
    """Pass over the validation set again and again, while the gates train."""
    _passes(Mode.VALIDATE, network, bootstrap_servers, data, data_dir, every, once, allow)


@app.command()
def test(
    network: NetworkName = None,
    bootstrap_servers: Servers = None,
    data: Data = None,
    data_dir: DataDir = None,
    every: Every = 20.0,
    once: Once = False,
    allow: Allow = None,
) -> None:
    """Pass over the test set again and again, while the gates train."""
    _passes(Mode.TEST, network, bootstrap_servers, data, data_dir, every, once, allow)


def _passes(
    mode: Mode,
    network: str | None,
    servers: str | None,
    data: str | None,
    data_dir: Path | None,
    every: float,
    once: bool,
    allow: list[str] | None,
) -> None:
    wanted = Wanted(data, None, data_dir)
    _run(servers, allow, partial(_evaluate, name=network, wanted=wanted, mode=mode, every=every, once=once))


if __name__ == "__main__":
    app()
