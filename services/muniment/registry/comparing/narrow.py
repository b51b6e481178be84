"""Whole blocks of float32, bfloat16 and float16, summed in float32: half of the bytes of float64 to write and to read.

Rows of `ROW` elements are subtracted, squared and summed in float32; the rows' sums are added up in float64. A row's
sum of squares is off by (n/8 + 8) * 2**-24 of itself at most, n = `ROW`: 3.1e-5 with eight lanes and the worst rounding
each time; on real values it is a hundred times less. A block is refused whose squares are too large or too small for
float32, or not finite. The product follows from the squares (2ab = a² + b² - (a - b)²), so two tensors that hardly
differ have a cosine that is right to 1e-9; where the sizes of the sides are far apart it is summed itself.

float16 becomes float32 by its bits, which is exact and less than half of the time that NumPy's cast takes: shifted to
where float32 has its exponent and mantissa, it is 2**-112 of its value, subnormal ones included. Infinity and NaN
become numbers of 65,536 and more, so a block is refused whose squares come to the square of that. This module imports
NumPy.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

DTYPES: Final = frozenset({"BF16", "F16", "F32"})
ROW: Final = 4 * 1024
BLOCK: Final = 4 * ROW
"""Elements of a block: three arrays of it stay in a core's cache, and a call costs as much as a thousand elements."""
_LEAST: Final = 1e-25
"""A sum of squares below this may lack elements, whose squares are below float32's 1e-45."""
_APART: Final = 256.0
"""Squares of the sides whose quotient is above this give no product."""
_LOWER: Final = np.uint32(16)
_UP: Final = np.int32(13)
_KEPT: Final = np.int32(0x8FFFE000 - 2**32)
"""Sign, exponent and mantissa: a negative number's sign has filled the three bits between."""
_SCALE: Final = np.float32(2.0**112)

Rows = NDArray[np.float32]


class Block(NamedTuple):
    """Sums of squares of the old values, the new ones and the differences; of products; the largest difference."""

    old: float
    new: float
    change: float
    product: float
    largest: float


class Narrow:
    """Sums of blocks; has three of them to compute in."""

    def __init__(self, dtype: str) -> None:
        """`dtype`: of both sides, one of `DTYPES`."""
        self._dtype = dtype
        self._most = 2.0**32 if dtype == "F16" else math.inf
        self._rooms = np.empty((3, BLOCK // ROW, ROW), np.float32)

    def square(self, values: NDArray[Any]) -> float | None:
        """The sum of squares of a block of the old side; None where it is to be summed in float64."""
        rows = self._singles(values, 0)
        square = _dot(rows, rows)
        return square if _LEAST <= square < self._most else None

    def add(self, old: NDArray[Any], new: NDArray[Any]) -> Block | None:
        """The sums of a block of both sides; None where it is to be summed in float64."""
        one, other, change = self._singles(old, 0), self._singles(new, 1), self._rooms[2]
        np.subtract(other, one, out=change)
        squares = _dot(one, one), _dot(other, other), _dot(change, change)
        if not all(_LEAST <= square < self._most for square in squares):  # NaN is neither
            return None
        if max(squares[:2]) < _APART * min(squares[:2]):
            product = (squares[0] + squares[1] - squares[2]) / 2
        else:
            product = _dot(one, other)
        return Block(*squares, product, max(float(change.max()), -float(change.min())))

    def _singles(self, values: NDArray[Any], side: int) -> Rows:
        """The values as float32. bfloat16 is the upper half of one."""
        if self._dtype == "F32":
            singles: Rows = values.reshape(-1, ROW)
            return singles
        rows: Rows = self._rooms[side]
        if self._dtype == "F16":
            signed = rows.view(np.int32)
            signed[...] = values.view(np.int16).reshape(-1, ROW)
            np.left_shift(signed, _UP, out=signed)
            np.bitwise_and(signed, _KEPT, out=signed)
            np.multiply(rows, _SCALE, out=rows)
            return rows
        bits = rows.view(np.uint32)
        bits[...] = values.reshape(-1, ROW)
        np.left_shift(bits, _LOWER, out=bits)
        return rows


def _dot(one: Rows, other: Rows) -> float:
    return math.fsum(np.vecdot(one, other).tolist())
