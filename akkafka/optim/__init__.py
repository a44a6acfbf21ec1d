"""Optimizers as pure functions over named arrays, and what they know against stale gradients.

Start with `optimizer.py` (what an optimizer is, how it is described) and `chain.py` (what all of them have in
common), then one file for each kind of rule. `kernels` is imported, and so compiled or read from numba's cache, at
first use (see akkafka.nn.kernels).
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from akkafka.optim.adam import AdamSpec, AdamWSpec, NAdamSpec
from akkafka.optim.dc_asgd import DcAsgdASpec, DcAsgdCSpec
from akkafka.optim.lion import LionSpec
from akkafka.optim.look_ahead import NesterovAsyncSpec, SpecTrainSpec
from akkafka.optim.momentum import MomentumSpec, NesterovSpec, SpikeSpec
from akkafka.optim.optimizer import OPTIMIZERS
from akkafka.optim.rmsprop import AdagradSpec, RmsPropSpec
from akkafka.optim.sgd import SgdSpec

if TYPE_CHECKING:
    from akkafka.optim import kernels

__all__ = ["kernels"]

OPTIMIZERS.update(
    {
        "sgd": SgdSpec,
        "momentum": MomentumSpec,
        "nesterov": NesterovSpec,
        "nesterov-async": NesterovAsyncSpec,
        "spectrain": SpecTrainSpec,
        "spike": SpikeSpec,
        "adam": AdamSpec,
        "adamw": AdamWSpec,
        "nadam": NAdamSpec,
        "rmsprop": RmsPropSpec,
        "adagrad": AdagradSpec,
        "lion": LionSpec,
        "dc-asgd-c": DcAsgdCSpec,
        "dc-asgd-a": DcAsgdASpec,
    }
)


def __getattr__(name: str) -> ModuleType:
    if name != "kernels":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.kernels")
