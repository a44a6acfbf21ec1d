"""The weights that a gate begins with where its definition names some: brought by `akkafka import`, kept in the log.

They lie in the `data` topic like published samples: one float32 array for each gate, its params one behind the other.
The definition names them by their hash, so weights still follow from the definition and the journal alone, on every
machine and for every standby, and nobody can put others in their place.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from akkafka.broker.base import Broker
from akkafka.broker.library import Catalogue, Library, publish, samples_id
from akkafka.broker.network import Network
from akkafka.broker.patience import patiently
from akkafka.errors import NetworkError
from akkafka.gate.model import Model
from akkafka.gate.state import GateState
from akkafka.nn.layer import F32, Layer, Params, check_params
from akkafka.protocol.definition import Definition

LOOK_S = 0.5
TOLD_S = 5.0


def flat_weights(layer: Layer, params: Params) -> F32:
    """The params (n,) float32, in the layer's own order; raises ShapeError if they are not its own."""
    check_params(layer, params)
    return np.concatenate([np.ravel(params[name]) for name in layer.param_shapes])


def weights_name(flat: F32) -> str:
    """What a definition names such weights by."""
    return samples_id(flat).hex()


def params_of(layer: Layer, flat: F32) -> dict[str, F32]:
    """The params again, as new arrays; `flat` is as long as they are."""
    params: dict[str, F32] = {}
    at = 0
    for name, shape in layer.param_shapes.items():
        params[name] = flat[at : at + math.prod(shape)].reshape(shape).copy()
        at += math.prod(shape)
    return params


def beginning_with(definition: Definition, gates: Mapping[str, Params]) -> tuple[Definition, dict[str, F32]]:
    """The definition whose gates of these names begin with these weights, and the weights as they are published.

    Raises ShapeError if they are not those gates' own.
    """
    flats = {
        spec.name: flat_weights(layer, gates[spec.name])
        for spec, layer in zip(definition.gates, definition.layers, strict=True)
        if spec.name in gates
    }
    named = {name: {"weights": weights_name(flat)} for name, flat in flats.items()}
    specs = tuple(spec.model_copy(update=named.get(spec.name)) for spec in definition.gates)
    return definition.model_copy(update={"gates": specs}), flats


async def publish_weights(
    broker: Broker, network: Network, flats: Mapping[str, F32], say: Callable[[str], None]
) -> None:
    """Put the weights that the definition names into the log, unless they are there. `flats`: by gate.

    Raises BrokerUnavailableError or DeliveryError; who tries again goes on.
    """
    for gate in network.definition.gates:
        if gate.weights is None or gate.name not in flats:
            continue
        assert weights_name(flats[gate.name]) == gate.weights, "the definition was made from these very weights"
        say(f"gate {gate.name!r} begins with weights {gate.weights}, {flats[gate.name].size} numbers")
        await publish(broker, network, flats[gate.name], f"weights-{gate.name}", lambda _: None)


async def initial_state_of(broker: Broker, network: Network, gate: int, model: Model) -> GateState:
    """Version 0 of a gate, from its seed or from the weights in the log.

    Raises NetworkError if those are not there or are others; BrokerUnavailableError.
    """
    name = network.definition.gates[gate].weights
    if name is None:
        return model.initial()
    size = sum(math.prod(shape) for shape in model.layer.param_shapes.values())
    found = await Library(broker, network, f"weights-{gate}", 4 * size).fetch(bytes.fromhex(name))
    if isinstance(found, str):
        raise _missing(network, gate, found)
    if found.array.shape != (size,) or found.array.dtype != np.float32:
        raise _missing(network, gate, f"they are {found.array.dtype} {found.array.shape}, it takes float32 ({size},)")
    return model.initial(params_of(model.layer, found.array))


def _missing(network: Network, gate: int, why: str) -> NetworkError:
    spec = network.definition.gates[gate]
    return NetworkError(
        f"gate {gate} ({spec.name}) of network {network.name!r} begins with weights {spec.weights}: {why}",
        hint=f"Put them into the log: `akkafka import FILE CONFIG --network {network.name}`, with the file and config "
        "that it was defined with.",
    )


async def wait_for_weights(
    broker: Broker, network: Network, gate: int, leave: asyncio.Event, say: Callable[[str], None]
) -> bool:
    """True once the weights that a gate begins with are in the log; False if asked to leave before.

    Whoever imports defines the network first, as weights belong to its run.
    """
    name = network.definition.gates[gate].weights
    if name is None:
        return True
    catalogue = Catalogue(broker, network, f"weights-{gate}")
    told = -TOLD_S
    while not leave.is_set():
        if await patiently(partial(catalogue.find, bytes.fromhex(name)), leave) is not None:
            return True
        if time.monotonic() - told >= TOLD_S:
            told = time.monotonic()
            say(f"waiting for weights: {_missing(network, gate, 'they are not in the log yet')}")
        await asyncio.sleep(LOOK_S)
    return False
