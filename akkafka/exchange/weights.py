"""What is exchanged: the weights of a network's gates, under the names of its definition, and facts about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from numpy.typing import NDArray

import akkafka
from akkafka.nn.layer import Params
from akkafka.protocol.definition import Definition
from akkafka.protocol.messages import Run

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Facts: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Weights by gate, in the definition's order, and what is told of them."""

    gates: Mapping[str, Params]
    facts: Facts = field(default_factory=dict)

    @property
    def flat(self) -> dict[str, NDArray[Any]]:
        """ "<gate>.<param>" to array: names that are unique in the network."""
        return {f"{gate}.{name}": array for gate, params in self.gates.items() for name, array in params.items()}


def facts_of(network: str, run: Run, definition: Definition, versions: Mapping[str, int]) -> Facts:
    """What a file tells of where its weights come from; `versions`: of the gates, by name. All values are text."""
    return {
        "akkafka": akkafka.__version__,
        "network": network,
        "run": str(run),
        "definition_hash": definition.hash,
        "definition": definition.canonical,
        "versions": json.dumps(dict(versions)),
    }
