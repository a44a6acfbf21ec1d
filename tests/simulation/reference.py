"""The plain loop that a fixed schedule must equal: batch after batch, each with the weights of D versions ago."""

from __future__ import annotations

from akkafka.protocol.definition import mask_key

from . import toy
from .scenario import Scenario
from .world import RUN


def final_weights(scenario: Scenario, delay: int) -> list[tuple[int, int]]:
    """(weight, momentum) of each gate after all epochs; n = seq * lanes + lane."""
    rings = [[toy.initial(gate)] for gate in range(scenario.gates)]
    for n in range(scenario.epochs * scenario.batches):
        _train(scenario, rings, n, max(0, n - delay))
    return [ring[-1] for ring in rings]


def _train(scenario: Scenario, rings: list[list[tuple[int, int]]], n: int, version: int) -> None:
    cursor = scenario.cursor(n)
    y = toy.sample(0, cursor.epoch, cursor.batch)
    inputs = []
    keys = [mask_key(RUN, gate, n % scenario.lanes, n // scenario.lanes) for gate in range(scenario.gates)]
    for ring, key in zip(rings, keys, strict=True):
        inputs.append(y)
        y = toy.forward(y, ring[version][0], key)
    dy = toy.loss_gradient(y, cursor.batch + 5)
    for gate in reversed(range(scenario.gates)):
        w, m = rings[gate][n]
        then = rings[gate][version][0]
        gradient = toy.weight_gradient(inputs[gate], then, dy)
        dy = toy.input_gradient(inputs[gate], then, keys[gate], dy)
        rings[gate].append(toy.stepped(w, m, gradient, then, n - version))
