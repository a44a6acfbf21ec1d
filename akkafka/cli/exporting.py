"""`akkafka export`: a network's weights, or its whole evaluation as a graph, as a file that others read."""

from __future__ import annotations

import asyncio
from pathlib import Path

from akkafka.broker.base import Broker
from akkafka.broker.network import Network, find
from akkafka.cli.console import say
from akkafka.cli.locating import locate, reached
from akkafka.cli.networks import missing
from akkafka.cli.options import Where
from akkafka.cli.training.report import check_writable
from akkafka.errors import ConfigError, NetworkError
from akkafka.exchange.files import SUFFIXES, needed, write_npz, write_safetensors, write_torch
from akkafka.exchange.onnx_graph import onnx_model
from akkafka.exchange.torch_names import to_torch
from akkafka.exchange.weights import Weights, facts_of
from akkafka.nn.registry import nearest
from akkafka.protocol.definition import Definition

SUFFIX_OF = {"npz": ".npz", "safetensors": ".safetensors", "torch": ".pt", "onnx": ".onnx"}
NEEDS = {"safetensors": ("safetensors", "export"), "onnx": ("onnx", "export"), "torch": ("torch", "torch")}


def export(form: str | None, out: Path | None, name: str | None, where: Where) -> None:
    """Write the weights that the log holds now, whether gates are at work or not; prints the file's name first."""
    form = chosen(form, out)
    if form in NEEDS:
        needed(NEEDS[form][0], NEEDS[form][1], f"--format {form}")
    check_writable(out)

    async def work() -> tuple[Network, Weights]:
        async with reached(locate(where, say)) as broker:
            network = await find(broker, name)
            if network is None:
                raise missing(name) if name else NetworkError("no network is defined on this broker")
            return network, await weights_of(broker, network)

    network, weights = asyncio.run(work())
    path = out or Path(f"{network.name}{SUFFIX_OF[form]}")
    check_writable(path)
    write(path, form, network.definition, weights)
    print(path)
    print(f"network {network.name!r}, run {network.run}, versions {weights.facts['versions']}")


def chosen(form: str | None, out: Path | None) -> str:
    """The format asked for, or the one that the file's name tells; safetensors by default. Raises ConfigError."""
    if form is not None:
        if form not in SUFFIX_OF:
            raise ConfigError(f"--format {form!r}: unknown", hint=nearest(form, SUFFIX_OF))
        return form
    if out is None:
        return "safetensors"
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--out {out}: which format?", hint=f"Say --format {' or '.join(SUFFIX_OF)}.")
    return SUFFIXES[out.suffix.lower()]


async def weights_of(broker: Broker, network: Network) -> Weights:
    """The weights of all gates as the log has them now, each gate at a version of its own."""
    from akkafka.gate.restore import restore

    states = [(await restore(broker, network, gate)).state for gate in range(network.gate_count)]
    names = [gate.name for gate in network.definition.gates]
    versions = {name: state.version for name, state in zip(names, states, strict=True)}
    gates = {name: state.params for name, state in zip(names, states, strict=True)}
    return Weights(gates, facts_of(network.name, network.run, network.definition, versions))


def write(path: Path, form: str, definition: Definition, weights: Weights) -> None:
    """Write one of the formats; raises ConfigError for what it cannot hold."""
    if form == "onnx":
        path.write_bytes(onnx_model(definition, weights).SerializeToString())
    elif form == "torch":
        write_torch(path, to_torch(definition, weights.gates), weights.facts)
    elif form == "safetensors":
        write_safetensors(path, weights.flat, weights.facts)
    else:
        write_npz(path, weights.flat, weights.facts)
