"""Throws the strikes of a schedule at a training: signals to processes, faults to the proxy, deaths to the broker."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from akkafka.broker.embedded import status
from akkafka.cli.chaos.framing import FETCH, PRODUCE
from akkafka.cli.chaos.memory import Memory
from akkafka.cli.chaos.proxy import ANY, Proxy
from akkafka.cli.chaos.schedule import BROKER, Fault, Strike
from akkafka.cli.chaos.trainer import Trainer

LOOK_S = 0.05
SAMPLE_S = 2.0
VICTIM_S = 15.0  # how long a strike waits for its victim to live
DELAY_S = 0.02  # a frame

Say = Callable[[str], None]


@dataclass(slots=True)
class Struck:
    """What came of a strike."""

    at: float
    fault: str
    victim: str
    pid: int | None
    seconds: float
    missed: bool = False


@dataclass(slots=True)
class Storm:
    """One storm over one training."""

    trainer: Trainer
    proxy: Proxy
    broker_home: Path
    say: Say
    memory: Memory = field(default_factory=Memory)
    struck: list[Struck] = field(default_factory=list)
    gave_up: list[int] = field(default_factory=list)  # exit codes of a training that ended by itself
    _paused: set[asyncio.TimerHandle] = field(default_factory=set)
    _stopped: dict[int, psutil.Process] = field(default_factory=dict)
    _begun: float = 0.0

    async def rage(self, strikes: list[Strike], seconds: float) -> None:
        """All strikes at their moments; whoever is paused goes on at the end."""
        self._begun = time.monotonic()
        watching = asyncio.create_task(self._watch())
        try:
            for strike in strikes:
                await asyncio.sleep(max(0.0, strike.at - self.elapsed))
                await self._strike(strike)
            await asyncio.sleep(max(0.0, seconds - self.elapsed))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            self._calm()
        if watching.done() and not watching.cancelled():
            watching.result()

    @property
    def elapsed(self) -> float:
        """Seconds since the storm's begin."""
        return time.monotonic() - self._begun

    @property
    def counts(self) -> dict[str, int]:
        """Strikes that hit, by fault."""
        return dict(Counter(str(one.fault) for one in self.struck if not one.missed))

    def _calm(self) -> None:
        self.proxy.delay(0.0)
        for handle in self._paused:
            handle.cancel()
        for process in list(self._stopped.values()):
            self._resume(process)

    async def _watch(self) -> None:
        """Keep the training running whatever it does, and look at its memory."""
        sampled = 0.0
        while True:
            await asyncio.sleep(LOOK_S)
            code = self.trainer.ended
            if code is not None:
                self.gave_up.append(code)
                self.say(f"{self.elapsed:6.1f} s  akkafka train has ended by itself with exit code {code}; run again")
                self.trainer.start()
                await asyncio.sleep(1.0)
            if time.monotonic() - sampled > SAMPLE_S:
                sampled = time.monotonic()
                self.memory.sample(await asyncio.to_thread(self.trainer.workers), sampled)

    # --- strikes ----------------------------------------------------------------------------------

    async def _strike(self, strike: Strike) -> None:
        if strike.fault in (Fault.KILL, Fault.PAUSE):
            await self._strike_process(strike)
        elif strike.fault is Fault.COLLAPSE:
            self._tell(strike, None)
            self.trainer.collapse()
            self.trainer.start()
        elif strike.victim == BROKER:
            await self._strike_broker(strike)
        else:
            self._tell(strike, None)
            self._strike_network(strike)

    async def _strike_process(self, strike: Strike) -> None:
        until = time.monotonic() + VICTIM_S
        while not (alive := (await asyncio.to_thread(self.trainer.workers)).get(strike.victim, [])):
            if time.monotonic() > until:
                self._tell(strike, None, missed=True)
                return
            await asyncio.sleep(LOOK_S)
        process = alive[strike.number % len(alive)]
        self._tell(strike, process.pid)
        with suppress(psutil.Error):
            if strike.fault is Fault.KILL:
                process.kill()
                self._stopped.pop(process.pid, None)
            else:
                process.suspend()
                self._stopped[process.pid] = process
                loop = asyncio.get_running_loop()
                self._paused.add(loop.call_later(strike.seconds, self._resume, process))

    def _resume(self, process: psutil.Process) -> None:
        if self._stopped.pop(process.pid, None) is not None:
            with suppress(psutil.Error):
                process.resume()

    async def _strike_broker(self, strike: Strike) -> None:
        """Kafka itself, not its supervisor, once it is up."""
        until = time.monotonic() + VICTIM_S
        while (found := status(self.broker_home)).phase != "ready" or found.jvm_pid is None:
            if time.monotonic() > until:
                self._tell(strike, None, missed=True)
                return
            await asyncio.sleep(LOOK_S)
        self._tell(strike, found.jvm_pid)
        with suppress(ProcessLookupError):
            os.kill(found.jvm_pid, signal.SIGKILL if strike.fault is Fault.BROKER_KILL else signal.SIGTERM)

    def _strike_network(self, strike: Strike) -> None:
        match strike.fault:
            case Fault.CUT:
                self.proxy.cut()
            case Fault.PART:
                self.proxy.part(strike.seconds)
            case Fault.DELAY:
                self.proxy.delay(DELAY_S)
                asyncio.get_running_loop().call_later(strike.seconds, self.proxy.delay, 0.0)
            case Fault.SWALLOW:
                self.proxy.swallow(strike.number, (PRODUCE, FETCH, ANY)[strike.number % 3])
            case Fault.LOSE:
                self.proxy.lose_acknowledgement(strike.number)
            case Fault.TEAR:
                self.proxy.tear()
            case _:
                raise ValueError(f"no fault of the network: {strike.fault}")

    def _tell(self, strike: Strike, pid: int | None, *, missed: bool = False) -> None:
        self.struck.append(Struck(self.elapsed, strike.fault, strike.victim, pid, strike.seconds, missed))
        lasting = f" for {strike.seconds:.1f} s" if strike.seconds else ""
        whom = f"{strike.victim} (pid {pid})" if pid is not None else strike.victim
        missing = f"  missed: nobody of that role lived for {VICTIM_S:g} s" if missed else ""
        self.say(f"{self.elapsed:6.1f} s  {strike.fault}  {whom}{lasting}{missing}")
