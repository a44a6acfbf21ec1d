"""Networks on a broker: define, find, claim lanes, reset. A network is there when its definition is readable."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import akkafka
from akkafka.broker.base import Broker, BrokerUnavailableError, DeliveryError, TopicPartition, TopicSpec
from akkafka.broker.reading import read_to_end, reading
from akkafka.errors import ConfigError, NetworkError, ProtocolError
from akkafka.protocol import wire
from akkafka.protocol.definition import NAME, Definition, parse_definition
from akkafka.protocol.messages import Defined, LaneClaim, Mode, Run
from akkafka.protocol.sources import PackageError
from akkafka.protocol.topics import Topics, network_of

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network as its definition topic tells it."""

    name: str
    run: Run
    definition: Definition
    topics: Topics
    claims: dict[int, LaneClaim]  # lane -> who has it; the first claim of a lane
    keep_log: bool = False  # nothing is trimmed, so that a replay can begin with the definition

    def lanes_of(self, mode: Mode) -> list[int]:
        """Lanes of a role: the definition's and the claimed ones."""
        return [*self.definition.plan.of(mode), *sorted(n for n, c in self.claims.items() if c.mode is mode)]

    @property
    def lane_count(self) -> int:
        """Partitions of every edge topic."""
        return self.definition.plan.count

    @property
    def gate_count(self) -> int:
        """Gates of the chain."""
        return len(self.definition.gates)


def name_for(definition: Definition) -> str:
    """The name of a network that nobody has named: the config's name and a short hash of the definition."""
    return f"{definition.name}-{definition.hash[:6]}"


def check_name(name: str) -> str:
    """`name`, or ConfigError."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"network name {name!r}: takes lower-case letters, digits, '-' and '_', at most 80")
    return name


async def networks(broker: Broker) -> list[str]:
    """Names of all networks on the broker."""
    return sorted(name for topic in await broker.topics() if (name := network_of(topic)))


async def load(broker: Broker, name: str) -> Network | None:
    """The network of that name, or None if nothing is defined under it."""
    topic = Topics(name).definition
    if topic not in await broker.topics():
        return None
    where = TopicPartition(topic, 0)
    found: Network | None = None
    async with reading(broker, f"definition-{name}") as reader:
        async for record in read_to_end(broker, reader, where):
            try:
                message = wire.decode(record.value)
            except wire.ForeignBytesError:
                continue
            if isinstance(message, Defined) and found is None:
                found = _network(name, message)
            elif isinstance(message, LaneClaim) and found is not None and _valid_claim(found, message):
                found.claims.setdefault(message.lane, message)
    return found


def _network(name: str, message: Defined) -> Network:
    try:
        definition = parse_definition(message.definition)
    except PackageError as error:
        raise NetworkError(f"network {name!r}: {error}", hint=error.hint) from error
    except ConfigError as error:
        raise NetworkError(
            f"network {name!r} was defined by akkafka {message.akkafka}, this is {akkafka.__version__}: {error}",
            hint="Run the same version everywhere, and bring your own layers and data sets along (--allow).",
        ) from error
    topics = Topics(name, len(definition.gates), definition.plan.count)
    if bytes.fromhex(definition.hash)[:8] != message.run.definition:
        raise ProtocolError(f"network {name!r}: its definition does not have the hash that its run names")
    return Network(name, message.run, definition, topics, {}, message.keep_log)


def _valid_claim(network: Network, claim: LaneClaim) -> bool:
    return claim.run == network.run and claim.lane in network.definition.plan.spare


async def find(broker: Broker, name: str | None) -> Network | None:
    """The network of that name, or the only one there is; None if there is none yet.

    Raises NetworkError if there are several and no name was given.
    """
    if name is not None:
        return await load(broker, check_name(name))
    names = await networks(broker)
    if len(names) > 1:
        raise NetworkError(
            f"there are {len(names)} networks on this broker: {', '.join(names)}", hint="Choose one with --network."
        )
    return await load(broker, names[0]) if names else None


async def wait_for(broker: Broker, name: str | None, say: Say, *, every: float = 0.5) -> Network:
    """The network, as soon as it is defined; says what it waits for."""
    told = 0.0
    started = time.monotonic()
    while True:
        try:
            network = await find(broker, name)
        except BrokerUnavailableError as error:
            network, waiting_for = None, f"the broker ({error})"
        else:
            waiting_for = f"a definition of network {name!r}" if name else "a network to be defined"
        if network is not None:
            return network
        now = time.monotonic()
        if not told or now - told >= 5.0:
            told = now
            say(f"waiting for {waiting_for} ({now - started:.0f} s); `akkafka define CONFIG.toml` defines one")
        await asyncio.sleep(every)


async def define(broker: Broker, definition: Definition, name: str, *, keep_log: bool = False) -> Network:
    """Create the topics and publish the definition; the network that is there afterwards, whoever defined it.

    Raises NetworkError if another definition stands under that name, or one whose log is not kept as is asked for.
    """
    topics = Topics(check_name(name), len(definition.gates), definition.plan.count)
    specs = [TopicSpec(t.name, t.partitions, t.settings) for t in topics.all(definition.largest_bytes)]
    network = await load(broker, name)
    if network is None:
        await broker.create(specs)
        await _publish(broker, topics, definition, keep_log)
        network = await load(broker, name)
    if network is None:
        raise NetworkError(
            f"network {name!r} was defined but cannot be read", hint="`akkafka topics` shows what is there."
        )
    if network.definition.hash != definition.hash:
        differences = "\n".join(f"  {line}" for line in differing(network.definition, definition))
        raise NetworkError(
            f"network {name!r} is there with another definition:\n{differences}",
            hint=f"Take another --network name, or `akkafka reset --network {name}` if its weights may go.",
        )
    if keep_log and not network.keep_log:
        raise NetworkError(
            f"network {name!r} is there, and its log has been trimmed since: it was defined without --keep-log",
            hint=f"Leave --keep-log out, or `akkafka reset --network {name}` and define it anew.",
        )
    await broker.create(specs)
    return network


async def _publish(broker: Broker, topics: Topics, definition: Definition, keep_log: bool) -> None:
    created_ms = int(time.time() * 1000)
    message = Defined(definition.new_run(), definition.canonical, akkafka.__version__, created_ms, keep_log)
    producer = await broker.producer("define")
    try:
        await producer.send(TopicPartition(topics.definition, 0), wire.encode(message))
    finally:
        await producer.close()


def differing(there: Definition, wanted: Definition) -> list[str]:
    """A line for each key in which two definitions differ."""
    old, new = _flat(json.loads(there.canonical)), _flat(json.loads(wanted.canonical))
    return [
        f"{key}: there {old.get(key, 'nothing')!r}, wanted {new.get(key, 'nothing')!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, ...) != new.get(key, ...)
    ]


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if isinstance(value, dict):
        parts = [_flat(v, f"{prefix}.{k}" if prefix else k) for k, v in value.items()]
    elif isinstance(value, list) and any(isinstance(v, dict | list) for v in value):
        parts = [_flat(v, f"{prefix}.{i}") for i, v in enumerate(value)]
    else:
        return {prefix: value}
    return {key: v for part in parts for key, v in part.items()}


async def claim_lane(broker: Broker, network: Network, mode: Mode, source: str, claimant: str) -> Network:
    """The network with a spare lane claimed for data of one's own; raises NetworkError if none is free.

    A claim with the same source by a process that is gone is taken over: claims belong to sources, not to processes.
    """
    if network.definition.schedule.kind == "fixed" and mode.training:
        raise NetworkError(
            f"network {network.name!r} has the fixed schedule: its training lanes are those of the definition",
            hint="Give all training data in the definition, or use schedule.kind = 'arrival'.",
        )
    network = await reload(broker, network)  # claims and resets since it was read
    for lane in network.definition.plan.spare:
        if lane not in network.claims:
            network = await _claimed(broker, network, LaneClaim(network.run, lane, mode, source, claimant))
        held = network.claims[lane]
        if held.mode is mode and held.source == source:
            return network
    raise _no_lane(network)


async def _claimed(broker: Broker, network: Network, claim: LaneClaim) -> Network:
    """The network after the claim was sent; whose the lane is, the log decides."""
    producer = await broker.producer("claim")
    try:
        await producer.send(TopicPartition(network.topics.definition, 0), wire.encode(claim))
    except DeliveryError:  # the network may be gone, or only the acknowledgement
        network = await reload(broker, network)
        if claim.lane not in network.claims:
            raise
        return network
    finally:
        await producer.close()
    return await reload(broker, network)


def _no_lane(network: Network) -> NetworkError:
    if not network.definition.plan.spare:
        why = "none was defined"
    else:
        why = "; ".join(f"lane {lane}: {claim.source[:80]!r}" for lane, claim in sorted(network.claims.items()))
    return NetworkError(
        f"network {network.name!r} has no spare lane left for data of your own ({why})",
        hint="Define it with more of them: [lanes] spare = N. A lane stays with its data until the network is reset.",
    )


async def reload(broker: Broker, network: Network) -> Network:
    """The network as it is now; raises NetworkError if it was reset meanwhile."""
    now = await load(broker, network.name)
    if now is None or now.run != network.run:
        raise NetworkError(
            f"network {network.name!r} was reset while this process worked for it", hint="Start the process again."
        )
    return replace(now)


async def reset(broker: Broker, name: str) -> list[str]:
    """Delete all topics of a network; returns their names."""
    prefix = f"{Topics(check_name(name)).definition.removesuffix('definition')}"
    names = [topic for topic in await broker.topics() if topic.startswith(prefix)]
    await broker.delete(names)
    return names
