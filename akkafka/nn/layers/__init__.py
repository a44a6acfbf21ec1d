"""The package's own layers, one file each; importing this fills the table LAYERS."""

from __future__ import annotations

from akkafka.nn.layers.dropconnect import DropConnectSpec
from akkafka.nn.layers.dropconnect_weights import DropConnectWeightsSpec
from akkafka.nn.layers.dropout import DropoutSpec
from akkafka.nn.layers.flatten import FlattenSpec
from akkafka.nn.layers.linear import LinearSpec
from akkafka.nn.layers.relu import ReluSpec
from akkafka.nn.layers.scale import ScaleSpec
from akkafka.nn.layers.sequential import SequentialSpec
from akkafka.nn.spec import LAYERS

LAYERS.update(
    {
        "linear": LinearSpec,
        "relu": ReluSpec,
        "dropout": DropoutSpec,
        "dropconnect": DropConnectSpec,
        "dropconnect-weights": DropConnectWeightsSpec,
        "flatten": FlattenSpec,
        "scale": ScaleSpec,
        "sequential": SequentialSpec,
    }
)
