"""float32 to fewer bits and back: bfloat16, float16, and int8 with a scale for each row.

All arrays C-contiguous. 16-bit floats are written as their bits, uint16, as numba has no such floats: flat, of one
length. Rounding is to nearest, ties to even; infinities stay, not-a-number stays one (quiet, the payload's upper bits
kept), what is too large for float16 becomes infinite, what is small is rounded to its subnormals: as IEEE 754 has it.
Nothing is checked here.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from akkafka.nn.kernels.machine import compiled, f32_1d, f32_2d, in_f32_1d, in_f32_2d, nothing
from akkafka.nn.layer import F32

U16 = NDArray[np.uint16]
I8 = NDArray[np.int8]

_u16_1d = types.Array(types.uint16, 1, "C")
_in_u16_1d = types.Array(types.uint16, 1, "C", readonly=True)
_i8_2d = types.Array(types.int8, 2, "C")
_in_i8_2d = types.Array(types.int8, 2, "C", readonly=True)

MOST = np.finfo(np.float32).max
MOST_SCALE = np.nextafter(MOST / np.float32(127), np.float32(0))  # 127 times the next greater one is infinite
BLOCK = 4096  # floats at a time where a number goes through two sweeps: 16 KB stay in the nearest cache


@compiled(nothing, in_f32_1d, _u16_1d)
def to_bfloat16(x: F32, out: U16) -> None:
    """out = the upper half of x's bits, rounded."""
    bits = x.view(np.uint32)
    for i in range(x.size):
        b = bits[i]
        rounded = (b + np.uint32(0x7FFF) + ((b >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        quiet = (b >> np.uint32(16)) | np.uint32(0x40)
        out[i] = np.uint16(quiet if (b & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000) else rounded)


@compiled(nothing, _in_u16_1d, f32_1d)
def from_bfloat16(x: U16, out: F32) -> None:
    """out = x; exact."""
    bits = out.view(np.uint32)
    for i in range(x.size):
        bits[i] = np.uint32(x[i]) << np.uint32(16)


@compiled(nothing, in_f32_1d, _u16_1d)
def to_float16(x: F32, out: U16) -> None:
    """out = x, 1 bit of sign, 5 of exponent, 10 of fraction.

    Below 2**-14, the least normal number, 0.5 is added first: 0.5's last bit is worth 2**-24, a subnormal's last bit,
    so the processor's own addition does the rounding.
    """
    shifted = np.empty(BLOCK, np.float32)
    shifted_bits = shifted.view(np.uint32)
    for start in range(0, x.size, BLOCK):
        part, gone = x[start : start + BLOCK], out[start : start + BLOCK]
        bits = part.view(np.uint32)
        for i in range(part.size):
            shifted[i] = abs(part[i]) + np.float32(0.5)
        for i in range(part.size):
            b = bits[i]
            u = b & np.uint32(0x7FFFFFFF)
            upper = u >> np.uint32(13)
            normal = (u - np.uint32(0x38000000) + np.uint32(0xFFF) + (upper & np.uint32(1))) >> np.uint32(13)
            small = shifted_bits[i] - np.uint32(0x3F000000)
            quiet = np.uint32(0x7E00) | (upper & np.uint32(0x1FF))
            special = quiet if u > np.uint32(0x7F800000) else np.uint32(0x7C00)
            h = small if u < np.uint32(0x38800000) else normal
            h = special if u >= np.uint32(0x47800000) else h
            gone[i] = np.uint16(h | ((b >> np.uint32(16)) & np.uint32(0x8000)))


@compiled(nothing, _in_u16_1d, f32_1d)
def from_float16(x: U16, out: F32) -> None:
    """out = x; exact.

    Exponent and fraction are put in float32's places, which makes 2**112 times too little of a number, subnormal or
    not; the multiplication is exact. Infinities and not-a-number have their exponent filled up instead.
    """
    scale = np.float32(2.0**112)
    for start in range(0, x.size, BLOCK):
        part, wide = x[start : start + BLOCK], out[start : start + BLOCK]
        bits = wide.view(np.uint32)
        for i in range(part.size):
            bits[i] = (np.uint32(part[i]) & np.uint32(0x7FFF)) << np.uint32(13)
        for i in range(part.size):
            wide[i] *= scale
        for i in range(part.size):
            h = np.uint32(part[i])
            sign = (h & np.uint32(0x8000)) << np.uint32(16)
            full = np.uint32(0x7F800000) | ((h & np.uint32(0x3FF)) << np.uint32(13))
            bits[i] = sign | (full if (h & np.uint32(0x7C00)) == np.uint32(0x7C00) else bits[i])


@compiled(nothing, in_f32_2d, _i8_2d, f32_1d)
def to_int8(x: F32, out: I8, scale: F32) -> None:
    """out[i, j] = x[i, j] / scale[i], rounded; scale[i] = max over j of |x[i, j]| / 127.

    A row with anything that is not finite gets not-a-number for its scale, so all of it is not-a-number to who reads
    it. A row whose scale would be 0 becomes zeros.
    """
    for i in range(x.shape[0]):
        most = np.float32(0)
        finite = True
        for j in range(x.shape[1]):
            a = abs(x[i, j])
            most = max(most, a)
            finite &= a <= MOST
        s = min(most / np.float32(127), MOST_SCALE)
        scale[i] = s if finite else np.float32(np.nan)
        if s == np.float32(0) or not finite:
            for j in range(x.shape[1]):
                out[i, j] = np.int8(0)
            continue
        for j in range(x.shape[1]):
            q = np.rint(x[i, j] / s)
            out[i, j] = np.int8(max(np.float32(-127), min(np.float32(127), q)))


@compiled(nothing, _in_i8_2d, in_f32_1d, f32_2d)
def from_int8(x: I8, scale: F32, out: F32) -> None:
    """out[i, j] = x[i, j] * scale[i], rounded once."""
    for i in range(x.shape[0]):
        s = scale[i]
        for j in range(x.shape[1]):
            out[i, j] = np.float32(x[i, j]) * s
