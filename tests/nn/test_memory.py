"""Memory that is used again, never while anybody holds an array in it, and where its arrays begin."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from akkafka.nn.layer import F32
from akkafka.nn.memory import CELL_BYTES, LINE_BYTES, PAGE_BYTES, SPARE, Memory


def room_of(array: F32) -> int:
    """Where the memory begins that the array lies in."""
    assert isinstance(array.base, np.ndarray)
    return int(array.base.ctypes.data)


def test_a_room_is_used_again_once_its_array_is_gone() -> None:
    memory = Memory()
    array = memory.placed((3, 5), [])
    first = room_of(array)
    del array
    array = memory.placed((15,), [])
    assert room_of(array) == first


def test_a_room_that_anybody_holds_a_part_of_is_not_used() -> None:
    memory = Memory()
    array = memory.placed((3, 5), [])
    first, part = room_of(array), array[1:, ::2]
    held = memory.placed((3, 5), []).data
    del array
    rooms = {room_of(memory.placed((3, 5), [])) for _ in range(3)}
    assert len(rooms) == 1 and first not in rooms
    part[:] = 7.0
    assert not (memory.placed((3, 5), []) == 7.0).any()
    del part
    assert room_of(memory.placed((3, 5), [])) in {first, *rooms}
    assert held.nbytes == 60


def test_rooms_that_nobody_needs_any_more_are_given_back() -> None:
    memory = Memory()
    many = [memory.placed((4,), []) for _ in range(3 * SPARE)]
    assert len({room_of(array) for array in many}) == 3 * SPARE
    many.clear()
    kept = memory.placed((4,), [])
    assert kept.size == 4 and len(memory._rooms[4]) == SPARE


@given(st.lists(st.integers(0, PAGE_BYTES // 4 - 1), max_size=7), st.integers(1, 300))
def test_an_output_begins_with_a_line_and_far_from_all_others_in_its_page(starts: list[int], size: int) -> None:
    page = np.empty(2 * PAGE_BYTES // 4, np.float32)
    others = [page[start:] for start in starts]
    out = Memory().placed((size,), others)
    assert out.ctypes.data % LINE_BYTES == 0
    assert out.shape == (size,)
    assert out.flags.c_contiguous
    for other in others:
        apart = (out.ctypes.data - other.ctypes.data) % PAGE_BYTES
        assert min(apart, PAGE_BYTES - apart) >= CELL_BYTES // 2 - 4
