"""`akkafka audit`: proves from the log alone that every batch counted once at every gate."""

from __future__ import annotations

import asyncio
import json

from akkafka.audit.examine import examine
from akkafka.audit.judge import Judge
from akkafka.audit.report import facts_of, lines_of
from akkafka.broker.network import find
from akkafka.cli.console import say
from akkafka.cli.locating import locate, reached
from akkafka.cli.networks import missing
from akkafka.cli.options import Where
from akkafka.errors import NetworkError

FAULTS = 9


def audit(name: str | None, where: Where, *, as_json: bool) -> int:
    """Print what the log says; 0 only if all of it holds."""

    async def work() -> Judge:
        async with reached(locate(where, say)) as broker:
            network = await find(broker, name)
            if network is None:
                raise missing(name) if name else NetworkError("there is no network on this broker")
            return await examine(broker, network)

    facts = facts_of(asyncio.run(work()))
    print(json.dumps(facts, indent=2) if as_json else "\n".join(lines_of(facts)))
    return 0 if facts["holds"] else FAULTS
