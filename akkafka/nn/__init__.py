"""Layers and losses as pure functions over numpy arrays; has not heard of Kafka.

Start with `layer.py` (what a layer is), `spec.py` (how one is described and built), then `layers/`.
"""

from __future__ import annotations

from akkafka.nn import layers as layers  # fills the table LAYERS, whichever module here is asked for first
