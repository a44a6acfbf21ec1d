"""From a network's definition to the job that every peer is given: same samples, order, weights, rates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from akkafka.cli.bench.peers.job import F32, Job
from akkafka.data import Dataset, load, permutation
from akkafka.errors import ConfigError
from akkafka.nn.layers.flatten import FlattenSpec
from akkafka.nn.layers.linear import LinearSpec
from akkafka.nn.layers.relu import ReluSpec
from akkafka.nn.layers.scale import ScaleSpec
from akkafka.nn.spec import LayerSpec
from akkafka.optim.sgd import SgdSpec
from akkafka.protocol.definition import Definition, GateSpec
from akkafka.protocol.messages import Mode

HINT = "Peers know flatten, scale, linear and relu, SGD, and one training lane: as in the bundled mnist."


@dataclass(frozen=True, slots=True)
class _Stage:
    """What a gate has around its linear layer."""

    relu: bool
    behind: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Shape:
    """A definition, reduced to what peers can do."""

    scale: float
    shift: float
    stages: tuple[_Stage, ...]
    optimizer: SgdSpec


def lay_out(definition: Definition, epochs: int, folder: Path, data_dir: Path | None) -> Job:
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
        weight, bias = _first_weights(definition, i)
        np.save(folder / f"weight{i}.npy", weight)
        np.save(folder / f"bias{i}.npy", bias)
    updates = -(-len(train) // definition.batch_size) * epochs
    job = Job(
        str(folder),
        definition.batch_size,
        definition.schedule.window,
        shape.scale,
        shape.shift,
        tuple(stage.relu for stage in shape.stages),
        tuple(stage.behind for stage in shape.stages),
        shape.optimizer.clip_norm,
        tuple(float(shape.optimizer.rate(version)) for version in range(updates)),
    )
    job.write(folder / "job.json")
    return job


def reduced(definition: Definition) -> Shape:
    """What peers need to know of a network. Raises ConfigError for one that they cannot do."""
    scale = ScaleSpec(scale=1.0, shift=0.0)
    stages = []
    for i, gate in enumerate(definition.gates):
        layers = [layer for layer in gate.layers if not isinstance(layer, FlattenSpec)]
        match layers:
            case [ScaleSpec() as first_scale, *behind] if i == 0:
                scale, layers = first_scale, behind
        stages.append(_stage(gate, layers))
    optimizers = {gate.optimizer.model_dump_json() for gate in definition.gates}
    first = definition.gates[0].optimizer
    if len(optimizers) > 1 or not isinstance(first, SgdSpec) or first.weight_decay:
        raise ConfigError("bench: peers know one SGD without weight decay for all gates", hint=HINT)
    if len(definition.plan.of(Mode.TRAIN)) != 1 or definition.loss != "softmax-cross-entropy":
        raise ConfigError("bench: peers know one training lane and softmax cross-entropy", hint=HINT)
    return Shape(scale.scale, scale.shift, tuple(stages), first)


def _stage(gate: GateSpec, layers: list[LayerSpec]) -> _Stage:
    match layers:
        case [LinearSpec(bias=True)]:
            return _Stage(relu=False, behind=None)
        case [LinearSpec(bias=True), ReluSpec()]:
            return _Stage(relu=True, behind=None)
        case [LinearSpec(bias=True), ReluSpec(), ScaleSpec(scale=scale, shift=shift)]:
            return _Stage(relu=True, behind=(scale, shift))
    told = ", ".join(layer.type for layer in gate.layers)
    raise ConfigError(
        f"bench: gate {gate.name} has layers {told}; peers take linear with bias, then relu, then scale", hint=HINT
    )


def _first_weights(definition: Definition, gate: int) -> tuple[F32, F32]:
    """As the gate itself draws them."""
    seed = np.random.SeedSequence(definition.weights_seed(gate))
    params = definition.layers[gate].init(np.random.Generator(np.random.PCG64(seed)))
    by_name = {name.rsplit(".", 1)[-1]: array for name, array in params.items()}
    return by_name["weight"], by_name["bias"]


def _write_samples(folder: Path, suffix: str, samples: Dataset) -> None:
    np.save(folder / f"x{suffix}.npy", np.ascontiguousarray(samples.x.reshape(len(samples), -1)))
    np.save(folder / f"y{suffix}.npy", samples.y.astype(np.int64))
