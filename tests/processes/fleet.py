"""Starts akkafka's processes as a user would, and sees to it that none is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from akkafka.audit.examine import examine
from akkafka.audit.report import facts_of
from akkafka.broker.base import Broker, TopicPartition
from akkafka.broker.connection import Connection
from akkafka.broker.kafka import KafkaBroker
from akkafka.broker.network import Network
from akkafka.broker.reading import reading
from akkafka.errors import ProtocolError
from akkafka.protocol import wire
from akkafka.protocol.figures import Body, GateFigures, PassFigures, TrainFigures, from_message
from akkafka.protocol.messages import Figures, Mode
from akkafka.sentinel.lanes import training_places

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 180.0  # only keeps a failing test from hanging


@dataclass(eq=False)
class Process:
    """A process and what it has printed."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def printed(self) -> str:
        """Everything up to now."""
        return self.log.read_text()

    async def prints(self, text: str, timeout: float = PATIENCE_S) -> None:
        """Wait until it has printed this; a file tells nobody that it has grown, so it is looked at again and again."""
        async with asyncio.timeout(timeout):
            while text not in self.printed:  # noqa: ASYNC110 (see above)
                await asyncio.sleep(0.05)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal."""
        self.popen.send_signal(number)

    async def exit_code(self, timeout: float = PATIENCE_S) -> int:
        """Wait for its end."""
        try:
            return await asyncio.to_thread(self.popen.wait, timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end; it printed:\n{self.printed}") from None


@dataclass(eq=False)
class Processes:
    """Processes that share a broker."""

    bootstrap: str
    folder: Path
    started: list[Process] = field(default_factory=list)

    def start(self, *words: str, env: dict[str, str] | None = None) -> Process:
        """Run `python -m akkafka.<words>`."""
        name = f"{len(self.started):02d}-{'-'.join(words)[:60].replace('/', '_')}"
        log = self.folder / f"{name}.log"
        environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap, **(env or {})}
        with log.open("wb") as out:
            popen = subprocess.Popen(
                [sys.executable, "-m", f"akkafka.{words[0]}", *words[1:]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment,
            )
        process = Process(name, popen, log)
        self.started.append(process)
        return process

    def gate(self, network: str, *layers: int) -> Process:
        """Host gates."""
        flags = [word for layer in layers for word in ("--layer", str(layer))]
        return self.start("gate", *flags, "--network", network)

    def close(self) -> None:
        """Kill what still runs."""
        for process in self.started:
            if process.popen.poll() is None:
                process.kill()
                process.popen.wait()

    def told(self) -> str:
        """What all of them printed, for a failing test."""
        return "\n".join(f"--- {process.name}\n{process.printed}" for process in self.started)


class Watch:
    """Follows a network's figures."""

    def __init__(self, broker: Broker, network: Network) -> None:
        self.broker, self.network = broker, network
        self.versions: dict[int, int] = {}
        self.passes: list[PassFigures] = []
        self.batches: dict[tuple[int, int], int] = {}  # (lane, seq) -> samples

    async def until(self, done: Callable[[], bool], timeout: float = PATIENCE_S) -> None:
        """Read figures until `done`."""
        where = TopicPartition(self.network.topics.metrics, 0)
        async with asyncio.timeout(timeout), reading(self.broker, "watch") as reader:
            reader.assign({where: 0})
            self.versions, self.passes, self.batches = {}, [], {}
            while not done():
                for record in await reader.poll(timeout=5.0):
                    self._hear(record.value)

    def _hear(self, value: bytes | None) -> None:
        try:
            message = wire.decode(value)
            body: Body | None = from_message(message) if isinstance(message, Figures) else None
        except ProtocolError:
            return
        match body:
            case GateFigures():
                self.versions[body.gate] = max(body.version, self.versions.get(body.gate, 0))
            case PassFigures():
                self.passes.append(body)
            case TrainFigures():
                self.batches.update({(b.lane, b.seq): b.samples for b in body.batches})

    async def until_version(self, version: int) -> None:
        """Every gate has reached this version."""
        gates = range(self.network.gate_count)
        await self.until(lambda: all(self.versions.get(gate, 0) >= version for gate in gates))

    async def every_batch_once(self, batches: int) -> None:
        """Assert that each gate counts each of so many batches once, and nothing else, as the audit has it."""
        lanes = self.network.definition.plan.of(Mode.TRAIN)
        await self._once({lane: sum(n % len(lanes) == at for n in range(batches)) for at, lane in enumerate(lanes)})

    async def every_issued_batch_once(self) -> None:
        """The same for as many as training sentinels that were asked to leave have issued, once each gate has them."""
        issued = await self.issued()
        await self.until_version(sum(issued.values()))
        await self._once(issued)

    async def issued(self) -> dict[int, int]:
        """Batches that went into each training lane."""
        lanes = self.network.definition.plan.of(Mode.TRAIN)
        places = await training_places(self.broker, self.network, lanes)
        return {lane: place.standing.issued for lane, place in places.items()}

    async def _once(self, batches: Mapping[int, int]) -> None:
        """`batches`: by lane."""
        facts = facts_of(await examine(self.broker, self.network))
        assert facts["holds"], facts["faults"]
        for gate in facts["gates"]:
            assert gate["applied"] == {str(lane): count for lane, count in batches.items()}, f"gate {gate['gate']}"
            assert not any(gate["voided"].values()), f"gate {gate['gate']} has voided batches"


@asynccontextmanager
async def connected(bootstrap: str) -> AsyncIterator[KafkaBroker]:
    """A connection for the test itself."""
    broker = KafkaBroker(Connection(bootstrap_servers=bootstrap))
    try:
        yield broker
    finally:
        await broker.close()
