"""How a peer is run in its environment: `python -m akkafka.cli.bench.peers MODULE JOB.json`; prints its result."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from akkafka.cli.bench.peers.job import Job

if __name__ == "__main__":
    name, path = sys.argv[1:]
    module = importlib.import_module(f"akkafka.cli.bench.peers.{name}")
    print(module.run(Job.read(Path(path))).line(), flush=True)
