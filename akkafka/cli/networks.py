"""The commands about networks as wholes: define, networks, topics, reset."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from akkafka.broker.base import Broker, TopicPartition
from akkafka.broker.network import Network, check_name, find, load, name_for
from akkafka.broker.network import define as define_on
from akkafka.broker.network import networks as names_on
from akkafka.broker.network import reset as reset_on
from akkafka.cli.console import say, table
from akkafka.cli.locating import locate, reached
from akkafka.cli.options import Where
from akkafka.errors import AkkafkaError, ConfigError, NetworkError
from akkafka.protocol.config import Config, load_config
from akkafka.protocol.messages import Mode
from akkafka.protocol.topics import PREFIX


def configured(path: Path | None, overrides: Sequence[str], seed: int | None, data_dir: Path | None) -> Config:
    """The configuration with the flags' changes; `--seed` wins over `--set seed=…`."""
    seeds = [] if seed is None else [f"seed={seed}"]
    return load_config(path, [*overrides, *seeds], data_dir=data_dir)


def define(config: Config, name: str | None, where: Where, *, keep_log: bool = False) -> None:
    """Create topics and publish the definition; prints the network's name on the first line."""
    wanted = name or name_for(config.definition)
    check_name(wanted)

    async def work() -> Network:
        async with reached(locate(where, say)) as broker:
            return await define_on(broker, config.definition, wanted, keep_log=keep_log)

    network = asyncio.run(work())
    print(network.name)
    print(f"definition {network.definition.hash[:12]}, run {network.run}, {network.gate_count} gates")


def networks(where: Where, as_json: bool) -> None:
    """A line for each network of the broker."""

    async def work() -> list[dict[str, object]]:
        async with reached(locate(where, say)) as broker:
            return [await _described(broker, name) for name in await names_on(broker)]

    found = asyncio.run(work())
    if as_json:
        print(json.dumps(found, indent=2))
    elif not found:
        print("no network is defined on this broker; `akkafka define CONFIG.toml` or `akkafka train` makes one")
    else:
        print("\n".join(table(("network", "definition", "gates", "lanes", "run"), [_row(entry) for entry in found])))


async def _described(broker: Broker, name: str) -> dict[str, object]:
    try:
        network = await load(broker, name)
    except AkkafkaError as error:  # one unreadable network must not hide the others
        return {"network": name, "problem": str(error)}
    if network is None:
        return {"network": name, "problem": "its definition topic is empty"}
    return {
        "network": name,
        "definition": network.definition.hash,
        "gates": [gate.name for gate in network.definition.gates],
        "lanes": {str(mode): network.lanes_of(mode) for mode in Mode},
        "run": str(network.run),
    }


def _row(entry: dict[str, object]) -> tuple[str, ...]:
    if "problem" in entry:
        return str(entry["network"]), "-", "-", "-", f"({entry['problem']})"
    gates, lanes = entry["gates"], entry["lanes"]
    assert isinstance(gates, list) and isinstance(lanes, dict), "as _described makes them"
    shared = ", ".join(f"{mode} {len(numbers)}" for mode, numbers in lanes.items() if numbers)
    return str(entry["network"]), str(entry["definition"])[:12], " ".join(gates), shared, str(entry["run"])


def topics(name: str | None, where: Where, as_json: bool) -> None:
    """Topics with their partitions and records held; of one network, or of all."""

    async def work() -> list[tuple[str, int, int]]:
        async with reached(locate(where, say)) as broker:
            network = await find(broker, name) if name else None
            if name and network is None:
                raise missing(name)
            start = f"{PREFIX}.{name}." if name else f"{PREFIX}."
            found = {topic: n for topic, n in sorted((await broker.topics()).items()) if topic.startswith(start)}
            return await _held(broker, found)

    rows = asyncio.run(work())
    if as_json:
        print(json.dumps([{"topic": t, "partitions": n, "records": held} for t, n, held in rows], indent=2))
    elif rows:
        print("\n".join(table(("topic", "partitions", "offsets held"), [(t, str(n), str(h)) for t, n, h in rows])))
    else:
        print("no topic of akkafka is on this broker")


async def _held(broker: Broker, topics: dict[str, int]) -> list[tuple[str, int, int]]:
    parts = [TopicPartition(topic, i) for topic, count in topics.items() for i in range(count)]
    bounds = await broker.bounds(parts) if parts else {}
    held = dict.fromkeys(topics, 0)
    for where, (low, high) in bounds.items():
        held[where.topic] += high - low
    return [(topic, count, held[topic]) for topic, count in topics.items()]


def missing(name: str) -> NetworkError:
    """No network of that name."""
    return NetworkError(
        f"there is no network {name!r} on this broker",
        hint="`akkafka networks` lists them; `akkafka define` makes one.",
    )


def reset(name: str, where: Where, sure: bool) -> None:
    """Delete all topics of a network, after asking."""
    check_name(name)

    async def work() -> list[str]:
        async with reached(locate(where, say)) as broker:
            there = [topic for topic in await broker.topics() if topic.startswith(f"{PREFIX}.{name}.")]
            if not there:
                raise missing(name)
            if not sure and not _agreed(f"delete network {name!r} with its weights ({len(there)} topics)?"):
                return []
            return await reset_on(broker, name)

    gone = asyncio.run(work())
    print(f"network {name!r} is gone ({len(gone)} topics)" if gone else "nothing was deleted")


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError("reset deletes weights, and nobody can be asked here", hint="Say --yes if you mean it.")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
