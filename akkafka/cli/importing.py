"""`akkafka import` and `train --weights`: a network that begins with weights from a file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from akkafka.broker.network import Network, check_name, define, name_for
from akkafka.cli.console import say
from akkafka.cli.locating import locate, reached
from akkafka.cli.options import Where
from akkafka.exchange.files import SUFFIXES, read
from akkafka.exchange.fitting import fitted
from akkafka.exchange.torch_names import from_torch
from akkafka.exchange.weights import Arrays
from akkafka.nn.layer import F32
from akkafka.protocol.config import Config
from akkafka.protocol.definition import Definition


@dataclass(frozen=True, slots=True)
class Source:
    """Where weights come from, and which of them are wanted."""

    file: Path
    gates: tuple[str, ...] = ()  # none: all that the file has something of
    by_order: bool = False
    torch_names: bool = False  # also in files that are no .pt


def begun(config: Config, source: Source, tell: Callable[[str], None]) -> tuple[Config, Mapping[str, F32]]:
    """The config of a network that begins with the file's weights, and these as they are published, by gate.

    Raises ConfigError or DataError that tells what does not fit.
    """
    from akkafka.gate.beginning import beginning_with  # brings the layers' kernels in

    found = fitted(config.definition, arrays_of(config.definition, source), source.gates, str(source.file))
    definition, flats = beginning_with(config.definition, found.gates)
    tell(f"{source.file}: weights for {', '.join(found.gates)}")
    if found.drawn:
        tell(f"drawn from the seed, as the file has nothing of them: {', '.join(found.drawn)}")
    frozen = [gate.name for gate in definition.gates if not gate.trainable]
    if frozen:
        tell(f"frozen: {', '.join(frozen)}")
    return replace(config, definition=definition), flats


def arrays_of(definition: Definition, source: Source) -> Arrays:
    """The file's arrays as "<gate>.<param>"; what does not fit keeps its name."""
    arrays: dict[str, Any] = dict(read(source.file).arrays)
    torch = source.torch_names or source.by_order or SUFFIXES.get(source.file.suffix.lower()) == "torch"
    return from_torch(definition, arrays, by_order=source.by_order) if torch else arrays


def import_weights(config: Config, source: Source, name: str | None, where: Where, *, keep_log: bool) -> None:
    """Define a network that begins with the file's weights, and put them into its log; prints its name first."""
    from akkafka.gate.beginning import publish_weights

    config, flats = begun(config, source, say)
    wanted = check_name(name or name_for(config.definition))

    async def work() -> Network:
        async with reached(locate(where, say)) as broker:
            network = await define(broker, config.definition, wanted, keep_log=keep_log)
            await publish_weights(broker, network, flats, say)
            return network

    network = asyncio.run(work())
    print(network.name)
    print(f"definition {network.definition.hash[:12]}, run {network.run}, {network.gate_count} gates")
