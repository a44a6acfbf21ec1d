"""What `train` tells the processes that it starts before the network is there: the definition that will be published.

While they wait for the broker they load what it needs. It is a guess: nothing that is made with it is kept, except what
Python and numba have loaded by then, so one that is wrong, stale or missing costs a start its head start and no more.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from akkafka.protocol.definition import Definition, parse_definition

VARIABLE: Final = "AKKAFKA_EXPECTED"  # path of a file with the canonical definition


def expected() -> Definition | None:
    """The definition, if we were told one that can be read."""
    path = os.environ.get(VARIABLE)
    if path:
        with suppress(Exception):
            return parse_definition(Path(path).read_text(encoding="utf-8"))
    return None


def prepare(load: Callable[[Definition], object]) -> None:
    """Have `load` called with the expected definition, if there is one, in a thread beside the running loop.

    Whatever it raises is dropped: the work itself meets the same fault, and tells it.
    """

    def work() -> None:
        definition = expected()
        if definition is not None:
            with suppress(Exception):
                load(definition)

    if VARIABLE in os.environ:
        asyncio.get_running_loop().run_in_executor(None, work)
