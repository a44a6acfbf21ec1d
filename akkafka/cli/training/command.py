"""`akkafka train`, from the first look for a broker to the weights: the steps, in order."""

from __future__ import annotations

import asyncio
import math
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from akkafka.broker import expected
from akkafka.broker.base import Broker
from akkafka.broker.connection import Connection
from akkafka.broker.network import Network, check_name, define, load, name_for, reset
from akkafka.cli.console import say
from akkafka.cli.failing import INTERRUPTED
from akkafka.cli.importing import Source, begun
from akkafka.cli.locating import reached, state_home
from akkafka.cli.networks import configured
from akkafka.cli.options import Where
from akkafka.cli.training.children import Children, environment
from akkafka.cli.training.conducting import LAST_LINES, Conducting
from akkafka.cli.training.crew import Home, crew, kafka_environment
from akkafka.cli.training.opening import Opening
from akkafka.cli.training.placement import cores_here, processes_of, threads_of
from akkafka.cli.training.report import (
    Weights,
    check_writable,
    figures,
    rate_of,
    weights_sha256,
    write_json,
    write_weights,
)
from akkafka.cli.training.second import Facts, Verdict, Way, judge
from akkafka.cli.training.show import Show, make_show, summary
from akkafka.cli.training.standing import LaneStand, read_lanes
from akkafka.cli.training.supervision import Supervision, Worker, how
from akkafka.cli.training.tail import living
from akkafka.data.dataset import Split
from akkafka.data.dataset import load as load_data
from akkafka.data.source import data_dir_from_env
from akkafka.nn.layer import F32
from akkafka.protocol.config import Config
from akkafka.protocol.messages import Mode

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PROGRESS_S = 2.0
LASTING = 4000  # batches; see broker/embedded/jvm.py


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    config: Path | None
    overrides: tuple[str, ...]
    seed: int | None
    epochs: int | None
    data_dir: Path | None
    network: str | None
    report: Path | None
    out: Path | None
    fresh: bool
    resume: bool
    where: Where
    keep_log: bool = False
    standby: bool = False
    weights: Source | None = None


def train(request: Request) -> int:
    """Train; returns the exit code. Raises AkkafkaError for what is wrong before anything has started."""
    started = time.monotonic()
    config = configured(request.config, request.overrides, request.seed, request.data_dir)
    flats: Mapping[str, F32] = {}
    if request.weights is not None:
        config, flats = begun(config, request.weights, say)
    processes_of(config.run.processes, len(config.definition.gates))  # a mistake there is told before anything runs
    name = check_name(request.network or name_for(config.definition))
    for path in (request.report, request.out):
        check_writable(path)
    show = make_show()
    samples = _fetch_data(config, request.data_dir, show)
    batches = (request.epochs or config.run.epochs) * math.ceil(samples / config.definition.batch_size)
    home = Home(state_home(request.where.state_dir) / "networks" / name)
    home.make()
    before = signal.getsignal(signal.SIGINT)
    try:
        training = _Training(request, config, flats, name, home, show, started, lasting=batches > LASTING)
        return asyncio.run(training.run())
    finally:
        signal.signal(signal.SIGINT, before)  # the loop leaves Python's own behind
        show.close()


def _fetch_data(config: Config, data_dir: Path | None, show: Show) -> int:
    """Have the data set whole on this machine before anything starts: a missing file is told at once, and a download
    shows its progress in one place. The number of samples to train on. Raises DataError."""
    told = time.monotonic()

    def progress(what: str, done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told > PROGRESS_S:
            told = time.monotonic()
            show.say(f"{what}: {done / 1e6:.1f} of {total / 1e6:.1f} MB")

    definition = config.definition
    splits: list[Split] = ["train", "validation"] if definition.plan.of(Mode.VALIDATE) else ["train"]
    where = data_dir or data_dir_from_env()
    sizes = {split: len(load_data(definition.data, split, data_dir=where, progress=progress)) for split in splits}
    return sizes["train"]


@dataclass(slots=True)
class _Training:
    request: Request
    config: Config
    flats: Mapping[str, F32]  # weights to begin with, by gate
    name: str
    home: Home
    show: Show
    begun: float
    lasting: bool  # whether it is so long that a broker of our own should be tuned for it
    children: Children = field(init=False)
    servers: str = ""  # that the running children were told
    conducting: Conducting | None = None
    signalled: int = 0
    opening: Opening = field(init=False)

    @property
    def epochs(self) -> int:
        return self.request.epochs or self.config.run.epochs

    # --- the steps --------------------------------------------------------------------------------

    async def run(self) -> int:
        """All of it; whatever happens, no process of ours is left."""
        self.opening = Opening(self.request.where, self.show.say, self.lasting)
        self.children = Children(self.home.logs, {})
        self._hear_signals()
        try:
            connection = await self._connection()
            async with self._network(connection) as (broker, network, verdict):
                return await self._trained(connection, broker, network, verdict)
        except asyncio.CancelledError:
            self.show.say("interrupted")
            return 128 + (self.signalled or signal.SIGINT)
        finally:
            self.children.kill_all()
            with suppress(asyncio.CancelledError):  # asked again: the broker ends without us waiting for it
                await self.opening.close()

    def _hear_signals(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None, "this runs in one"
        for number in SIGNALS:
            loop.add_signal_handler(number, self._signalled, number, task)

    def _signalled(self, number: int, task: asyncio.Task[int]) -> None:
        """The first asks to finish; nothing is lost by ending at once before training or behind it."""
        self.signalled = number
        if self.conducting is None or self.conducting.supervision.ended:
            task.cancel()
        else:
            self.conducting.stop()

    async def _connection(self) -> Connection:
        """The broker; while our own is starting, so do the processes that will wait for it."""
        connection = await self.opening.begin()
        if connection is not None:
            return connection
        early = await self.opening.early()
        if early is not None and self._may_start_early():
            self._start(early)
        return await self.opening.ready()

    def _may_start_early(self) -> bool:
        """Processes take the first definition they find: so not where an old one may have to go first."""
        return self.opening.launched and (self.request.resume or not self.opening.on_disk(self.name))

    def _start(self, connection: Connection) -> None:
        self.servers = connection.bootstrap_servers
        self.home.expected.write_text(self.config.definition.canonical, encoding="utf-8")
        told = {expected.VARIABLE: str(self.home.expected)}
        self.children.environment = environment(kafka_environment(connection), self._threads) | told
        for worker in self._crew(connection):
            if not worker.later:
                self.children.start(worker)

    @property
    def _threads(self) -> int:
        """Of BLAS in each process."""
        return threads_of(len(self.config.definition.gates), cores_here())

    def _crew(self, connection: Connection) -> list[Worker]:
        where = self.request.where
        servers = connection.bootstrap_servers
        return crew(
            self.config,
            self.name,
            self.epochs,
            self.request.data_dir,
            servers,
            where.allow,
            standby=self.request.standby,
        )

    @asynccontextmanager
    async def _network(self, connection: Connection) -> AsyncIterator[tuple[Broker, Network, Verdict]]:
        """The broker, and the network as it is to be trained."""
        async with reached(connection) as broker:
            await broker.cluster()
            verdict = judge(
                await self._facts(broker), self.epochs, fresh=self.request.fresh, resume=self.request.resume
            )
            if verdict.say:
                self.show.say(verdict.say)
            if verdict.way is Way.ANEW:
                self.children.kill_all()
                await reset(broker, self.name)
            network = await define(broker, self.config.definition, self.name, keep_log=self.request.keep_log)
            await self._publish_weights(broker, network)
            self.home.remember(network, self.epochs)
            yield broker, network, verdict

    async def _publish_weights(self, broker: Broker, network: Network) -> None:
        if self.flats:
            from akkafka.gate.beginning import publish_weights

            await publish_weights(broker, network, self.flats, self.show.say)

    async def _facts(self, broker: Broker) -> Facts:
        network = await load(broker, self.name)
        if network is None:
            return Facts(self.name, ())
        kept = self.request.keep_log
        await define(
            broker, self.config.definition, self.name, keep_log=kept
        )  # refuses another definition, mends missing topics
        trainers, others = ([], []) if self.opening.launched else await living(broker, network)
        lanes = await read_lanes(broker, network)
        facts = Facts(self.name, lanes, False, self.home.remembered(network), trainers, others)
        if any(lane.home < lane.issued for lane in lanes):
            return facts
        return Facts(self.name, lanes, await _all_applied(broker, network, lanes), facts.goal, trainers, others)

    async def _trained(self, connection: Connection, broker: Broker, network: Network, verdict: Verdict) -> int:
        if self.servers != connection.bootstrap_servers:  # none started early, or at a port that was taken since
            self.children.kill_all()
        self.children.environment = environment(kafka_environment(connection), self._threads)
        self.show.say(
            f"training network {self.name!r} for {self.epochs} epochs through Kafka at {connection.bootstrap_servers} "
            f"({self.opening.kind}); logs: {self.home.logs}"
        )
        supervision = Supervision(self._crew(connection))
        conducting = self.conducting = Conducting(
            broker, network, self.epochs, self.children, supervision, self.show, self.begun
        )
        await conducting.run(from_head=verdict.way is not Way.ON)
        finished = not supervision.stopped and not supervision.culprit
        hashes = await self._keep_weights(broker, network) if finished else {}
        self._report(network, connection, conducting, hashes, finished)
        return self._end(conducting, finished)

    # --- what is left -----------------------------------------------------------------------------

    async def _keep_weights(self, broker: Broker, network: Network) -> dict[int, str]:
        """Write the weights as the log has them; sha256 by gate."""
        from akkafka.gate.restore import restore

        gates: dict[str, Weights] = {}
        hashes: dict[int, str] = {}
        for i, gate in enumerate(network.definition.gates):
            restored = await restore(broker, network, i)
            gates[gate.name] = restored.state.params
            hashes[i] = weights_sha256(restored.state.params)
        path = self.request.out or self.home.weights
        write_weights(path, gates)
        self.show.say(f"weights: {path}")
        return hashes

    def _report(
        self, network: Network, connection: Connection, conducting: Conducting, hashes: dict[int, str], finished: bool
    ) -> None:
        if self.request.report is None:
            return
        facts = {
            "network": network.name,
            "definition_hash": network.definition.hash,
            "seed": network.definition.seed,
            "run": str(network.run),
            "finished": finished,
            "broker": {"bootstrap_servers": connection.bootstrap_servers, "kind": self.opening.kind},
            "wall_seconds": time.monotonic() - self.begun,
            "first_batch_seconds": conducting.first_batch_s,
        }
        write_json(self.request.report, figures(conducting.board, hashes, facts))
        self.show.say(f"report: {self.request.report}")

    def _end(self, conducting: Conducting, finished: bool) -> int:
        self.show.close()
        supervision, board = conducting.supervision, conducting.board
        rate = rate_of(board).samples_per_second
        for line in summary(board, rate, time.monotonic() - self.begun):
            print(line)
        sys.stdout.flush()
        if supervision.culprit:
            return self._given_up(supervision)
        if not finished:
            print("stopped before the end; the same command goes on where it was", flush=True)
            return 128 + self.signalled if self.signalled else INTERRUPTED
        return 0

    def _given_up(self, supervision: Supervision) -> int:
        name, code = supervision.culprit, supervision.culprit_code
        lines = self.children.last_lines(name, LAST_LINES)
        said = "\n".join(lines) if lines and lines[0].startswith(("error: ", "internal error: ")) else ""
        print(f"error: {name} {how(code)}, training has ended", file=sys.stderr)
        if said:
            print(said, file=sys.stderr)
        print(f"hint: its log is {self.children.log(name)}; the same command goes on where it was.", file=sys.stderr)
        return code if 0 < code < 126 else 1


async def _all_applied(broker: Broker, network: Network, lanes: Sequence[LaneStand]) -> bool:
    """Whether every gate's journal holds every issued batch."""
    from akkafka.gate.restore import restore

    for gate in range(network.gate_count):
        applied = (await restore(broker, network, gate)).state.applied
        if any(applied[lane.lane] < lane.issued for lane in lanes):
            return False
    return True
