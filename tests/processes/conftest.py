"""Processes that end with their test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .fleet import Processes


@pytest.fixture
def processes(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Processes]:
    """A fleet to be; what it printed is shown if the test fails."""
    fleet = Processes(kafka_bootstrap, tmp_path)
    yield fleet
    fleet.close()
    print(fleet.told())
