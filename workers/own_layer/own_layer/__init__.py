"""Makes the layer known: importing this package is all that `--allow own_layer` or its entry point does."""

from __future__ import annotations

from akkafka.nn.spec import LAYERS

from .leaky_relu import LeakyReluSpec

__version__ = "0.1.0"

LAYERS["leaky-relu"] = LeakyReluSpec
