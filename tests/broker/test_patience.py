"""Who waits for a broker that is away, and who does not."""

from __future__ import annotations

import asyncio

import pytest

from akkafka.broker import patience
from akkafka.broker.base import BrokerUnavailableError
from akkafka.broker.patience import patiently
from akkafka.errors import BrokerError

from ..conftest import Run


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)


class Attempt:
    """Fails so many times, then answers."""

    def __init__(self, failures: int, error: BrokerError | None = None) -> None:
        self.left, self.made = failures, 0
        self.error = error or BrokerUnavailableError("away")

    async def __call__(self) -> str:
        self.made += 1
        if self.made <= self.left:
            raise self.error
        return "answer"


def test_an_attempt_is_made_until_the_broker_is_back(run: Run) -> None:
    attempt = Attempt(50)
    assert run(patiently(attempt)) == "answer"
    assert attempt.made == 51


def test_what_is_no_absence_is_raised_at_once(run: Run) -> None:
    attempt = Attempt(1, BrokerError("refused"))
    with pytest.raises(BrokerError, match="refused"):
        run(patiently(attempt))
    assert attempt.made == 1


def test_who_is_asked_to_go_does_not_wait(run: Run) -> None:
    async def scene() -> None:
        leave = asyncio.Event()
        leave.set()
        await patiently(Attempt(2), leave)

    with pytest.raises(BrokerUnavailableError):
        run(scene())
