"""What tests of the protocol measure with."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def peak_bytes() -> Callable[[Callable[[], Any]], int]:
    """Bytes that a call allocates at its height, as Python's allocators see it (msgpack's and numpy's among them)."""

    def measure(call: Callable[[], Any]) -> int:
        call()  # what is kept for ever is there before
        tracemalloc.start()
        try:
            call()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return measure
