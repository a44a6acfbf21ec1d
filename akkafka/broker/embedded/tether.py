"""Starts a child that cannot outlive us, whatever kills us: an orphaned broker would keep port and data for ever."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO

from akkafka.broker.embedded.tie import WATCHDOG, tie_to_us

Output = IO[bytes] | int
"""A file, or subprocess.DEVNULL."""


def tethered(command: list[str], output: Output, directory: Path) -> subprocess.Popen[bytes]:
    """Start `command` with its output in `output`, tied to the life of this process (and, on Linux, of this thread)."""
    if platform.system() == "Linux":
        return _tied_by_kernel(command, output, directory)
    return tied_by_pipe(command, output, directory)


def _tied_by_kernel(command: list[str], output: Output, directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=directory,
        preexec_fn=tie_to_us(),
        process_group=0,  # with children of its own, such as the one that a JVM leaves its class archive to
    )


def tied_by_pipe(command: list[str], output: Output, directory: Path) -> subprocess.Popen[bytes]:
    """The same by a pipe and a shell, where the kernel offers no parent-death signal. The Popen is the shell's."""
    return subprocess.Popen(
        ["/bin/sh", "-c", WATCHDOG, "sh", *command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=directory,
    )


def kill(child: subprocess.Popen[bytes]) -> None:
    """SIGKILL for a tethered child, through the shell if there is one (killing the shell would leave the child).

    On Linux for the child's own children, too.
    """
    if child.stdin is not None:
        child.stdin.close()
        return
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
