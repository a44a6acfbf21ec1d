"""Whether processes grow while they live: resident memory, sampled. Pure but for the sampling itself."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil

WARM_S = 20.0  # imports, kernels, first batches: growth that ends by itself
LIVED_S = 60.0  # less than that tells nothing about growth
ALLOWED_BYTES = 24 << 20  # of noise between an early and a late third: buffers of the allocator
JUMP_BYTES = 32 << 20  # from one sample to the next: another work, not growth
Point = tuple[float, int]  # (seconds, bytes)


@dataclass(frozen=True, slots=True)
class Growth:
    """One process's memory, early and late in its life."""

    who: str
    seconds: float
    early_bytes: int
    late_bytes: int

    @property
    def grew(self) -> bool:
        """More than noise explains."""
        return self.late_bytes - self.early_bytes > max(ALLOWED_BYTES, self.early_bytes // 5)


def _last_jump(points: Sequence[Point]) -> int:
    """Where the last piece of a life begins: a standby that takes over needs more from one moment to the next."""
    jumps = [i for i in range(1, len(points)) if points[i][1] - points[i - 1][1] > JUMP_BYTES]
    return jumps[-1] if jumps else 0


def growth(who: str, points: Sequence[Point]) -> Growth | None:
    """Medians of the first and last third behind the warm-up; None for a life too short to tell.

    A life begins with a process, or when it takes up other work.
    """
    points = points[_last_jump(points) :]
    warm = [(at, size) for at, size in points if at - points[0][0] >= WARM_S]
    if not warm or warm[-1][0] - points[0][0] < LIVED_S or len(warm) < 6:
        return None
    third = len(warm) // 3
    early, late = warm[:third], warm[-third:]
    return Growth(
        who,
        warm[-1][0] - points[0][0],
        int(statistics.median(size for _, size in early)),
        int(statistics.median(size for _, size in late)),
    )


@dataclass(slots=True)
class Memory:
    """Samples of all processes that were ever seen."""

    points: dict[tuple[str, int], list[Point]] = field(default_factory=dict)

    def sample(self, workers: Mapping[str, Sequence[psutil.Process]], now: float) -> None:
        """Look at all of them now."""
        for role, processes in workers.items():
            for process in processes:
                try:
                    size = process.memory_info().rss
                except psutil.Error:
                    continue
                self.points.setdefault((role, process.pid), []).append((now, size))

    @property
    def peak(self) -> int:
        """The most that any process had."""
        return max((size for points in self.points.values() for _, size in points), default=0)

    def growths(self) -> list[Growth]:
        """Of every process that lived long enough."""
        found = (growth(f"{role} (pid {pid})", points) for (role, pid), points in self.points.items())
        return [one for one in found if one is not None]
