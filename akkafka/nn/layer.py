"""What every layer promises, so that a gate can host any of them without knowing which.

A layer knows its shapes and its rule. It holds no batch and no weights: both come as arguments, so that
many batches can be in flight through one layer and the weights can be replaced between them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from akkafka.errors import ShapeError

Array: TypeAlias = NDArray[Any]
F32: TypeAlias = NDArray[np.float32]
Params: TypeAlias = Mapping[str, F32]
"""Flat names: "weight" in a layer, "<position>.weight" in a sequence, "<position>.<position>.weight" when
nested."""
Shape: TypeAlias = tuple[int, ...]
Tape: TypeAlias = Any
"""What a forward leaves for its backward; only the layer that made it looks inside."""

FLOAT32: np.dtype[Any] = np.dtype(np.float32)
UINT8: np.dtype[Any] = np.dtype(np.uint8)
NO_BUFFERS: Mapping[str, float] = MappingProxyType({})
NO_PARAMS: Mapping[str, Shape] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Pass:
    """What a forward may know of its batch, besides the data."""

    training: bool
    """False: no chance, no statistics of the batch; validation and prediction."""
    key: int
    """0 ≤ key < 2**128; all chance of a layer follows from it and the layer's position, never from a
    stream."""

    def at(self, position: int) -> Pass:
        """The same pass as the layer at `position` of a sequence sees it, with a key of its own.

        The key is BLAKE2b-128 of (key, position), both little-endian: the same on every machine, for ever.
        """
        if not self.training:
            return self
        text = self.key.to_bytes(16, "little") + position.to_bytes(4, "little")
        digest = hashlib.blake2b(text, digest_size=16, person=b"akkafka.position").digest()
        return Pass(True, int.from_bytes(digest, "little"))


class Layer(Protocol):
    """Two pure functions and the shapes they go by.

    Batches are (B, *shape), C-contiguous, B ≥ 1; whoever takes a batch from outside checks it with
    `check_batch`. Arrays are never written once handed over: `y` may be `x` itself or a view of it, and a
    tape may hold both.
    """

    @property
    def in_shape(self) -> Shape:
        """Shape of one sample on the way in, without the batch dimension."""

    @property
    def out_shape(self) -> Shape:
        """Shape of one sample on the way out, without the batch dimension."""

    @property
    def in_dtype(self) -> np.dtype[Any]:
        """float32, or uint8 (pixels) or int32 (tokens) where no weighted layer came before."""

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """float32, or uint8 for layers that only reshape uint8."""

    @property
    def param_shapes(self) -> Mapping[str, Shape]:
        """Name to shape of every entry of the params, in the order of `init`; all float32."""

    @property
    def buffers(self) -> Mapping[str, float]:
        """Name to momentum of those params that are not trained but follow the batches' statistics."""

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """Fresh params; a pure function of the bits that `rng`'s bit generator gives."""

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[Array, Tape]:
        """Output (B, *out_shape) of the batch `x` (B, *in_shape), and the tape for `backward`."""

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """Gradients for the input, (B, *in_shape) float32 or None if not needed, and for the params, keyed
        like them.

        `params` are the weights of the forward that made `tape`; `dy` is (B, *out_shape) float32. For a
        buffer the entry is not a gradient but the batch's statistic, for `follow_statistics`.
        """


class Unweighted:
    """What layers without params have in common."""

    __slots__ = ()

    @property
    def param_shapes(self) -> Mapping[str, Shape]:
        """Empty."""
        return NO_PARAMS

    @property
    def buffers(self) -> Mapping[str, float]:
        """Empty."""
        return NO_BUFFERS

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """Nothing; `rng` stays as it is."""
        return {}


def check_batch(layer: Layer, x: Array) -> None:
    """Raise ShapeError unless `x` is a batch that `layer` takes: (B ≥ 1, *in_shape), in_dtype,
    C-contiguous."""
    _check(x, layer.in_shape, layer.in_dtype, "batch")


def check_gradient(layer: Layer, dy: Array, batch: int) -> None:
    """Raise ShapeError unless `dy` is the gradient of an output of `batch` samples: float32, C-contiguous."""
    _check(dy, layer.out_shape, FLOAT32, "gradient")
    if dy.shape[0] != batch:
        raise ShapeError(f"gradient: got {dy.shape[0]} samples, its forward had {batch}")


def check_params(layer: Layer, params: Mapping[str, Array]) -> None:
    """Raise ShapeError unless `params` has just the names, shapes and dtype that `layer` takes."""
    if params.keys() != layer.param_shapes.keys():
        got, takes = sorted(params), sorted(layer.param_shapes)
        raise ShapeError(f"params: got the names {got}, takes {takes}")
    for name, shape in layer.param_shapes.items():
        array = params[name]
        if array.shape != shape or array.dtype != FLOAT32:
            raise ShapeError(f"params, {name}: got {array.shape} {array.dtype}, takes {shape} float32")


def _check(x: Array, shape: Shape, dtype: np.dtype[Any], what: str) -> None:
    if x.shape[1:] != shape or x.ndim != len(shape) + 1 or x.dtype != dtype:
        takes = ", ".join(("B", *map(str, shape)))
        raise ShapeError(
            f"{what}: got {x.shape} {x.dtype}, takes ({takes}) {dtype}",
            hint="compare the network's definition with what is sent: sample shape, and uint8 or float32",
        )
    if x.shape[0] < 1 or not x.flags.c_contiguous:
        raise ShapeError(f"{what}: got {x.shape[0]} samples, strides {x.strides}; takes at least one, C-contiguous")
