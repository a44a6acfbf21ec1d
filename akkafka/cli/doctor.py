"""`akkafka doctor`: checks each thing that a training leans on, and says what to do about what is missing."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import platform
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from akkafka.broker.connection import Connection
from akkafka.cli.console import size
from akkafka.cli.locating import answering, broker_home, embedded, named, on_default_port, reached, state_home
from akkafka.cli.options import Where
from akkafka.errors import AkkafkaError, BrokerError

if TYPE_CHECKING:
    from akkafka.broker.kafka import KafkaBroker

OLDEST_PYTHON = (3, 11)
LEAST_FREE = 1 << 30  # bytes: a training of MNIST writes some hundred MB
TRIAL_BYTES = 8 << 20  # above every limit of 1 MB that Kafka and its clients have by default

Grade = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found."""

    what: str
    grade: Grade
    says: str
    hint: str = ""


def doctor(config: Path | None, data_dir: Path | None, where: Where, as_json: bool) -> int:
    """Print all findings; 0 if none is a problem, else 1."""
    findings = []
    for finding in examine(config, data_dir, where):
        findings.append(finding)
        if not as_json:
            print(f"{finding.grade:8} {finding.what}: {finding.says}", flush=True)
            if finding.hint:
                print(f"{'':8} hint: {finding.hint}", flush=True)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    return 1 if any(finding.grade == "problem" for finding in findings) else 0


def examine(config: Path | None, data_dir: Path | None, where: Where) -> Iterator[Finding]:
    """One finding after the other."""
    yield _python()
    yield _machine()
    yield _checked("aiokafka", _aiokafka)
    yield _checked("kernels", _kernels)
    yield _checked("state directory", lambda: _state(where))
    yield _checked("java", _java, missing="warning")
    yield _checked("kafka's jars", _jars, missing="warning")
    yield from _broker(where)
    yield _checked("configuration and data", lambda: _data(config, data_dir))


def _checked(what: str, check: Callable[[], Finding], *, missing: Grade = "problem") -> Finding:
    """The check's finding; what it raises is one too."""
    try:
        return check()
    except AkkafkaError as error:
        return Finding(what, missing, str(error), error.hint)
    except Exception as error:  # a check must not end the others
        return Finding(what, "problem", f"{type(error).__name__}: {error}")


def _python() -> Finding:
    version = f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", "problem", version, "Install Python 3.11 or newer.")
    return Finding("python", "ok", version)


def _machine() -> Finding:
    import psutil

    cores, memory = os.cpu_count() or 1, psutil.virtual_memory().available
    says = f"{cores} cores, {size(memory)} of memory to be had"
    if cores < 2 or memory < LEAST_FREE:
        return Finding(
            "machine", "warning", says, "Every gate is a process of some 200 MiB: training may be slow here."
        )
    return Finding("machine", "ok", says)


def _aiokafka() -> Finding:
    import aiokafka

    from akkafka.broker.link import require_fast_records

    require_fast_records()
    return Finding("aiokafka", "ok", f"{aiokafka.__version__}, with its C extension")


def _kernels() -> Finding:
    import numba

    import akkafka

    beside = Path(akkafka.__file__).parent
    # numba's own order: NUMBA_CACHE_DIR, beside the source, the user's cache directory
    places = [Path(named) for named in [os.environ.get("NUMBA_CACHE_DIR")] if named] or [beside, Path.home()]
    if not any(os.access(place if place.exists() else place.parent, os.W_OK) for place in places):
        hint = "Set NUMBA_CACHE_DIR to a directory that can be written, then run `akkafka warmup`."
        return Finding("kernels", "warning", "compiled anew at each start: no place for a cache", hint)
    return Finding("kernels", "ok", f"numba {numba.__version__}; `akkafka warmup` compiles all of them beforehand")


def _state(where: Where) -> Finding:
    home = state_home(where.state_dir)
    there = next(parent for parent in (home, *home.parents) if parent.exists())
    if not os.access(there, os.W_OK):
        return Finding("state directory", "problem", f"{home} cannot be written", "Choose another --state-dir.")
    free = shutil.disk_usage(there).free
    if free < LEAST_FREE:
        return Finding("state directory", "warning", f"{home}: {size(free)} free", "Kafka stops when the disk is full.")
    return Finding("state directory", "ok", f"{home}, {size(free)} free")


def _java() -> Finding:
    from akkafka.broker.embedded.java import find_java

    java = find_java()
    return Finding("java", "ok", f"Java {java.version} from {java.origin}: {java.path}")


def _jars() -> Finding:
    from akkafka.broker.embedded.jars import cache_dir, read_lock

    lock, cache = read_lock(), cache_dir()
    fetched = cache.is_dir() and any(cache.rglob("*.jar"))
    says = f"Kafka {lock.kafka_version}, " + (f"in {cache}" if fetched else "not fetched yet")
    if not fetched and importlib.util.find_spec("jgo") is None:
        return Finding("kafka's jars", "warning", says, 'pip install "akkafka[broker]" brings what fetches them.')
    return Finding("kafka's jars", "ok", says + ("" if fetched else ": the first start fetches them (44 MB)"))


# --- the broker -----------------------------------------------------------------------------------


def _broker(where: Where) -> Iterator[Finding]:
    try:
        connection = named(where)
        if connection is not None:
            connection = answering(connection, lambda line: None, patience_s=3.0)
        connection = connection or on_default_port(where)
        if connection is None:
            from akkafka.broker.embedded import status

            ours = status(broker_home(where.state_dir))
            if not ours.running or not ours.bootstrap:
                says = f"none runs (last state of the embedded one: {ours.phase}); `akkafka train` starts one"
                yield Finding("broker", "ok", says)
                return
            connection = embedded(where, ours.bootstrap)
        yield from asyncio.run(_ask(connection))
    except AkkafkaError as error:
        yield Finding("broker", "problem", str(error), error.hint)


async def _ask(connection: Connection) -> list[Finding]:
    async with reached(connection) as broker:
        cluster = await broker.cluster()
        where = connection.bootstrap_servers
        findings = [Finding("broker", "ok", f"Kafka {cluster.version} at {where}, {cluster.brokers} node(s)")]
        try:
            await _try_large_message(broker)
        except BrokerError as error:
            hint = (
                error.hint or "Raise message.max.bytes of the broker to 64 MiB and more (docker-compose.yml shows it)."
            )
            findings.append(Finding("message size", "problem", f"{size(TRIAL_BYTES)} do not pass: {error}", hint))
        else:
            findings.append(Finding("message size", "ok", f"{size(TRIAL_BYTES)} in one message pass both ways"))
        return findings


async def _try_large_message(broker: KafkaBroker) -> None:
    """Topic, producer, broker and fetch have a limit each: only a message that has passed proves all four."""
    from akkafka.broker.base import TopicPartition, TopicSpec
    from akkafka.broker.reading import last_records, reading
    from akkafka.protocol.topics import edge_settings

    where = TopicPartition(f"akkafka-doctor-{secrets.token_hex(4)}", 0)
    await broker.create([TopicSpec(where.topic, 1, edge_settings())])
    try:
        producer = await broker.producer("doctor")
        try:
            await producer.send(where, bytes(TRIAL_BYTES))
        finally:
            await producer.close()
        async with reading(broker, "doctor") as reader:
            back = (await last_records(broker, reader, [where]))[where]
        if len(back) != 1 or back[0].value is None or len(back[0].value) != TRIAL_BYTES:
            raise BrokerError("the message did not come back whole")
    finally:
        await broker.delete([where.topic])


# --- data -----------------------------------------------------------------------------------------


def _data(config: Path | None, data_dir: Path | None) -> Finding:
    from akkafka.data.dataset import load
    from akkafka.data.source import data_dir_from_env
    from akkafka.protocol.config import load_config

    data = load_config(config, data_dir=data_dir).definition.data
    place = data_dir or data_dir_from_env()
    what = f"data set {data.name!r}"
    if data.name != "digits" and place is None:
        says = f"{what}: no --data-dir; the files are fetched when they are first needed, if they are not there yet"
        return Finding("configuration and data", "ok", says)
    counts = [f"{split} {len(load(data, split, data_dir=place))}" for split in ("train", "validation")]
    return Finding("configuration and data", "ok", f"{what}: {', '.join(counts)} samples")
