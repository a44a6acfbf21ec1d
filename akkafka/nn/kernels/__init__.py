"""Small compiled loops over arrays. A module here is imported, and so compiled or read from numba's cache,
at first use: importing numba takes about as long as all the rest together, and the command line mostly has
no need of it.

Every kernel has one signature, with read-only inputs, so that arrays taken from a message (read-only) and
arrays of our own go through the same machine code, and nothing is compiled in the middle of a training.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from akkafka.nn.kernels import (
        activation,
        casts,
        convolution,
        dense,
        elementwise,
        embedding,
        losses,
        masks,
        normalisation,
        orthogonal,
        pooling,
        recurrent,
        softmax,
        sparse,
        streaming,
    )

NAMES = (
    "activation",
    "casts",
    "convolution",
    "dense",
    "elementwise",
    "embedding",
    "losses",
    "masks",
    "normalisation",
    "orthogonal",
    "pooling",
    "recurrent",
    "softmax",
    "sparse",
    "streaming",
)

__all__ = [
    "NAMES",
    "activation",
    "casts",
    "convolution",
    "dense",
    "elementwise",
    "embedding",
    "losses",
    "masks",
    "normalisation",
    "orthogonal",
    "pooling",
    "recurrent",
    "softmax",
    "sparse",
    "streaming",
]


def __getattr__(name: str) -> ModuleType:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
