"""Any torch.nn.Module as a layer (extra `torch`): a package of one's own names it, no message ever does.

A package derives its settings from `TorchSpec` and puts them into LAYERS, as `workers/own_torch` does; it comes by
entry point or `--allow` like any layer of one's own. Parameters and float32 buffers are the layer's params, under
PyTorch's names; other buffers are constants. Chance in a module is seeded by the pass's key, the gradient autograd's.

PyTorch promises the bits of initial weights and of chance only from one build to itself: processes of a gate, and who
replays from version 0, want the same one. A replay of later records is elementwise and wants nothing.
"""

from __future__ import annotations

import importlib
import threading
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np

from akkafka.errors import ConfigError, ShapeError
from akkafka.nn.layer import F32, FLOAT32, Array, Params, Pass, Shape, Tape
from akkafka.nn.spec import LayerSpec

_ALONE: Final = threading.Lock()  # PyTorch's generator and a module's parameters are swapped while it runs
_SEEDS: Final = 1 << 63


class TorchSpec(LayerSpec):
    """Settings of a layer that is a PyTorch module; a package of one's own fills in `type`, settings and `module`."""

    @abstractmethod
    def module(self, in_shape: Shape) -> Any:
        """A new torch.nn.Module for batches (B, *in_shape); its first weights may be drawn from PyTorch's generator."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> TorchModule:
        """The layer; raises ShapeError with what the module says if it does not take such samples."""
        return TorchModule(self, in_shape, in_dtype)


class TorchTape(NamedTuple):
    """The graph between input and output (tensors), and the buffers behind the forward."""

    x: Any
    weights: dict[str, Any]
    y: Any
    buffers: dict[str, F32]


class TorchModule:
    """y = module(x). A buffer's statistic is its value behind the forward, which takes the old one's place: under delay
    running means follow every (delay + 1)th batch."""

    def __init__(self, spec: TorchSpec, in_shape: Shape, in_dtype: np.dtype[Any]) -> None:
        self._spec, self._torch = spec, _torch()
        self.in_shape, self.in_dtype = in_shape, in_dtype
        self._module = self._made(0)
        self._names = [name for name, _ in self._module.named_parameters()]
        self._followed = [n for n, b in self._module.named_buffers() if b.dtype == self._torch.float32]
        self.param_shapes: Mapping[str, Shape] = {name: a.shape for name, a in self._arrays(self._module).items()}
        self.buffers: Mapping[str, float] = dict.fromkeys(self._followed, 1.0)

    @cached_property
    def out_shape(self) -> Shape:
        """What the module makes of a batch of two samples of zeros."""
        x = np.zeros((2, *self.in_shape), self.in_dtype)
        try:
            y, _ = self.forward(self._arrays(self._module), x, Pass(False, 0))
        except Exception as error:
            raise ShapeError(
                f"{self._spec.type} does not take {self.in_shape} {self.in_dtype}: {type(error).__name__}: {error}"
            ) from error
        if y.dtype != FLOAT32 or y.shape[:1] != (2,):
            raise ShapeError(f"{self._spec.type} gives {y.shape} {y.dtype} for two samples, takes (2, ...) float32")
        return tuple(y.shape[1:])

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """The first weights of a new module, PyTorch's generator seeded with a word of `rng`'s."""
        return self._arrays(self._made(int(rng.bit_generator.random_raw()) % _SEEDS))

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        torch = self._torch
        state = {name: torch.tensor(w, requires_grad=name not in self.buffers) for name, w in params.items()}
        their_x = torch.tensor(x, requires_grad=x.dtype == FLOAT32)
        with _ALONE, torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.key % _SEEDS)
            self._module.train(run.training)
            y = torch.func.functional_call(self._module, state, (their_x,))
        buffers = {name: state[name].numpy() for name in self._followed}
        weights = {name: state[name] for name in self._names}
        return np.ascontiguousarray(y.detach().numpy()), TorchTape(their_x, weights, y, buffers)

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer; a parameter that had no part in the output has a gradient of 0."""
        torch, floats = self._torch, tape.x.requires_grad
        wanted = [*tape.weights.values(), *([tape.x] if need_dx and floats else [])]
        found = torch.autograd.grad(tape.y, wanted, torch.tensor(dy), retain_graph=True, allow_unused=True)
        arrays = [_array(g, like.shape) for g, like in zip(found, wanted, strict=True)]
        grads = dict(zip(tape.weights, arrays, strict=False))
        dx = None
        if need_dx:
            dx = arrays[-1] if floats else np.zeros(tuple(tape.x.shape), np.float32)
        return dx, {name: grads[name] if name in grads else tape.buffers[name] for name in self.param_shapes}

    def _made(self, seed: int) -> Any:
        with _ALONE, self._torch.random.fork_rng(devices=[]):
            self._torch.manual_seed(seed)
            module = self._spec.module(self.in_shape)
        for name, weight in module.named_parameters():
            if weight.dtype != self._torch.float32:
                raise ConfigError(f"{self._spec.type}: parameter {name} is {weight.dtype}, takes float32")
        return module

    def _arrays(self, module: Any) -> dict[str, F32]:
        """Parameters and followed buffers, as new arrays."""
        held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        return {name: np.array(held[name].detach().numpy()) for name in [*self._names, *self._followed]}


def _array(gradient: Any, shape: Any) -> F32:
    return np.zeros(tuple(shape), np.float32) if gradient is None else np.ascontiguousarray(gradient.numpy())


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise ConfigError(
            "a layer that is a PyTorch module needs PyTorch, which is not installed here",
            hint="pip install 'akkafka[torch]'",
        ) from error
