"""Makes the layer known: importing this package is all that `--allow own_torch` or its entry point does."""

from __future__ import annotations

from akkafka.nn.spec import LAYERS

from .conv_block import ConvBlockSpec

__version__ = "0.1.0"

LAYERS["torch-conv-block"] = ConvBlockSpec
