"""`merge = ["0-1", "2"]`: neighbours of a configuration's gates become one gate, with all their layers in a row.

Nothing travels between the layers of a gate, so a merged network writes less into the log; what its gates do is then
divided among the cores by rows of the batch (nn/divided.py) instead of by gates. It is another network: first weights
are drawn anew, gradients are clipped and steps are made for all the layers at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from akkafka.errors import ConfigError
from akkafka.protocol.ranges import each_once

KEY: Final = "merge"
MAX_NAME: Final = 80  # as protocol/definition.py takes them
_ONE: Final = ("optimizer", "trainable")  # of which a gate has one for all its layers


def merged(document: Mapping[str, Any]) -> dict[str, Any]:
    """`document` with what it says about merging done, and that key gone.

    Gates that are malformed stay as they are, for others to tell. Raises ConfigError for ranges that do not name each
    gate once, and for gates that one gate can't stand for.
    """
    rest = dict(document)
    told, gates = rest.pop(KEY, None), rest.get("gate")
    if told is None:
        return rest
    if not isinstance(told, list) or not all(isinstance(text, str) for text in told):
        raise ConfigError(f"{KEY}: takes a list of gates, got {told!r}", hint='Such as ["0-1", "2"].')
    if not isinstance(gates, list) or not all(map(_sound, gates)):
        return rest
    hint = f'Each gate once, in order; for one gate with all layers: ["0-{len(gates) - 1}"].'
    ranges = each_once(KEY, told, len(gates), hint)
    rest["gate"] = [_one([gates[i] for i in named]) for named in ranges]
    return rest


def _sound(gate: Any) -> bool:
    return isinstance(gate, dict) and isinstance(gate.get("layers"), list) and isinstance(gate.get("name"), str)


def _one(gates: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One gate for some; the edge behind it is that behind the last."""
    if len(gates) == 1:
        return gates[0]
    first, last = gates[0], gates[-1]
    for other in gates[1:]:
        for key in _ONE:
            if first.get(key) != other.get(key):
                raise ConfigError(
                    f"{KEY}: gates {first['name']!r} and {other['name']!r} differ in {key}, of which a gate has one",
                    hint=f"Give both the same {key}, or leave them two gates.",
                )
    for gate in gates:
        if "weights" in gate:
            raise ConfigError(
                f"{KEY}: gate {gate['name']!r} has weights of its own, named for the gate as it is",
                hint="Merge first, then export and import the weights of the merged network.",
            )
    name = "-".join(gate["name"] for gate in gates)
    kept = {key: first[key] for key in _ONE if key in first} | ({"wire": last["wire"]} if "wire" in last else {})
    layers = [layer for gate in gates for layer in gate["layers"]]
    return {"name": name if len(name) <= MAX_NAME else f"{first['name']}-to-{last['name']}", "layers": layers, **kept}
