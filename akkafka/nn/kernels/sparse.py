"""Products with a matrix of bytes that are mostly zero: pixels on a dark ground, counts of words.

The matrix stands as its entries that are not zero, row by row: entry p is values[p] in column positions[p], those of
row i are starts[i]…starts[i + 1] - 1. Behind the last one `positions` and `values` may have room. By columns it is
stored alike, rows and columns changing parts. Arrays C-contiguous. Nothing is checked here.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from akkafka.nn.kernels.machine import (
    compiled,
    f32,
    f32_2d,
    i64,
    i64_1d,
    in_f32_1d,
    in_f32_2d,
    in_i64_1d,
    in_u8_1d,
    in_u16_1d,
    in_u64_1d,
    nothing,
    u8_1d,
    u16_1d,
)
from akkafka.nn.kernels.vectors import LANES, weighted_of
from akkafka.nn.layer import F32

U8: TypeAlias = NDArray[np.uint8]
U16: TypeAlias = NDArray[np.uint16]
U64: TypeAlias = NDArray[np.uint64]
I64: TypeAlias = NDArray[np.int64]
UNSIGNED = np.uint64
WORD = 8  # bytes
BLOCK = 8 * LANES  # columns of a table whose sums fit into the registers of a processor with 16 vectors

_eight, _four, _two = weighted_of(8), weighted_of(4), weighted_of(2)


@compiled(i64, in_u8_1d, in_u64_1d, i64, u16_1d, u8_1d, i64_1d)
def nonzeros(x: U8, words: U64, width: int, positions: U16, values: U8, starts: I64) -> int:
    """The entries of the rows of `x` (rows·width,) that are not zero, and their number; -1 if there is no room.

    `words` is `x` again, eight bytes in one, if `width` is a multiple of eight; else empty. `starts` is (rows + 1,).
    Room for eight more than are found is needed.
    """
    many = width // WORD if words.size else 0
    room, count = positions.size - WORD, 0
    for i in range(starts.size - 1):
        starts[i] = count
        for q in range(many):
            if words[UNSIGNED(i * many + q)] != 0:  # of pixels on a dark ground few are: most of a row costs nothing
                if count > room:
                    return -1
                for j in range(q * WORD, q * WORD + WORD):
                    value = x[UNSIGNED(i * width + j)]
                    positions[UNSIGNED(count)], values[UNSIGNED(count)] = np.uint16(j), value
                    count += value != 0
        for j in range(many * WORD, width):
            if count > room:
                return -1
            value = x[UNSIGNED(i * width + j)]
            positions[UNSIGNED(count)], values[UNSIGNED(count)] = np.uint16(j), value
            count += value != 0
    starts[starts.size - 1] = count
    return count if count <= room else -1


@compiled(nothing, in_u16_1d, in_u8_1d, in_i64_1d, u16_1d, u8_1d, i64_1d)
def by_column(positions: U16, values: U8, starts: I64, rows: U16, turned: U8, columns: I64) -> None:
    """The same matrix by columns, each with its rows in order; `columns` is (width + 1,)."""
    columns[:] = 0
    count = starts[starts.size - 1]
    for p in range(count):
        columns[UNSIGNED(positions[UNSIGNED(p)] + 1)] += 1
    for j in range(1, columns.size):
        columns[j] += columns[j - 1]
    place = columns.copy()
    for i in range(starts.size - 1):
        for p in range(starts[i], starts[i + 1]):
            column = UNSIGNED(positions[UNSIGNED(p)])
            at = UNSIGNED(place[column])
            rows[at], turned[at] = np.uint16(i), values[UNSIGNED(p)]
            place[column] += 1


@compiled(nothing, in_u16_1d, in_u8_1d, in_i64_1d, in_f32_2d, f32, in_f32_1d, f32, f32_2d)
def times(
    positions: U16,
    values: U8,
    starts: I64,
    table: F32,
    scale: np.float32,
    added: F32,
    floor: np.float32,
    out: F32,
) -> None:
    """out[i, j] = (the matrix @ table)[i, j]·scale + added[j], `floor` where that is not more.

    Not-a-number stays what it is. The table is taken a block of columns at a time, which is copied first: rows that lie
    a power of two apart would share few places of a cache.
    """
    width = table.shape[1]
    block, line = np.empty(table.shape[0] * BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for at in range(0, width, BLOCK):
        columns = min(width - at, BLOCK)
        lanes = BLOCK if columns > 4 * LANES else 4 * LANES if columns > 2 * LANES else 2 * LANES
        for k in range(table.shape[0]):
            for j in range(columns):
                block[UNSIGNED(k * lanes + j)] = table[UNSIGNED(k), UNSIGNED(at + j)]
            for j in range(columns, lanes):
                block[UNSIGNED(k * lanes + j)] = 0
        stride, zero = UNSIGNED(lanes), UNSIGNED(0)
        for i in range(out.shape[0]):
            begin, end = UNSIGNED(starts[i]), UNSIGNED(starts[i + 1])
            if lanes == BLOCK:
                _eight(positions, values, begin, end, block, zero, stride, line, zero)
            elif lanes == 4 * LANES:
                _four(positions, values, begin, end, block, zero, stride, line, zero)
            else:
                _two(positions, values, begin, end, block, zero, stride, line, zero)
            for j in range(columns):
                z = line[UNSIGNED(j)] * scale + added[UNSIGNED(at + j)]
                out[UNSIGNED(i), UNSIGNED(at + j)] = floor if z <= floor else z
