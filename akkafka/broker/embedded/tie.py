"""Processes that end when the one that started them does, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def tie_to_us() -> Callable[[], None]:
    """What a child does before it becomes the program: ask the kernel to be killed when we die. Linux only.

    The kernel watches the thread that starts the child: let it be the main one.
    """
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork: nothing may be loaded after it
    parent = os.getpid()

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # we died between fork and prctl
            os._exit(1)

    return tie
