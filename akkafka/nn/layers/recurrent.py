"""RNN, LSTM and GRU: one product for all inputs, one for each step's state, and one fused kernel for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from akkafka.nn import kernels
from akkafka.nn.initial import Init, initial
from akkafka.nn.layer import F32, FLOAT32, NO_BUFFERS, Array, Params, Pass, Shape, Tape
from akkafka.nn.layers.embedding import sequence
from akkafka.nn.sizes import Size
from akkafka.nn.spec import LayerSpec


class Cell(NamedTuple):
    """What differs between the kinds."""

    kernel: str
    gates: int
    """Products of input and state for each unit."""
    kept: int
    """Numbers for each unit that the way back needs."""


class RecurrentSpec(LayerSpec):
    """Settings that the three share."""

    cell: ClassVar[Cell]
    out: Size
    """Units: numbers of the state."""
    last: bool = False
    """Whether the last state alone goes out, (out,), and not that of every step, (T, out)."""
    init: Init = "xavier"
    """Distribution of the first weights of the inputs; those of the state are orthogonal."""

    def build(self, in_shape: Shape, in_dtype: np.dtype[Any]) -> Recurrent:
        """The layer for float32 sequences (T, n); raises ShapeError for others."""
        return Recurrent(sequence(self.type, in_shape, in_dtype), self.out, self.last, self.init, self.cell)


class RnnSpec(RecurrentSpec):
    """Settings of a plain recurrent layer."""

    type: Literal["rnn"] = "rnn"
    """RNN (Elman 1990): h = tanh(x @ Wx + h @ Wh + b)."""
    cell = Cell("rnn", 1, 1)


class LstmSpec(RecurrentSpec):
    """Settings of an LSTM."""

    type: Literal["lstm"] = "lstm"
    """LSTM (Hochreiter, Schmidhuber 1997; Gers et al. 2000), gates in PyTorch's order: in, forget, cell, out."""
    cell = Cell("lstm", 4, 5)


class GruSpec(RecurrentSpec):
    """Settings of a GRU."""

    type: Literal["gru"] = "gru"
    """GRU (Cho et al. 2014, arXiv:1406.1078), in PyTorch's form; gates in its order: reset, update, new."""
    cell = Cell("gru", 3, 4)


class RecurrentTape(NamedTuple):
    """Steps first: inputs (T, B, n), states and cells around each step (T + 1, B, units), and what is kept."""

    x: F32
    h: F32
    c: F32
    kept: F32


@dataclass(frozen=True, slots=True)
class Recurrent:
    """weight_x (n, k·units), weight_h (units, k·units), bias (k·units,), for a GRU also bias_h (units,).

    k = 1, 4, 3 for rnn, lstm, gru. States begin at 0. PyTorch's two biases are one here, but for the GRU's new state.
    """

    in_shape: Shape
    units: int
    last: bool
    initial: Init
    cell: Cell

    @property
    def out_shape(self) -> Shape:
        """(T, units), or (units,) if `last`."""
        return (self.units,) if self.last else (self.in_shape[0], self.units)

    @property
    def in_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """float32."""
        return FLOAT32

    @property
    def param_shapes(self) -> Mapping[str, Shape]:
        """weight_x, weight_h, bias, and bias_h for a GRU."""
        wide = self.cell.gates * self.units
        shapes: dict[str, Shape] = {
            "weight_x": (self.in_shape[1], wide),
            "weight_h": (self.units, wide),
            "bias": (wide,),
        }
        return {**shapes, "bias_h": (self.units,)} if self._new_bias else shapes

    @property
    def buffers(self) -> Mapping[str, float]:
        """Empty."""
        return NO_BUFFERS

    def init(self, rng: np.random.Generator) -> dict[str, F32]:
        """Each gate by itself; biases 0, but 1 for an LSTM's forget gate (Jozefowicz et al. 2015)."""
        n, gates = self.in_shape[1], range(self.cell.gates)
        params = {
            "weight_x": np.hstack([initial(self.initial, (n, self.units), n, self.units, rng) for _ in gates]),
            "weight_h": np.hstack([initial("orthogonal", (self.units,) * 2, 1, 1, rng) for _ in gates]),
            **{k: np.zeros(s, np.float32) for k, s in self.param_shapes.items() if k.startswith("bias")},
        }
        if self.cell.kernel == "lstm":
            params["bias"][self.units : 2 * self.units] = 1
        return params

    def forward(self, params: Params, x: Array, run: Pass) -> tuple[F32, Tape]:
        """See Layer."""
        steps, batch = self.in_shape[0], len(x)
        inputs = np.ascontiguousarray(x.transpose(1, 0, 2))
        zx = np.dot(inputs.reshape(steps * batch, -1), params["weight_x"])
        kernels.dense.add_bias(zx, params["bias"])
        zx = zx.reshape(steps, batch, -1)
        h, c = np.zeros((2, steps + 1, batch, self.units), np.float32)
        kept, zh = np.empty((steps, batch, self.cell.kept * self.units), np.float32), np.empty_like(zx[0])
        bias = params["bias_h"] if self._new_bias else params["bias"]
        step = getattr(kernels.recurrent, self.cell.kernel)
        for t in range(steps):
            np.dot(h[t], params["weight_h"], out=zh)
            step(zx[t], zh, bias, h[t], c[t], kept[t], h[t + 1], c[t + 1])
        y = h[steps].copy() if self.last else np.ascontiguousarray(h[1:].transpose(1, 0, 2))
        return y, RecurrentTape(inputs, h, c, kept)

    def backward(
        self, params: Params, tape: Tape, dy: F32, *, need_dx: bool = True
    ) -> tuple[F32 | None, dict[str, F32]]:
        """See Layer; back through time over all steps."""
        steps, batch = self.in_shape[0], len(dy)
        dzx = np.empty((steps, batch, self.cell.gates * self.units), np.float32)
        dzh = np.empty_like(dzx)
        self._back_through_time(params["weight_h"].T, tape, dy, dzx, dzh)
        flat_x, flat_h = dzx.reshape(steps * batch, -1), dzh.reshape(steps * batch, -1)
        grads: dict[str, F32] = {
            "weight_x": np.dot(tape.x.reshape(steps * batch, -1).T, flat_x),
            "weight_h": np.dot(tape.h[:-1].reshape(steps * batch, -1).T, flat_h),
            "bias": _summed(flat_x),
        }
        if self._new_bias:
            grads["bias_h"] = _summed(np.ascontiguousarray(flat_h[:, 2 * self.units :]))
        if not need_dx:
            return None, grads
        dx = np.dot(flat_x, params["weight_x"].T).reshape(steps, batch, -1)
        return np.ascontiguousarray(dx.transpose(1, 0, 2)), grads

    def _back_through_time(self, turned: F32, tape: RecurrentTape, dy: F32, dzx: F32, dzh: F32) -> None:
        """Fill dzx and dzh, from the last step to the first; `turned` is weight_h, transposed."""
        dh, dc, direct, next_dc = np.zeros((4, len(dy), self.units), np.float32)
        back = getattr(kernels.recurrent, f"{self.cell.kernel}_backward")
        if self.last:
            dh += dy
        for t in range(self.in_shape[0] - 1, -1, -1):
            if not self.last:
                dh += dy[:, t]
            back(tape.kept[t], tape.h[t], tape.c[t], dh, dc, dzx[t], dzh[t], direct, next_dc)
            np.dot(dzh[t], turned, out=dh)
            dh += direct
            dc, next_dc = next_dc, dc

    @property
    def _new_bias(self) -> bool:
        return self.cell.kernel == "gru"


def _summed(rows: F32) -> F32:
    out = np.empty(rows.shape[1], np.float32)
    kernels.dense.sum_rows(rows, out)
    return out
