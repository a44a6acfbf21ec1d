"""`akkafka status`: who works, how far, and what waits, as the beats of the last seconds and the log tell it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from akkafka.broker.base import Broker, Cluster, TopicPartition
from akkafka.broker.network import Network, find, load
from akkafka.broker.network import networks as names_on
from akkafka.broker.reading import last_records, reading
from akkafka.cli.console import say, size, spoiled_words, table
from akkafka.cli.locating import locate, reached
from akkafka.cli.networks import missing
from akkafka.cli.options import Where
from akkafka.cli.training.tail import figures_of
from akkafka.protocol.figures import Body, GateFigures, SentinelFigures
from akkafka.protocol.messages import Mode
from akkafka.sentinel.lanes import passing_places, training_places

FRESH_MS = 2000  # a process that has not beaten for so long is not up
BEATS = 60  # records of the metrics topic to be read, for each gate and some sentinels: ten seconds and more
WATCH_S = 1.0

Heard = Mapping[str, tuple[int, Body]]  # process -> (age in ms, its newest gate or sentinel figures)
Facts = dict[str, Any]  # plain JSON values


def status(name: str | None, where: Where, *, as_json: bool, watch: bool) -> None:
    """Print it once, or every second."""
    connection = locate(where, say)

    async def work() -> None:
        async with reached(connection) as broker:
            while True:
                cluster = await broker.cluster()
                found = [await look(broker, network) for network in await _networks(broker, name)]
                facts = {"broker": _broker(cluster, connection.bootstrap_servers), "networks": found}
                _print(facts, as_json, watch)
                if not watch:
                    return
                await asyncio.sleep(WATCH_S)

    asyncio.run(work())


async def _networks(broker: Broker, name: str | None) -> list[Network]:
    if name is not None:
        network = await find(broker, name)
        if network is None:
            raise missing(name)
        return [network]
    found = [await load(broker, each) for each in await names_on(broker)]
    return [network for network in found if network is not None]


def _print(facts: Facts, as_json: bool, watch: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=None if watch else 2), flush=True)
        return
    clear = "\x1b[2J\x1b[H" if watch else ""
    print(clear + "\n".join(lines_of(facts)), flush=True)


def _broker(cluster: Cluster, servers: str) -> Facts:
    return {
        "bootstrap_servers": servers,
        "cluster_id": cluster.cluster_id,
        "brokers": cluster.brokers,
        "version": cluster.version,
    }


# --- facts ----------------------------------------------------------------------------------------


async def look(broker: Broker, network: Network) -> Facts:
    """All there is to say about a network now."""
    heard = await _heard(broker, network)
    lanes = lanes_told(heard)
    for mode in Mode:
        silent = [lane for lane in network.lanes_of(mode) if lane not in lanes]
        places = await (training_places if mode.training else passing_places)(broker, network, silent)
        lanes |= {
            lane: (place.standing.issued, place.standing.home if mode.training else place.standing.answered)
            for lane, place in places.items()
        }
    return described(network, heard, lanes)


async def _heard(broker: Broker, network: Network) -> Heard:
    where = TopicPartition(network.topics.metrics, 0)
    async with reading(broker, "status") as reader:
        records = (await last_records(broker, reader, [where], BEATS * (network.gate_count + 4)))[where]
    now_ms = int(time.time() * 1000)
    heard: dict[str, tuple[int, Body]] = {}
    for record in records:
        found = figures_of(network, record)
        if found is not None and isinstance(found[2], GateFigures | SentinelFigures):
            process, time_ms, body = found
            heard[process] = (max(0, now_ms - time_ms), body)
    return heard


def lanes_told(heard: Heard) -> dict[int, tuple[int, int]]:
    """Lane -> (issued, home) by the beats of those that are up."""
    told: dict[int, tuple[int, int]] = {}
    for age_ms, body in heard.values():
        if isinstance(body, SentinelFigures) and age_ms <= FRESH_MS:
            for lane in body.lanes:
                issued, home = told.get(lane.lane, (0, 0))
                told[lane.lane] = (max(issued, lane.issued), max(home, lane.home))
    return told


def described(network: Network, heard: Heard, lanes: Mapping[int, tuple[int, int]]) -> Facts:
    """The network as JSON; `lanes`: lane -> (issued, home)."""
    roles = {lane: mode for mode in Mode for lane in network.lanes_of(mode)}
    return {
        "network": network.name,
        "definition_hash": network.definition.hash,
        "run": str(network.run),
        "gates": [_gate(network, gate, heard, lanes) for gate in range(network.gate_count)],
        "lanes": [
            {"lane": lane, "role": str(roles[lane]), "issued": issued, "home": home, "open": max(0, issued - home)}
            for lane, (issued, home) in sorted(lanes.items())
            if lane in roles
        ],
        "sentinels": [
            _sentinel(process, age_ms, body)
            for process, (age_ms, body) in sorted(heard.items())
            if isinstance(body, SentinelFigures) and is_up(age_ms, body)
        ],
    }


def is_up(age_ms: int, body: GateFigures | SentinelFigures) -> bool:
    """It beats, and does not just say good-bye."""
    return age_ms <= FRESH_MS and body.state not in ("leaving", "finished")


def _gate(network: Network, gate: int, heard: Heard, lanes: Mapping[int, tuple[int, int]]) -> Facts:
    beats = [(age, body) for age, body in heard.values() if isinstance(body, GateFigures) and body.gate == gate]
    up = [(age, body) for age, body in beats if is_up(age, body)]
    name = network.definition.gates[gate].name
    if not beats:
        return {"gate": gate, "name": name, "up": False, "state": "down", "processes": 0}
    at_work = [(age, body) for age, body in up if body.state == "working"]
    age_ms, body = min(at_work or up or beats, key=lambda beat: beat[0])
    applied = dict(body.applied)
    return {
        "gate": gate,
        "name": name,
        "up": bool(up),
        "state": body.state if up else "down",
        "waiting_for": body.waiting_for if up else "",
        "processes": len(up),
        "heard_ms": age_ms,
        "version": body.version,
        "open": body.open if up else None,
        "behind": {
            lane: max(0, lanes[lane][0] - seq) for lane, seq in applied.items() if _trains(network, lane, lanes)
        },
        "voids": body.voids,
        "zeroed": body.zeroed,
        "staleness_mean": body.staleness_sum / body.updates if body.updates else 0.0,
        "busy": body.busy if up else 0.0,
        "rss_bytes": body.rss_bytes if up else 0,
        "dead_letters": body.dead_letters,
        "host": body.host,
        "pid": body.pid,
    }


def _trains(network: Network, lane: int, lanes: Mapping[int, tuple[int, int]]) -> bool:
    return lane in lanes and lane in network.lanes_of(Mode.TRAIN)


def _sentinel(process: str, age_ms: int, body: SentinelFigures) -> Facts:
    return {
        "process": process,
        "role": str(body.role),
        "state": body.state,
        "waiting_for": body.waiting_for,
        "lanes": [lane.lane for lane in body.lanes],
        "heard_ms": age_ms,
        "rss_bytes": body.rss_bytes,
        "dead_letters": body.dead_letters,
        "host": body.host,
        "pid": body.pid,
    }


# --- words ----------------------------------------------------------------------------------------


def lines_of(facts: Facts) -> list[str]:
    """For people."""
    broker = facts["broker"]
    lines = [f"broker {broker['bootstrap_servers']}: Kafka {broker['version']}, {broker['brokers']} node(s)"]
    if not facts["networks"]:
        return [*lines, "no network is defined; `akkafka define CONFIG.toml` or `akkafka train` makes one"]
    for network in facts["networks"]:
        lines += ["", *_network_lines(network)]
    return lines


def _network_lines(network: Facts) -> list[str]:
    up = sum(gate["up"] for gate in network["gates"])
    head = (
        f"network {network['network']}: {up} of {len(network['gates'])} gates up, {len(network['sentinels'])} sentinels"
    )
    gates = table(
        ("gate", "state", "version", "open", "behind", "staleness", "busy", "memory", "pid"), _gate_rows(network)
    )
    lanes = table(
        ("lane", "issued", "home", "open"),
        [
            (f"{lane['lane']} {lane['role']}", str(lane["issued"]), str(lane["home"]), str(lane["open"]))
            for lane in network["lanes"]
        ],
    )
    sentinels = [
        f"sentinel {s['role']} (pid {s['pid']} on {s['host']}): {s['state']}, lanes {s['lanes']}{_waits(s)}"
        for s in network["sentinels"]
    ]
    waiting = [f"gate {g['gate']}{_waits(g)}" for g in network["gates"] if g.get("waiting_for")]
    spoiled = [
        f"gate {g['gate']}, since pid {g['pid']} began: {told}"
        for g in network["gates"]
        if (told := spoiled_words(g.get("voids", 0), g.get("zeroed", 0)))
    ]
    return [head, *gates, "", *lanes, "", *(sentinels or ["no sentinel is up"]), *waiting, *spoiled]


def _gate_rows(network: Facts) -> Sequence[Sequence[str]]:
    rows = []
    for gate in network["gates"]:
        title = f"{gate['gate']} {gate['name']}"
        if "version" not in gate:
            rows.append((title, "down", *"-------"))
            continue
        state = gate["state"] if gate["up"] else f"down {gate['heard_ms'] / 1000:.0f} s"
        more = f" +{gate['processes'] - 1}" if gate["processes"] > 1 else ""
        rows.append(
            (
                title,
                state + more,
                str(gate["version"]),
                "-" if gate["open"] is None else str(gate["open"]),
                str(max(gate["behind"].values(), default=0)),
                f"{gate['staleness_mean']:.2f}",
                f"{gate['busy']:.0%}",
                size(gate["rss_bytes"]),
                str(gate["pid"]),
            )
        )
    return rows


def _waits(facts: Facts) -> str:
    return f", waiting for {facts['waiting_for']}" if facts["waiting_for"] else ""
