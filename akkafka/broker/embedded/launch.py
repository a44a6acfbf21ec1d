"""Brings a broker up: prepares its state directory, writes the supervisor's orders, and starts the supervisor."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from akkafka.broker.embedded.identity import format_data
from akkafka.broker.embedded.jvm import command
from akkafka.broker.embedded.place import Place, write_json
from akkafka.broker.embedded.ports import choose_ports
from akkafka.broker.embedded.properties import HOST, render, server_properties
from akkafka.broker.embedded.provisioning import Provision
from akkafka.broker.embedded.settings import MIB, BrokerSettings
from akkafka.broker.embedded.tidying import jcmd_of
from akkafka.errors import BrokerError

LEAST_FREE_BYTES = 256 * MIB
FRUGAL = {"MALLOC_ARENA_MAX": "2"}  # glibc keeps what a compiler's thread once needed in an arena of that thread


def prepare(state_dir: Path) -> Place:
    """The state directory, made if need be. Raises BrokerError if it cannot be written or the disk is nearly full."""
    place = Place(state_dir.expanduser().absolute())
    if any(sign in str(place.root) for sign in ",\n\r"):
        raise BrokerError(
            f"state directory {place.root}: Kafka takes no comma in a path", hint="choose another --state-dir"
        )
    try:
        for directory in (place.root, place.leases, place.logs):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.guard.touch()
    except OSError as error:
        raise unwritable(place, error) from error
    return place


def unwritable(place: Place, error: OSError) -> BrokerError:
    """The error for a state directory that the system refuses."""
    return BrokerError(
        f"cannot write to the broker's state directory {place.root}: {error.strerror or error}",
        hint="choose another one with --state-dir or AKKAFKA_STATE_DIR",
    )


def launch(
    place: Place,
    settings: BrokerSettings,
    provided: Provision,
    lock: IO[bytes],
    others: int,
    progress: Callable[[str], None],
) -> None:
    """Start a supervisor that holds `lock` (the open supervisor.lock). Only under the guard. Raises BrokerError."""
    _enough_room(place)
    try:
        cluster = format_data(place)
        port, controller_port = choose_ports(place, settings.port, others, progress)
        properties = server_properties(settings, port, controller_port)
        (place.root / "server.properties").write_text(render(properties), encoding="utf-8")
        write_json(place.launch, _orders(place, settings, provided, port, cluster))
        write_json(place.state, {"phase": "starting", "at": time.time()})
        _spawn(place, lock)
    except OSError as error:
        raise unwritable(place, error) from error


def _enough_room(place: Place) -> None:
    free = shutil.disk_usage(place.root).free
    if free < LEAST_FREE_BYTES:
        raise BrokerError(
            f"only {free // MIB} MiB are free on the disk of {place.root}; Kafka stops when it is full",
            hint=f"free at least {LEAST_FREE_BYTES // MIB} MiB, or choose a --state-dir on another disk",
        )


def _orders(place: Place, settings: BrokerSettings, provided: Provision, port: int, cluster: str) -> dict[str, object]:
    fresh = provided.archive.with_suffix(f".{os.getpid()}.new")
    return {
        "command": command(place, settings, provided, fresh),
        "port": port,
        "linger_s": settings.linger_s,
        "stop_timeout_s": settings.stop_timeout_s,
        "jcmd": jcmd_of(provided.java),
        "rss_bytes": settings.rss_mb * MIB,
        "archive": str(provided.archive),
        "archive_fresh": str(fresh),
        "facts": {
            "bootstrap": f"{HOST}:{port}",
            "version": provided.kafka_version,
            "cluster_id": cluster,
            "started_at": time.time(),
        },
    }


def _spawn(place: Place, lock: IO[bytes]) -> None:
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    with (place.logs / "supervisor.log").open("ab") as log:
        begun = subprocess.run(
            [sys.executable, "-P", "-m", "akkafka.broker.embedded.supervisor", str(place.root), str(lock.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=place.root,  # not the user's directory, which would be kept from being unmounted or removed
            env={**FRUGAL, **os.environ, "PYTHONPATH": path},
            pass_fds=[lock.fileno()],
            start_new_session=True,
            check=False,
        )  # returns at once: the supervisor forks, so that it is nobody's child to wait for
    if begun.returncode != 0:
        raise BrokerError(
            f"the broker's supervisor did not start (exit code {begun.returncode})",
            hint=f"see {place.logs / 'supervisor.log'}",
        )
