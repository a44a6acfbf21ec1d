"""`akkafka bench`: akkafka beside others at the same work.

Open first: `contest.py` (who runs when), `figures.py` (what is made of it), `peers/` (the others, each a file).
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """`app`, imported when asked for: peers import this package where there is no typer."""
    if name == "app":
        from akkafka.cli.bench.door import app

        return app
    raise AttributeError(name)
