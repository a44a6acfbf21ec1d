"""`akkafka replay`: a gate's weights, rebuilt from the log and compared with those that it served."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from akkafka.audit.replay import Replayed
from akkafka.audit.replay import replay as replay_from
from akkafka.broker.network import Network, find
from akkafka.cli.console import say
from akkafka.cli.locating import locate, reached
from akkafka.cli.networks import missing
from akkafka.cli.options import Where
from akkafka.cli.training.report import weights_sha256
from akkafka.errors import ConfigError, NetworkError

NOT_EQUAL = 8  # as ReplayError


def replay(name: str | None, gate: int, where: Where, *, to: int | None, from_zero: bool, as_json: bool) -> int:
    """Print what was rebuilt and what it equals; 0 only if it equals all there is to compare with."""

    async def work() -> tuple[Network, Replayed]:
        async with reached(locate(where, say)) as broker:
            network = await find(broker, name)
            if network is None:
                raise missing(name) if name else NetworkError("there is no network on this broker")
            if gate >= network.gate_count:
                raise ConfigError(f"--gate {gate}: network {network.name!r} has gates 0 to {network.gate_count - 1}")
            return network, await replay_from(broker, network, gate, to=to, from_zero=from_zero)

    network, found = asyncio.run(work())
    print(
        json.dumps(facts_of(network, gate, found), indent=2) if as_json else "\n".join(lines_of(network, gate, found))
    )
    return 0 if found.equal else NOT_EQUAL


def facts_of(network: Network, gate: int, found: Replayed) -> dict[str, Any]:
    """The result as plain JSON values."""
    return {
        "network": network.name,
        "run": str(network.run),
        "gate": gate,
        "began_with": found.began,
        "records_from_offset": found.first_offset,
        "first_version": found.first_version,
        "version": found.state.version,
        "history": found.state.chain.hex(),
        "weights_sha256": weights_sha256(found.state.params),
        "compared": [
            {"with": c.what, "version": c.version, "equal": not c.differs, "differs": list(c.differs)}
            for c in found.checks
        ],
        "notes": list(found.notes),
        "equal": found.equal,
    }


def lines_of(network: Network, gate: int, found: Replayed) -> list[str]:
    """The result for people."""
    title = f"gate {gate} ({network.definition.gates[gate].name}) of network {network.name!r}"
    lines = [
        f"{title}: version {found.state.version} rebuilt from {found.began}; records seen from version "
        f"{found.first_version} (journal offset {found.first_offset}) on",
        f"weights sha256 {weights_sha256(found.state.params)}, history {found.state.chain.hex()}",
    ]
    for check in found.checks:
        lines.append(f"{'not equal' if check.differs else 'equal'}: {check.what}")
        lines += [f"  {difference}" for difference in check.differs]
    lines += [f"note: {note}" for note in found.notes]
    if not found.checks:
        lines.append(
            "nothing to compare with: no gate has saved a state behind the one that this began with. Wait for the next "
            "snapshot, or stop the gates: they save their state when they leave."
        )
    return lines
