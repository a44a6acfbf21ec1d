"""What a gate's core has to know beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from akkafka.gate.state import CountingRule
from akkafka.protocol.messages import Forward, Run


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """Of one gate; all but the writer's name follow from the definition."""

    run: Run
    name: str
    gate: int
    rule: CountingRule
    delay: int = 0  # D of the fixed schedule
    window: int = 0  # training batches of a lane that are forwarded and not applied, at most; 0: not bounded
    snapshot_bytes: int = 64 << 20
    snapshot_seconds: float = 30.0
    backlog: int = 64  # inputs waiting before the shell is told to read no more
    check_input: Callable[[Forward], str] = lambda message: ""  # why a batch does not fit; empty: it fits
    writer: str = ""
