"""The benchmark-only build: a training whose gates keep neither journal nor snapshots.

Nobody but `akkafka bench cost` starts it. `python -m akkafka.cli.bench.bare train …` is `akkafka train` with such
gates; `python -m akkafka.cli.bench.bare akkafka.gate …` is one of them (the word is what processes are recognised by).
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import Final

import typer

from akkafka.broker.base import Broker
from akkafka.broker.network import Network
from akkafka.cli.main import main
from akkafka.cli.training import crew
from akkafka.gate import __main__ as process
from akkafka.gate import events as e
from akkafka.gate.journal import Journal
from akkafka.gate.keeper import SnapshotKeeper
from akkafka.gate.ledger import Named
from akkafka.gate.model import Model
from akkafka.gate.restore import Restored
from akkafka.gate.shell import Gate
from akkafka.gate.state import GateState
from akkafka.protocol.messages import JournalRecord

MODULE: Final = "akkafka.cli.bench.bare"


class BareModel(Model):
    """Encodes no gradients, so none are hashed either."""

    _numbers = count()

    def encoded(self, record: JournalRecord) -> bytes:
        """A few bytes that no other record has."""
        return b"%d" % next(self._numbers)


class BareJournal(Journal):
    """Says of every record that it has been written."""

    def __init__(
        self, broker: Broker, network: Network, gate: int, writer: str, answer: Callable[[e.Event], None]
    ) -> None:
        super().__init__(broker, network, gate, writer, answer)
        self._offsets = count()

    def append(self, value: bytes) -> None:
        """At the next turn of the loop: answers never come from within."""
        asyncio.get_running_loop().call_soon(self._answer, e.Appended(next(self._offsets)))

    async def note(self, key: bytes, value: bytes) -> None:
        """Not written either."""


class BareKeeper(SnapshotKeeper):
    """Says of every snapshot that it has been read back whole."""

    async def take(self, state: GateState, older: Mapping[int, GateState], named: deque[Named]) -> bool:
        """At once."""
        named.clear()
        return True


class BareGate(Gate):
    """A gate that forgets; it begins at version 0 with an empty journal, or not at all."""

    MODEL = BareModel

    def _open_parts(self, restored: Restored) -> None:
        assert restored.state.version == 0, "a bare network is never resumed"
        super()._open_parts(restored)
        self._journal = BareJournal(self._broker, self._network, self.gate, self.process, self._do)
        self._keeper = BareKeeper(self._broker, self._network, self.gate, self.process, restored.ledger)


def run() -> None:
    """The gate, or the training."""
    if sys.argv[1:2] == ["akkafka.gate"]:
        del sys.argv[1]
        process.HOSTED = BareGate
        typer.run(process.run)
    else:
        crew.GATE = ("-m", MODULE, "akkafka.gate")
        main()


if __name__ == "__main__":
    run()
