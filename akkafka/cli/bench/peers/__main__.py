"""How a peer is run in its environment; prints its result: `python -m akkafka.cli.bench.peers MODULE JOB.json [THREADS
MICRO_BATCHES]`."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

from akkafka.cli.bench.peers.job import Job

if __name__ == "__main__":
    name, path, *own = sys.argv[1:]
    module = importlib.import_module(f"akkafka.cli.bench.peers.{name}")
    job = Job.read(Path(path))
    if own:
        job = replace(job, threads=int(own[0]), micro_batches=int(own[1]))
    print(module.run(job).line(), flush=True)
