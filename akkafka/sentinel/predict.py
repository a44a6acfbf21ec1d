"""Predictions through the live gates: samples in, outputs back, in order."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from akkafka.broker.base import Broker
from akkafka.broker.network import Network
from akkafka.broker.process import process_name
from akkafka.errors import AkkafkaError, ShapeError
from akkafka.protocol.messages import Array, Forward, Mode
from akkafka.protocol.narrow import wide
from akkafka.sentinel import events as e
from akkafka.sentinel.evaluate import PassRunner

_TARGET_BYTES = 4 << 20  # of a message: large enough to be quick, small enough to leave training its turn


class PredictionError(AkkafkaError):
    """A gate could not work on the samples."""


async def predict(broker: Broker, network: Network, x: Array) -> Array:
    """Outputs (N, *out_shape) float32 of the last gate for samples x (N, *in_shape), with the weights as they are.

    Raises ShapeError if the samples do not fit, PredictionError if a gate cannot work on them.
    """
    x = _fitting(network, x)
    size = _batch_size(network)

    def batch(issue: e.Issue) -> Forward:
        rows = slice(issue.cursor.batch * size, (issue.cursor.batch + 1) * size)
        return Forward(
            run=network.run,
            mode=Mode.PREDICT,
            lane=issue.lane,
            seq=issue.seq,
            cursor=issue.cursor,
            after=issue.after,
            trail=(),
            x=x[rows],
            tag=issue.tag,
            issued_ns=time.time_ns(),
        )

    runner = PassRunner(broker, network, Mode.PREDICT, process_name("predict"), batch, _unevaluated)
    try:
        await runner.open()
        result = await runner.run_pass(-(-len(x) // size))
    finally:
        await runner.close()
    if result.void:
        raise PredictionError(f"network {network.name!r}: {result.void}")
    outputs = [output.message.x for output in result.outputs]
    return np.concatenate([wide(y) for y in outputs if y is not None])


def _unevaluated(answer: Callable[[e.Evaluated], None]) -> Callable[[e.Evaluate], None]:
    """Outputs are taken as they come."""

    def put(asked: e.Evaluate) -> None:
        message = asked.message
        samples = 0 if message.x is None else len(message.x)
        answer(e.Evaluated(asked.offset, message, samples, 0.0, 0, None, message.void))

    return put


def _fitting(network: Network, x: Array) -> Array:
    first = network.definition.layers[0]
    if x.ndim < 1 or len(x) == 0 or prod(x.shape[1:]) != prod(first.in_shape):
        raise ShapeError(
            f"samples of shape {x.shape[1:]}, {len(x) if x.ndim else 0} of them; network {network.name!r} takes "
            f"(N, {', '.join(map(str, first.in_shape))}) {first.in_dtype}",
            hint="Give the samples as array `x` of the file, one row a sample.",
        )
    if x.dtype != first.in_dtype and not _casts(x, first.in_dtype):
        raise ShapeError(
            f"samples of dtype {x.dtype}; network {network.name!r} takes {first.in_dtype}",
            hint="Convert them as the training data were: the network scales its input itself.",
        )
    return np.ascontiguousarray(x.reshape(len(x), *first.in_shape), first.in_dtype)


def _casts(x: Array, dtype: np.dtype[Any]) -> bool:
    """Whether nothing but places behind the point is lost; whole numbers, such as tokens, may come in any width."""
    if x.dtype.kind in "iu" and dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        return bool(bounds.min <= x.min() and x.max() <= bounds.max)
    return np.can_cast(x.dtype, dtype, "same_kind")


def _batch_size(network: Network) -> int:
    layers = network.definition.layers
    widest = max(4 * prod(shape) for layer in layers for shape in (layer.in_shape, layer.out_shape))
    return max(1, min(network.definition.batch_size, _TARGET_BYTES // widest))
