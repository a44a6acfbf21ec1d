"""Memory for intermediate numbers that no one keeps, one set for each thread, so that no batch asks the system for it.

What is taken here is good until the same name is taken again by the same thread, and never leaves the function.
"""

from __future__ import annotations

import math
import threading

import numpy as np

from akkafka.nn.layer import F32


class Scratch(threading.local):
    """Buffers by name; each grows to the largest that was asked for."""

    def __init__(self) -> None:
        self._buffers: dict[str, F32] = {}

    def take(self, name: str, *shape: int) -> F32:
        """An array of `shape`, float32, C-contiguous, with anything in it."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = np.empty(size, np.float32)
        return buffer[:size].reshape(shape)


scratch = Scratch()
