"""Processes that end when the one that started them does, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h

# Elsewhere than on Linux: a shell between us and the child holds the read end of a pipe whose only write end is ours.
# The kernel closes ours when we die; the shell's watcher reads the end of the file and kills the child. The watcher
# goes first when the child ends by itself: it must not kill whoever gets that process id next. Signals are handed on.
WATCHDOG: Final = """
exec 4<&0
"$@" 4<&- </dev/null & child=$!
(read -r _ <&4; kill -9 $child) & watcher=$!
exec 4<&-
trap 'kill -TERM $child' TERM
trap 'kill -USR1 $child' USR1
wait $child; code=$?
while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
kill $watcher 2>/dev/null
exit $code
"""


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
