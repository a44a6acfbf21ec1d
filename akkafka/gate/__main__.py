"""`python -m akkafka.gate --layer 2`: host one or several gates of a network in this process."""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # before numpy comes in: gates share a machine's cores

import asyncio
import re
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Annotated

import typer

from akkafka.broker.base import OffsetGoneError
from akkafka.broker.connection import Connection
from akkafka.broker.expected import prepare
from akkafka.broker.library import Library
from akkafka.broker.network import Network, wait_for
from akkafka.broker.patience import patiently
from akkafka.broker.process import Host, process_name, run_process, say, tell
from akkafka.broker.side import SideChannel
from akkafka.broker.trimming import Overtaken
from akkafka.errors import AkkafkaError, ConfigError
from akkafka.gate.model import Model
from akkafka.gate.numerics import share_out
from akkafka.gate.shell import Gate, library_for
from akkafka.gate.standby import Watch, stand_by, step_down
from akkafka.nn.allow import allow_packages
from akkafka.protocol.definition import Definition
from akkafka.protocol.figures import GateFigures

STANDBY_PATIENCE_S = 5.0
HOSTED: type[Gate] = Gate  # `bench cost` hosts another kind
STOCK_S = 1.0  # between two looks for a published data set
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")

Layers = Annotated[
    list[str], typer.Option("--layer", "-l", help="Gate to host: 2, or a range 0-2; may be given several times.")
]
NetworkName = Annotated[str | None, typer.Option("--network", help="The network; not needed if there is only one.")]
Servers = Annotated[
    str | None,
    typer.Option("--bootstrap-servers", help="Kafka as host:port; else KAFKA_BOOTSTRAP_SERVERS, else localhost:9092."),
]
Allow = Annotated[
    list[str] | None, typer.Option("--allow", help="Package whose layers and optimizers may be used (import name).")
]


Standby = Annotated[bool, typer.Option("--standby", help="Leave the work to another process as long as one does it.")]
NoStandby = Annotated[bool, typer.Option("--no-standby", hidden=True, help="Work, whoever else does: for tests.")]


@dataclass(frozen=True, slots=True)
class Manner:
    """How a process minds others that host the same gate."""

    patience_s: float = 0.0  # at first: for somebody else to begin the work
    alone: bool = False  # not at all: it works, whoever else does


def gates_of(layers: list[str]) -> list[int]:
    """The numbers in ["0", "2-3"]; raises ConfigError."""
    found: set[int] = set()
    for text in layers:
        match = _RANGE.fullmatch(text.strip())
        if match is None:
            raise ConfigError(f"--layer {text}: takes a number, or a range such as 0-2")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ConfigError(f"--layer {text}: the range ends before it begins")
        found.update(range(first, last + 1))
    return sorted(found)


def check_gates(network: Network, gates: list[int]) -> None:
    """Raise ConfigError for a gate that the network does not have."""
    count = network.gate_count
    beyond = [gate for gate in gates if gate >= count]
    if beyond:
        named = ", ".join(f"{i} ({gate.name})" for i, gate in enumerate(network.definition.gates))
        raise ConfigError(
            f"--layer {beyond[0]}: network {network.name!r} has {count} gates: {named}",
            hint=f"Gates are counted from 0 to {count - 1}.",
        )


async def host_gates(host: Host, network_name: str | None, gates: list[int], manner: Manner = Manner()) -> int:
    """Host the gates until asked to leave."""
    asyncio.get_running_loop().run_in_executor(None, import_module, "numba")  # 0.3 s, while the broker is asked
    prepare(partial(_load_kernels, gates))
    broker = await host.reach()
    waiting = asyncio.create_task(wait_for(broker, network_name, say))
    leaving = asyncio.create_task(host.leave.wait())
    await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if not waiting.done():
        waiting.cancel()
        return 0
    leaving.cancel()
    network = waiting.result()
    check_gates(network, gates)
    say(f"network {network.name!r}, run {network.run}")
    threads = share_out(network.definition.layers[gate] for gate in gates)
    async with asyncio.TaskGroup() as group:
        for gate in gates:
            group.create_task(_host_gate(host, network, gate, manner, threads, shared=len(gates) > 1))
    return 0


def _load_kernels(gates: list[int], definition: Definition) -> None:
    """Those that the gates need."""
    for gate in gates:
        Model(definition, gate, definition.new_run(), "").warm_up()


async def _host_gate(host: Host, network: Network, gate: int, manner: Manner, threads: int, *, shared: bool) -> None:
    """Work on the gate whenever nobody else does; `shared`: beside other gates."""
    broker = host.broker
    assert broker is not None, "host_gates has reached the broker"
    overtaken = Overtaken(say)
    library = library_for(broker, network, process_name(f"gate-{gate}"))
    while not host.leave.is_set():
        process = process_name(f"gate-{gate}")
        watch = Watch(broker, network, gate, process)
        side = SideChannel(broker, network, process)
        working = asyncio.Event()
        warming = asyncio.create_task(_warm(network, gate, library, working))
        try:
            await patiently(watch.open, host.leave)
            if not manner.alone:
                name, host_name = network.definition.gates[gate].name, socket.gethostname()
                figures = GateFigures(gate=gate, name=name, state="standby", host=host_name, pid=os.getpid())
                await stand_by(watch, side, figures, host.leave, say, patience_s=manner.patience_s)
                manner = Manner()
            await side.close()
            working.set()
            if not host.leave.is_set():
                hosted = HOSTED(broker, network, gate, process, library, shared=shared, threads=threads)
                await _work(host, watch, hosted, process, manner)
        except OffsetGoneError as error:
            overtaken.begin_anew(error)
        finally:
            warming.cancel()
            await asyncio.gather(side.close(), watch.close(), warming, return_exceptions=True)


async def _warm(network: Network, gate: int, library: Library, working: asyncio.Event) -> None:
    """Have kernels and samples at hand before they are needed: what a standby would lose at take-over."""
    with suppress(Exception):  # the compute thread makes the same attempt, and tells
        await asyncio.to_thread(Model(network.definition, gate, network.run, "").warm_up)
    while gate == 0 and not working.is_set():  # other gates get no samples
        with suppress(AkkafkaError):  # whoever works needs them, and tells
            if await library.stock():
                return
        await asyncio.sleep(STOCK_S)


async def _work(host: Host, watch: Watch, gate: Gate, process: str, manner: Manner) -> None:
    """Work until asked to leave, or until an older process is seen to work on the same gate."""
    leave = asyncio.Event()
    helpers = [asyncio.create_task(_relay(host.leave, leave))]
    if not manner.alone:
        helpers.append(asyncio.create_task(step_down(watch, process, leave)))
    try:
        await gate.run(leave)
    finally:
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)


async def _relay(source: asyncio.Event, target: asyncio.Event) -> None:
    await source.wait()
    target.set()


def run(
    layer: Layers,
    network: NetworkName = None,
    bootstrap_servers: Servers = None,
    allow: Allow = None,
    standby: Standby = False,
    no_standby: NoStandby = False,
) -> None:
    """Host gates of a network: they work as soon as broker and definition are there, in any order of start."""
    try:
        gates = gates_of(layer)
        allow_packages(allow or [])
        connection = Connection.load({"bootstrap_servers": bootstrap_servers})
    except AkkafkaError as error:
        sys.exit(tell(error))

    manner = Manner(STANDBY_PATIENCE_S if standby else 0.0, alone=no_standby)

    async def main(host: Host) -> int:
        try:
            return await host_gates(host, network, gates, manner)
        except* AkkafkaError as group:
            raise _first(group) from group

    sys.exit(run_process(connection, main))


def _first(group: BaseExceptionGroup[AkkafkaError]) -> AkkafkaError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, AkkafkaError), "the group was split by this type"
    return error


if __name__ == "__main__":
    typer.run(run)
