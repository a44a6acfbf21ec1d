"""Whether a gradient can be applied: one entry that is not finite would be in all weights for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from akkafka.protocol.messages import Narrow
from akkafka.protocol.narrow import wide

_EXPONENT: Final = np.uint16(0x7F80)  # of a bfloat16


def finite(array: NDArray[Any]) -> bool:
    """True if no entry is infinite or not a number. The sum tells it, as what is not finite stays so, or overflows."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())


def not_finite(arrays: Mapping[str, NDArray[Any] | Narrow]) -> str:
    """Name of the first array that has an entry that is not finite; empty if all are finite."""
    return next((name for name, array in arrays.items() if not _finite(array)), "")


def _finite(array: NDArray[Any] | Narrow) -> bool:
    if not isinstance(array, Narrow):
        return finite(array)
    if array.form != "bfloat16":
        return finite(wide(array))
    return not bool(((array.values & _EXPONENT) == _EXPONENT).any())  # all ones: infinite or not a number
