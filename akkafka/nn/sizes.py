"""Sizes in a layer's settings: whole numbers and short lists of them, as TOML and JSON write them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def _tuple(data: Any) -> Any:
    return tuple(data) if isinstance(data, list) else data


Size = Annotated[int, Field(ge=1, le=1 << 20)]
"""At least 1."""
Rim = Annotated[int, Field(ge=0, le=1 << 20)]
"""At least 0."""
Sizes = Annotated[tuple[int, ...], BeforeValidator(_tuple)]
"""A list of whole numbers."""
Pair = Size | Annotated[tuple[Size, Size], BeforeValidator(_tuple)]
"""One number for height and width, or [height, width]; each at least 1."""
RimPair = Rim | Annotated[tuple[Rim, Rim], BeforeValidator(_tuple)]
"""As Pair, each at least 0."""


def pair(sizes: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width)."""
    return (sizes, sizes) if isinstance(sizes, int) else sizes
