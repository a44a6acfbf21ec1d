"""Times contenders in turn, in one process on one thread: `python -m akkafka.cli.bench.kernels.race JOB.json`.

Started by `command.py` where PyTorch is. Its last line on stdout is the result as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

LEAST_S = 2e-3  # of one measurement: far above the clock's resolution
WARM = 3  # calls before: compiling, caches, memory


def times(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds a call of each contender, by round; in each round everybody's turn comes once, so noise is shared.

    Seconds of this process on a processor: who else has it meanwhile is not counted.
    """
    counts = {}
    for name, work in contenders.items():
        for _ in range(WARM):
            work()
        counts[name] = max(1, round(LEAST_S / max(1e-9, _seconds(work, 2))))
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            found[name].append(_seconds(work, counts[name]))
    return found


def _seconds(work: Callable[[], Any], count: int) -> float:
    begun = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - begun) / count


def row(name: str, group: str, shape: str, found: Mapping[str, list[float]]) -> dict[str, Any]:
    """A line's figures: medians in microseconds, and medians of the rounds' ratios to akkafka's time.

    "torch" is the faster of PyTorch's ways, by its median.
    """
    medians = {who: median(seconds) for who, seconds in found.items()}
    torch_ways = [who for who in medians if who.startswith("torch")]
    best = min(torch_ways, key=lambda who: medians[who])
    ours = found["akkafka"]
    ratios = {"torch": median(a / b for a, b in zip(ours, found[best], strict=True))}
    if "numpy" in found:
        ratios["numpy"] = median(a / b for a, b in zip(ours, found["numpy"], strict=True))
    return {
        "case": name,
        "group": group,
        "shape": shape,
        "microseconds": {who: 1e6 * value for who, value in medians.items()},
        "fastest_torch": best,
        "ratio_to_torch": ratios["torch"],
        **({"ratio_to_numpy": ratios["numpy"]} if "numpy" in ratios else {}),
    }


def main(job: Path) -> None:
    """Race what the job asks for, and print the rows."""
    import torch

    from akkafka.cli.bench.kernels.cases import cases

    torch.set_num_threads(1)
    wanted = json.loads(job.read_text(encoding="utf-8"))
    rows = []
    for case in cases():
        if not wanted["only"] or any(word in case.name for word in wanted["only"]):
            rows.append(row(case.name, case.group, case.shape, times(case.contenders, wanted["rounds"])))
            print(f"{case.name}: {rows[-1]['ratio_to_torch']:.2f}", file=sys.stderr, flush=True)
    print(json.dumps({"torch": torch.__version__, "rows": rows}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
