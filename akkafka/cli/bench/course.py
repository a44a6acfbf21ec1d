"""From a network's definition to the job that every peer is given: same samples, order, weights, rates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from akkafka.cli.bench.peers.job import F32, Job, Op
from akkafka.data import Dataset, load, permutation
from akkafka.errors import ConfigError
from akkafka.nn.layers.conv2d import Conv2dSpec
from akkafka.nn.layers.flatten import FlattenSpec
from akkafka.nn.layers.linear import LinearSpec
from akkafka.nn.layers.pool2d import MaxPool2dSpec
from akkafka.nn.layers.relu import ReluSpec
from akkafka.nn.layers.reshape import ReshapeSpec
from akkafka.nn.layers.scale import ScaleSpec
from akkafka.nn.spec import LayerSpec
from akkafka.optim.sgd import SgdSpec
from akkafka.protocol.definition import Definition
from akkafka.protocol.messages import Mode
from akkafka.protocol.settings import GateSpec

HINT = (
    "Peers know flatten, reshape, scale, linear, conv2d, max-pool2d and relu, SGD, and one training lane: as in the "
    "bundled mnist, and in mlp-wide and lenet of --net."
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A definition, reduced to what peers can do."""

    layers: tuple[tuple[Op, ...], ...]
    optimizer: SgdSpec


def lay_out(definition: Definition, epochs: int, folder: Path, data_dir: Path | None, target: float = 0.0) -> Job:
    """Write the arrays of a job of `epochs` epochs into `folder`, and the job itself as `job.json`.

    Raises ConfigError for a network that peers cannot do, DataError for data that cannot be had.
    """
    shape = reduced(definition)
    train, validation = (load(definition.data, split, data_dir=data_dir) for split in ("train", "validation"))
    if train.x.dtype != np.uint8 or train.y.ndim != 1:
        raise ConfigError(f"bench: peers take pixels (uint8) and class numbers, got {train.x.dtype}", hint=HINT)
    _write_samples(folder, "", train)
    _write_samples(folder, "_validation", validation)
    np.save(folder / "order.npy", np.stack([permutation(len(train), definition.seed, n) for n in range(epochs)]))
    for i in range(len(definition.gates)):
        np.savez(folder / f"weights{i}.npz", **_first_weights(definition, i))  # type: ignore[arg-type]
    updates = -(-len(train) // definition.batch_size) * epochs
    job = Job(
        str(folder),
        definition.batch_size,
        definition.schedule.window,
        shape.layers,
        shape.optimizer.clip_norm,
        tuple(float(shape.optimizer.rate(version)) for version in range(updates)),
        definition=definition.canonical,
        target=target,
    )
    job.write(folder / "job.json")
    return job


def reduced(definition: Definition) -> Shape:
    """What peers need to know of a network. Raises ConfigError for one that they cannot do."""
    layers = tuple(_ops(gate) for gate in definition.gates)
    optimizers = {gate.optimizer.model_dump_json() for gate in definition.gates}
    first = definition.gates[0].optimizer
    if len(optimizers) > 1 or not isinstance(first, SgdSpec) or first.weight_decay:
        raise ConfigError("bench: peers know one SGD without weight decay for all gates", hint=HINT)
    if len(definition.plan.of(Mode.TRAIN)) != 1 or definition.loss != "softmax-cross-entropy":
        raise ConfigError("bench: peers know one training lane and softmax cross-entropy", hint=HINT)
    return Shape(layers, first)


def _ops(gate: GateSpec) -> tuple[Op, ...]:
    """The gate's layers in a peer's words."""
    ops = [_op(layer) for layer in gate.layers]
    weighted = [layer for layer in gate.layers if isinstance(layer, LinearSpec | Conv2dSpec)]
    odd = any(
        isinstance(layer, ReluSpec) and not isinstance(before, LinearSpec | Conv2dSpec)
        for before, layer in pairwise([None, *gate.layers])
    )
    if None in ops or not weighted or odd:
        told = ", ".join(layer.type for layer in gate.layers)
        raise ConfigError(
            f"bench: gate {gate.name} has layers {told}; peers take linear and conv2d (step 1, with bias), relu behind "
            "them, and some without weights",
            hint=HINT,
        )
    return tuple(op for op in ops if op is not None)


def _op(layer: LayerSpec) -> Op | None:
    """One layer; None if peers cannot do it."""
    match layer:
        case LinearSpec(bias=True) | ReluSpec() | FlattenSpec():
            return {"type": layer.type}
        case ScaleSpec(scale=scale, shift=shift):
            return {"type": layer.type, "scale": scale, "shift": shift}
        case ReshapeSpec(shape=shape):
            return {"type": layer.type, "shape": list(shape)}
        case Conv2dSpec(padding=int(padding), stride=1, dilation=1, groups=1, bias=True):
            return {"type": layer.type, "padding": padding}
        case MaxPool2dSpec(kernel=int(kernel), stride=None, padding=0, dilation=1):
            return {"type": layer.type, "kernel": kernel}
    return None


def _first_weights(definition: Definition, gate: int) -> dict[str, F32]:
    """As the gate itself draws them."""
    seed = np.random.SeedSequence(definition.weights_seed(gate))
    return dict(definition.layers[gate].init(np.random.Generator(np.random.PCG64(seed))))


def _write_samples(folder: Path, suffix: str, samples: Dataset) -> None:
    np.save(folder / f"x{suffix}.npy", np.ascontiguousarray(samples.x))
    np.save(folder / f"y{suffix}.npy", samples.y.astype(np.int64))
