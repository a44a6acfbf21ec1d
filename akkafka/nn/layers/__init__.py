"""The package's own layers, one file each; importing this fills the table LAYERS."""

from __future__ import annotations

from akkafka.nn.layers.attention import AttentionSpec
from akkafka.nn.layers.batch_norm import BatchNormSpec
from akkafka.nn.layers.conv2d import Conv2dSpec
from akkafka.nn.layers.conv_transpose2d import ConvTranspose2dSpec
from akkafka.nn.layers.dropconnect import DropConnectSpec
from akkafka.nn.layers.dropconnect_weights import DropConnectWeightsSpec
from akkafka.nn.layers.dropout import DropoutSpec
from akkafka.nn.layers.each import EachSpec
from akkafka.nn.layers.embedding import EmbeddingSpec, PositionalEmbeddingSpec
from akkafka.nn.layers.flatten import FlattenSpec
from akkafka.nn.layers.global_pool import GlobalAvgPoolSpec, GlobalMaxPoolSpec
from akkafka.nn.layers.group_norm import GroupNormSpec
from akkafka.nn.layers.linear import LinearSpec
from akkafka.nn.layers.parallel import ParallelSpec
from akkafka.nn.layers.pointwise import EluSpec, GeluSpec, LeakyReluSpec, SigmoidSpec, SiluSpec, TanhSpec
from akkafka.nn.layers.pool2d import AvgPool2dSpec, MaxPool2dSpec
from akkafka.nn.layers.recurrent import GruSpec, LstmSpec, RnnSpec
from akkafka.nn.layers.relu import ReluSpec
from akkafka.nn.layers.reshape import ReshapeSpec
from akkafka.nn.layers.residual import ResidualSpec
from akkafka.nn.layers.row_norm import LayerNormSpec, RmsNormSpec
from akkafka.nn.layers.scale import ScaleSpec
from akkafka.nn.layers.sequential import SequentialSpec
from akkafka.nn.layers.softmax import SoftmaxSpec
from akkafka.nn.spec import LAYERS

LAYERS.update(
    {
        "linear": LinearSpec,
        "relu": ReluSpec,
        "leaky-relu": LeakyReluSpec,
        "elu": EluSpec,
        "gelu": GeluSpec,
        "silu": SiluSpec,
        "tanh": TanhSpec,
        "sigmoid": SigmoidSpec,
        "softmax": SoftmaxSpec,
        "conv2d": Conv2dSpec,
        "conv-transpose2d": ConvTranspose2dSpec,
        "max-pool2d": MaxPool2dSpec,
        "avg-pool2d": AvgPool2dSpec,
        "global-avg-pool": GlobalAvgPoolSpec,
        "global-max-pool": GlobalMaxPoolSpec,
        "batch-norm": BatchNormSpec,
        "layer-norm": LayerNormSpec,
        "rms-norm": RmsNormSpec,
        "group-norm": GroupNormSpec,
        "embedding": EmbeddingSpec,
        "positional-embedding": PositionalEmbeddingSpec,
        "rnn": RnnSpec,
        "lstm": LstmSpec,
        "gru": GruSpec,
        "attention": AttentionSpec,
        "dropout": DropoutSpec,
        "dropconnect": DropConnectSpec,
        "dropconnect-weights": DropConnectWeightsSpec,
        "flatten": FlattenSpec,
        "reshape": ReshapeSpec,
        "scale": ScaleSpec,
        "sequential": SequentialSpec,
        "residual": ResidualSpec,
        "parallel": ParallelSpec,
        "each": EachSpec,
    }
)
