"""What commands print: tables and lines, the same words on a terminal and in a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def say(line: str) -> None:
    """A line about progress, on stderr: stdout is for results."""
    print(line, file=sys.stderr, flush=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: first column to the left, others to the right, two blanks between."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return [_row(row, widths) for row in cells]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join([cells[0].ljust(widths[0]), *padded[1:]]).rstrip()


def size(count: float) -> str:
    """Bytes for people: 1536 -> '1.5 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("the loop returns")


def spoiled_words(voids: int, zeroed: int) -> str:
    """Of batches that could not be processed, or only without their gradient; empty if there were none."""
    told = [f"{voids} batches void"] if voids else []
    return ", ".join([*told, *([f"{zeroed} applied with a gradient of zero"] if zeroed else [])])
