"""Waiting out a broker that is away: it may take minutes, and no process ends because of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from akkafka.broker.base import BrokerUnavailableError

T = TypeVar("T")
PAUSE_S = 0.2


async def patiently(attempt: Callable[[], Awaitable[T]], leave: asyncio.Event | None = None) -> T:
    """What `attempt` gives, tried again while the broker is away; it must leave nothing behind when it fails.

    Each attempt waits for the connection's patience itself, and the connection says what is waited for. Raises
    BrokerUnavailableError if `leave` is set meanwhile: who is asked to go does not wait.
    """
    while True:
        try:
            return await attempt()
        except BrokerUnavailableError:
            if leave is not None and leave.is_set():
                raise
            await asyncio.sleep(PAUSE_S)
