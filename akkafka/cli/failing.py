"""How a failure looks to whoever typed the command: what, then what to do; a traceback only on request."""

from __future__ import annotations

import os
import sys
import traceback

from akkafka.errors import AkkafkaError

INTERNAL = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
DEBUG = "AKKAFKA_DEBUG"


def lines_of(error: Exception) -> list[str]:
    """What is printed for an error, in order."""
    if isinstance(error, AkkafkaError):
        return [f"error: {error}", *([f"hint: {error.hint}"] if error.hint else [])]
    what = " ".join(str(error).split()) or "no message"
    return [f"internal error: {type(error).__name__}: {what}, please report ({DEBUG}=1 shows where)"]


def code_of(error: Exception) -> int:
    """What the process leaves with."""
    return error.exit_code if isinstance(error, AkkafkaError) else INTERNAL


def fail(error: Exception) -> int:
    """Print the error on stderr; returns the exit code."""
    if os.environ.get(DEBUG) == "1":
        traceback.print_exception(error, file=sys.stderr)
    print("\n".join(lines_of(error)), file=sys.stderr, flush=True)
    return code_of(error)
