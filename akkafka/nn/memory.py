"""Memory for large results, used again as soon as nobody holds an array in it.

What a step leaves behind, old weights and state, is let go of a step later, and arrays of that size go back to the
system each time: pages that are new to a process cost it more than a step over them.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Sequence
from typing import Final

import numpy as np

from akkafka.nn.layer import F32

LINE_BYTES: Final = 64
PAGE_BYTES: Final = 4096
CELL_BYTES: Final = 512
SPARE: Final = 4  # rooms of a size that wait for their next use; more are given back


class Memory:
    """Hands out arrays; an array is back when its last reference is gone."""

    def __init__(self) -> None:
        self._rooms: dict[int, list[F32]] = {}  # by size
        self._lock = threading.Lock()

    def placed(self, shape: tuple[int, ...], beside: Sequence[F32]) -> F32:
        """A float32 array of `shape`, C order, of any content, that begins with a line of the cache.

        It lies at a place in its page where no array of `beside` begins. A load whose address ends in the same 12 bits
        as a line that is being written past the cache sends that line off half full: momentum took 1.5 times as long
        with outputs one line behind its inputs, and 0.7 times five lines behind. Eight places, so up to seven others.
        """
        size, cells = math.prod(shape), PAGE_BYTES // CELL_BYTES
        taken = {array.ctypes.data % PAGE_BYTES // CELL_BYTES for array in beside}
        cell = next((cell for cell in range(cells) if cell not in taken), 0)
        with self._lock:  # of two threads that find the same room free, one has it before the other looks
            room = self._room(size)
            start = (cell * CELL_BYTES + CELL_BYTES // 2 - room.ctypes.data) % PAGE_BYTES // 4
            return room[start : start + size].reshape(shape)

    def _room(self, size: int) -> F32:
        rooms = self._rooms.setdefault(size, [])
        free = [at for at, references in enumerate(_references(rooms)) if references == UNUSED]
        for at in reversed(free[SPARE:]):
            del rooms[at]
        if free:
            return rooms[free[0]]
        rooms.append(np.empty(size + PAGE_BYTES // 4, np.float32))
        return rooms[-1]


def _references(rooms: Sequence[F32]) -> list[int]:
    """To each room, those of the list and of the question itself included: every array in a room holds one."""
    return [sys.getrefcount(room) for room in rooms]


UNUSED: Final = _references([np.empty(0, np.float32)])[0]  # asked the same way: it differs between Pythons
MEMORY: Final = Memory()  # of the process
