"""Sizes in a layer's settings: whole numbers and short lists of them, as TOML and JSON write them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

GREATEST = 1 << 20


def _tuple(data: Any) -> Any:
    return tuple(data) if isinstance(data, list) else data


def _one_or_two(least: int) -> BeforeValidator:
    """Checks a size, or two of them, in words that name both."""

    def checked(data: Any) -> Any:
        sizes = data if isinstance(data, list | tuple) else (data,)
        two = isinstance(data, list | tuple)
        whole = all(isinstance(size, int) and not isinstance(size, bool) for size in sizes)
        if not whole or two != (len(sizes) == 2) or not all(least <= size <= GREATEST for size in sizes):
            raise PydanticCustomError(
                "sizes", "takes a whole number or [height, width], each at least {least}", {"least": least}
            )
        return _tuple(data)

    return BeforeValidator(checked)


Size = Annotated[int, Field(ge=1, le=GREATEST)]
"""At least 1."""
Sizes = Annotated[tuple[int, ...], BeforeValidator(_tuple)]
"""A list of whole numbers."""
Pair = Annotated[int | tuple[int, int], _one_or_two(1)]
"""One number for height and width, or [height, width]; each at least 1."""
RimPair = Annotated[int | tuple[int, int], _one_or_two(0)]
"""As Pair, each at least 0."""


def pair(sizes: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width)."""
    return (sizes, sizes) if isinstance(sizes, int) else sizes
