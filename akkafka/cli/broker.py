"""`akkafka broker …`: the embedded Apache Kafka, by hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from akkafka.broker.embedded import BrokerSettings, BrokerStatus, run_foreground
from akkafka.broker.embedded import start as start_broker
from akkafka.broker.embedded import status as look
from akkafka.broker.embedded import stop as stop_broker
from akkafka.cli.console import say, size
from akkafka.cli.locating import broker_home
from akkafka.errors import BrokerError

STILL_USED = 1  # exit code of `stop` when the broker goes on for others


def foreground(state_dir: Path | None, port: int | None) -> int:
    """Until Ctrl-C or SIGTERM."""
    return run_foreground(BrokerSettings(broker_home(state_dir), port), lambda line: print(line, flush=True))


def start(state_dir: Path | None, port: int | None) -> None:
    """Start it, or join it; the address is the last line, and the only one on stdout."""
    print(start_broker(BrokerSettings(broker_home(state_dir), port), say))


def stop(state_dir: Path | None, force: bool) -> int:
    """0 if no broker runs any more."""
    return 0 if stop_broker(broker_home(state_dir), say, force=force) else STILL_USED


def where(state_dir: Path | None) -> None:
    """The address on the first line; raises BrokerError if no broker runs."""
    found = look(broker_home(state_dir))
    if not found.running or found.bootstrap is None:
        raise BrokerError(f"no broker runs in {found.state_dir}", hint="`akkafka broker start` starts one.")
    print(found.bootstrap)
    print(found.state_dir)


def status(state_dir: Path | None, as_json: bool) -> int:
    """0 if it runs, else 1."""
    found = look(broker_home(state_dir))
    if as_json:
        print(json.dumps({**dataclasses.asdict(found), "state_dir": str(found.state_dir)}, indent=2))
    else:
        print("\n".join(_lines(found)))
    return 0 if found.running else 1


def _lines(found: BrokerStatus) -> list[str]:
    facts = {
        "state": "has never run" if found.phase == "none" else found.phase,
        "address": found.bootstrap,
        "kafka": found.version,
        "process": f"{found.pid} (java {found.jvm_pid})" if found.pid else None,
        "users": ", ".join(f"pid {pid}" for pid in found.leases) or ("held by `broker start`" if found.held else None),
        "restarts": str(found.restarts) if found.restarts else None,
        "data": f"{size(found.data_bytes)} in {found.state_dir}",
        "problem": found.problem,
    }
    return [f"{name:9} {value}" for name, value in facts.items() if value is not None]
