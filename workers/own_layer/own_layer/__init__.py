"""Makes the layer known: importing this package is all that `--allow own_layer` or its entry point does."""

from __future__ import annotations

from akkafka.nn.spec import LAYERS

from .folded_relu import FoldedReluSpec

__version__ = "0.1.0"

LAYERS["folded-relu"] = FoldedReluSpec
