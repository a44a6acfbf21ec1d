"""`akkafka bench recovery`: from the SIGKILL of a working gate to its next applied update, again and again.

Measured from outside, in the log: the clock starts with the signal and stops when a journal record of another writer
has been read. Three kinds: `akkafka train` starts the gate again; a standby takes over that sees its neighbour die; a
standby takes over that only hears it fall silent, as one on another machine would (the gate is stopped first).
"""

from __future__ import annotations

import asyncio
import enum
import math
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from akkafka.broker.base import Broker, BrokerUnavailableError, Reader, TopicPartition
from akkafka.broker.connection import Connection
from akkafka.broker.embedded import BrokerSettings, acquire
from akkafka.broker.network import Network, load
from akkafka.cli.bench.machine import machine
from akkafka.cli.chaos.trainer import Trainer, environment
from akkafka.cli.console import say, table
from akkafka.cli.locating import reached
from akkafka.cli.networks import configured
from akkafka.cli.training.report import check_writable, write_json
from akkafka.errors import NetworkError, ProtocolError
from akkafka.protocol import wire
from akkafka.protocol.config import Config
from akkafka.protocol.messages import JournalRecord

FOREVER = 1_000_000  # epochs
BEGIN_S = 90.0
RECOVER_S = 60.0
SETTLE_S = (3.0, 6.0)  # between a recovery and the next kill: the new standby has to be up again


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    config: Path
    overrides: tuple[str, ...]
    seed: int
    kills: int
    data_dir: Path | None
    out: Path | None


class Kind(enum.StrEnum):
    """Who recovers the gate, and how it is known to be gone."""

    RESTART = "restart"
    STANDBY = "standby"
    SILENCE = "standby by silence"


@dataclass(frozen=True, slots=True)
class Recovery:
    """One kill."""

    gate: int
    seconds: float
    kind: Kind


def recovery(request: Request) -> None:
    """Run it, each kind in a training of its own, and print the table."""
    check_writable(request.out)
    config = configured(request.config, request.overrides, None, request.data_dir)
    found: list[Recovery] = []
    with tempfile.TemporaryDirectory(prefix="akr-", ignore_cleanup_errors=True) as name:
        for kind in Kind:
            found += asyncio.run(_Bench(request, config, Path(name), kind).run())
    for line in lines(found):
        print(line)
    if request.out is not None:
        facts = {"config": request.config.name, "kills": request.kills, "machine": machine().facts()}
        write_json(request.out, facts | figures(found))
        say(f"figures: {request.out}")


def quantile(sorted_seconds: Sequence[float], share: float) -> float:
    """The least value that at least this share of all does not exceed."""
    return sorted_seconds[max(0, math.ceil(share * len(sorted_seconds)) - 1)]


def _kinds(found: Sequence[Recovery]) -> dict[str, list[float]]:
    return {kind.value: sorted(one.seconds for one in found if one.kind is kind) for kind in Kind}


def lines(found: Sequence[Recovery]) -> list[str]:
    """The table."""
    rows = [
        [kind, str(len(all_)), *(f"{value:.2f} s" for value in _spread(all_).values())]
        for kind, all_ in _kinds(found).items()
        if all_
    ]
    return table(["recovery by", "kills", "p50", "p95", "worst"], rows)


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {"p50": statistics.median(seconds), "p95": quantile(seconds, 0.95), "worst": seconds[-1]}


def figures(found: Sequence[Recovery]) -> dict[str, Any]:
    """For the report."""
    return {
        kind: _spread(seconds) | {"all": [round(value, 3) for value in seconds]}
        for kind, seconds in _kinds(found).items()
        if seconds
    }


@dataclass(slots=True)
class _Bench:
    request: Request
    config: Config
    folder: Path
    kind: Kind
    writers: dict[int, str] = field(default_factory=dict)  # gate -> who appended its newest record

    async def run(self) -> list[Recovery]:
        """A training of its own, killed at."""
        kind = self.kind.name.lower()
        home = self.folder / kind
        home.mkdir()
        lease = await asyncio.to_thread(acquire, BrokerSettings(home / "broker", linger_s=0.0), progress=say)
        trainer = self._trainer(home, kind, lease.bootstrap)
        try:
            trainer.start()
            async with reached(Connection(bootstrap_servers=lease.bootstrap)) as broker:
                network = await defined(broker, kind, trainer)
                return await self._kill_again_and_again(broker, network)
        finally:
            trainer.collapse()
            await asyncio.to_thread(lease.release)

    def _trainer(self, home: Path, name: str, servers: str) -> Trainer:
        request = self.request
        words = ["-m", "akkafka", "train", str(request.config), "--network", name, "--bootstrap-servers", servers]
        words += ["--state-dir", str(home), "--epochs", str(FOREVER)]
        words += [word for change in request.overrides for word in ("--set", change)]
        words += ["--data-dir", str(request.data_dir)] if request.data_dir is not None else []
        words += ["--standby"] if self.kind is not Kind.RESTART else []
        return Trainer(words, home / "train.log", environment(servers))

    async def _kill_again_and_again(self, broker: Broker, network: Network) -> list[Recovery]:
        rng = random.Random(self.request.seed)
        reader = await broker.reader("recovery", max_wait_ms=20)
        parts = [TopicPartition(network.topics.journal(gate), 0) for gate in range(network.gate_count)]
        reader.assign({where: high for where, (_, high) in (await broker.bounds(parts)).items()})
        found: list[Recovery] = []
        try:
            await self._follow(reader, BEGIN_S, lambda: len(self.writers) == network.gate_count)
            for _ in range(self.request.kills):
                await self._follow(reader, rng.uniform(*SETTLE_S))
                gate = rng.randrange(network.gate_count)
                found.append(await self._killed(reader, gate))
                say(f"gate {gate} applied its next update after {found[-1].seconds:.2f} s ({self.kind})")
        finally:
            await reader.close()
        return found

    async def _killed(self, reader: Reader, gate: int) -> Recovery:
        await self._follow(reader, 0.0)
        writer = self.writers[gate]
        process = psutil.Process(int(writer.rpartition("-")[2]))
        process.send_signal(signal.SIGSTOP if self.kind is Kind.SILENCE else signal.SIGKILL)
        at = time.monotonic()
        await self._follow(reader, RECOVER_S, lambda: self.writers[gate] != writer)
        if self.writers[gate] == writer:
            raise NetworkError(f"gate {gate} did not recover within {RECOVER_S:g} s")
        seconds = time.monotonic() - at
        if self.kind is Kind.SILENCE:
            process.kill()
        return Recovery(gate, seconds, self.kind)

    async def _follow(self, reader: Reader, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Read the journals for so long, or until something has come."""
        begun = time.monotonic()
        while not until():
            left = begun + seconds - time.monotonic()
            try:
                records = await reader.poll(timeout=min(1.0, max(0.0, left)))
            except BrokerUnavailableError:
                continue
            for record in records:
                self._hear(record.value)
            if left <= 0:
                return

    def _hear(self, value: bytes | None) -> None:
        try:
            message = wire.decode(value)
        except ProtocolError:
            return
        if isinstance(message, JournalRecord):
            self.writers[message.gate] = message.writer


async def defined(broker: Broker, name: str, trainer: Trainer) -> Network:
    """The network, once the training has defined it; raises NetworkError."""
    until = time.monotonic() + BEGIN_S
    while time.monotonic() < until and trainer.ended is None:
        network = await load(broker, name)
        if network is not None:
            return network
        await asyncio.sleep(0.2)
    raise NetworkError(f"training did not begin within {BEGIN_S:g} s", hint=f"see {trainer.log}")
