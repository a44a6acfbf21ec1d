"""float32 arrays in fewer bytes on an edge, and what that means for the numbers.

*Who computes with what.* A gate computes in float32 and rounds what it gives just before it is sent; so do sentinels
with the gradients of outputs. Nobody computes with what was there before rounding: the next gate, and whoever reads the
log later, sees `wide(narrow(y))`. That is its input, on its tape, and its weights' gradient is formed with it. The
gradient that it sends back is that with respect to the rounded input, rounded in turn; the sender takes it for the
gradient of its own output, as if rounding had slope 1 (the straight-through estimate of Bengio et al. 2013,
arXiv:1308.3432). Rounding is a pure function of the bits, so everything that is promised of bits holds: a gate that has
lost its tape reads the rounded input again, and the fixed schedule gives equal bits.

*Journals* hold the gradients of weights in float32, or in bfloat16 (`wire.journal`): a step is made with what stands
there, so whoever folds the journal makes the same one. Statistics of batches stay float32.

*Forms.* `float16` and `bfloat16` round to nearest, ties to even; see nn/kernels/casts.py for the rims. float16 has 11
significant bits and ends at 65,504, with less precision below 6e-5, where gradients of a mean over a large batch lie;
bfloat16 has 8 significant bits and float32's range. `int8` has a float32 scale for each sample: q = round(x / scale),
scale = max |x| / 127, so a sample's error is at most half a 127th of its greatest number.
"""

from __future__ import annotations

from math import prod
from typing import Final, Literal, get_args

import numpy as np

from akkafka.errors import ProtocolError
from akkafka.nn import kernels
from akkafka.protocol.messages import Array, Narrow

Form = Literal["float32", "float16", "bfloat16", "int8"]
FORMS: Final[tuple[str, ...]] = get_args(Form)
DTYPES: Final = {"float16": "<f2", "bfloat16": "<u2", "int8": "|i1"}
"""dtype of the values by form, in numpy's code; numpy has no bfloat16, its bits travel as uint16."""


def narrow(x: Array, form: Form) -> Array | Narrow:
    """`x` (B, *shape) as it travels in this form; itself for float32, and where it is no float32 (pixels, tokens)."""
    if form == "float32" or x.dtype != np.float32:
        return x
    flat = np.ascontiguousarray(x)
    if form == "int8":
        values, scale = np.empty(x.shape, np.int8), np.empty(len(x), np.float32)
        kernels.casts.to_int8(_rows(flat), _rows(values), scale)
        return Narrow(form, values, scale)
    bits = np.empty(x.shape, np.uint16)
    cast = kernels.casts.to_bfloat16 if form == "bfloat16" else kernels.casts.to_float16
    cast(flat.reshape(-1), bits.reshape(-1))
    return Narrow(form, bits if form == "bfloat16" else bits.view(np.float16))


def wide(x: Array | Narrow) -> Array:
    """What a receiver computes with: a new float32 array for a narrow one, else `x` itself."""
    if not isinstance(x, Narrow):
        return x
    out = np.empty(x.shape, np.float32)
    if x.form == "int8":
        assert x.scale is not None, "checked on arrival"
        kernels.casts.from_int8(_rows(x.values), x.scale, _rows(out))
    elif x.form == "bfloat16":
        kernels.casts.from_bfloat16(x.values.reshape(-1), out.reshape(-1))
    else:
        kernels.casts.from_float16(x.values.view(np.uint16).reshape(-1), out.reshape(-1))
    return out


def shown(x: Array | Narrow) -> Array:
    """An array of the shape and dtype of `wide(x)`, whatever is in it: what a check of both needs, and no more."""
    return np.empty(x.shape, np.float32) if isinstance(x, Narrow) else x


def checked_narrow(x: Narrow) -> Narrow:
    """`x` if it can be widened; raises ProtocolError: an unknown form, another dtype, a scale that does not fit."""
    if x.form not in DTYPES:
        raise ProtocolError(f"a narrow array of form {x.form[:60]!r}; known are {', '.join(DTYPES)}")
    if x.values.dtype.str != DTYPES[x.form] or x.values.ndim < 1:
        raise ProtocolError(f"a narrow array of form {x.form} holds {x.values.dtype} {x.values.shape}")
    scale = x.scale
    if (scale is not None) != (x.form == "int8"):
        raise ProtocolError("int8 comes with a scale for each row, other forms without")
    if scale is not None and (scale.dtype.str != "<f4" or scale.shape != x.values.shape[:1]):
        raise ProtocolError(f"scales {scale.dtype} {scale.shape} for values {x.values.shape}")
    return x


def _rows(x: Array) -> Array:
    """(B, elements of a sample); of a shape without elements, too."""
    return x.reshape(len(x), prod(x.shape[1:]))
