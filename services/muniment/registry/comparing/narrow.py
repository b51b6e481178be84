"""Rows of narrow numbers, summed in float32: half of the bytes of float64 to write and to read.

Rows of `ROW` elements are subtracted, squared and summed in float32; the rows' sums are added up in float64. A row's
sum of squares is off by (n/8 + 8) * 2**-24 of itself at most, n = `ROW`: 3.1e-5 with eight lanes and the worst rounding
each time; on real values it is a hundred times less. A block is refused whose squares are too large or too small for
float32, or not finite. The product follows from the squares (2ab = a² + b² - (a - b)²), so two tensors that hardly
differ have a cosine that is right to 1e-9; where the sizes of the sides are far apart it is summed itself.

What is two bytes wide is taken apart in pairs, which is twice as fast as one by one: of each 32 bits the lower half
goes into the first half of the room, the upper one into the second. No sum minds the order, as long as both sides have
the same.

float16 becomes float32 by its bits, which is exact and less than half of the time that NumPy's cast takes: shifted to
where float32 has its exponent and mantissa, it is 2**-112 of its value, subnormal ones included. Infinity and NaN
become numbers of 65,536 and more, so a block is refused whose squares come to the square of that. Integers of 8 and 16
bits are float32 exactly, and so are their differences. This module imports NumPy.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

DTYPES: Final = frozenset({"BF16", "F16", "F32", "I8", "U8", "I16", "U16"})
ROW: Final = 4 * 1024
BLOCK: Final = 64 * ROW
"""Elements of a block at most: its three arrays of float32 are 3 MiB. A call costs as much as a thousand elements, so
in smaller ones, which stay in a core's own cache, the calls cost more than they save."""
_LEAST: Final = 1e-25
"""A sum of squares below this may lack elements, whose squares are below float32's 1e-45."""
_APART: Final = 256.0
"""Squares of the sides whose quotient is above this give no product."""
_HALF: Final = np.uint32(16)
_UPPER: Final = np.uint32(0xFFFF0000)
_DOWN: Final = np.int32(3)
_KEPT: Final = np.int32(0x8FFFE000 - 2**32)
"""Sign, exponent and mantissa: a negative number's sign has filled the three bits between."""
_SCALE: Final = np.float32(2.0**112)

Singles = NDArray[np.float32]


class Block(NamedTuple):
    """Sums of squares of the old values, the new ones and the differences; of products; the largest difference."""

    old: float
    new: float
    change: float
    product: float
    largest: float


class Narrow:
    """Sums of blocks: of `ROW` elements, or a multiple of it up to `BLOCK`. Has three rooms to compute in."""

    def __init__(self, dtype: str) -> None:
        """`dtype`: of both sides, one of `DTYPES`."""
        self._dtype = dtype
        self._least = _LEAST if dtype in {"BF16", "F16", "F32"} else 0.0
        self._most = 2.0**32 if dtype == "F16" else math.inf
        self._rooms = np.empty((3, BLOCK), np.float32)

    def square(self, values: NDArray[Any]) -> float | None:
        """The sum of squares of a block of the old side; None where it is to be summed in float64."""
        singles = self._singles(values, 0)
        square = _dot(singles, singles)
        return square if self._least <= square < self._most else None

    def add(self, old: NDArray[Any], new: NDArray[Any]) -> Block | None:
        """The sums of a block of both sides; None where it is to be summed in float64."""
        one, other, change = self._singles(old, 0), self._singles(new, 1), self._rooms[2, : len(old)]
        np.subtract(other, one, out=change)
        squares = _dot(one, one), _dot(other, other), _dot(change, change)
        if not all(self._least <= square < self._most for square in squares):  # NaN is neither
            return None
        if max(squares[:2]) <= _APART * min(squares[:2]):
            product = (squares[0] + squares[1] - squares[2]) / 2
        else:
            product = _dot(one, other)
        return Block(*squares, product, max(float(change.max()), -float(change.min())))

    def _singles(self, values: NDArray[Any], side: int) -> Singles:
        """The values as float32, both sides in one order."""
        if self._dtype == "F32":
            return values
        room: Singles = self._rooms[side, : len(values)]
        if self._dtype == "BF16":  # the upper half of a float32
            pairs, (lower, upper) = values.view(np.uint32), _halves(room.view(np.uint32))
            np.left_shift(pairs, _HALF, out=lower)
            np.bitwise_and(pairs, _UPPER, out=upper)
        elif self._dtype == "F16":
            signed = room.view(np.int32)
            lower, upper = _halves(signed)
            np.left_shift(values.view(np.uint32), _HALF, out=lower.view(np.uint32))
            np.right_shift(lower, _DOWN, out=lower)
            np.right_shift(values.view(np.int32), _DOWN, out=upper)
            np.bitwise_and(signed, _KEPT, out=signed)
            np.multiply(room, _SCALE, out=room)
        else:
            room[...] = values
        return room


def _halves(room: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    middle = len(room) // 2
    return room[:middle], room[middle:]


def _dot(one: Singles, other: Singles) -> float:
    return math.fsum(np.vecdot(one.reshape(-1, ROW), other.reshape(-1, ROW)).tolist())
