"""How far two tensors are apart: sums over pieces of both, in float64. NumPy is imported when they are made.

Whole rows of narrow numbers are summed in float32, which is faster: `narrow.py` says how exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

_LAYOUT: Final = {
    "BOOL": "u1", "U8": "u1", "U16": "<u2", "U32": "<u4", "U64": "<u8",
    "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8",
    "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
_BLOCK: Final = 8 * 1024
"""Elements at a time: some arrays of float64 of it stay in a core's cache, and OpenBLAS starts no threads for it."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the sums come to. A figure is None where it is no finite number, and `flags` say why:

    `from_not_finite`, `to_not_finite` (NaN or infinity in that side), `beyond_float` (a sum is above 1.8e308).
    """

    change_norm: float | None = None
    """L2 norm of the difference."""
    relative_change: float | None = None
    """The same, divided by the old tensor's norm; None where that is 0."""
    cosine: float | None = None
    """Of the angle between both as vectors, -1 to 1; None where one is 0."""
    max_change: float | None = None
    """Largest absolute difference of an element."""
    flags: tuple[str, ...] = ()


def item_size(dtype: str) -> int | None:
    """Bytes of an element of a dtype whose values are compared; None for one of which only the bytes are."""
    layout = _LAYOUT.get(dtype)
    return int(layout[-1]) if layout else None


class Sums:
    """Adds up pieces of two tensors with the same shape: the same elements of both each time.

    Squares below 1e-308 are lost: a float64 change as small as that has norm 0, and still its `max_change`.
    """

    def __init__(self, old: str, new: str) -> None:
        """`old`, `new`: the dtypes, each one with an `item_size`."""
        self.differs = old != new
        """Whether a byte was another one so far; other dtypes always differ."""
        self._dtypes = (old, new)
        self._squares = [0.0, 0.0, 0.0]  # of the old values, the new ones, the differences
        self._product = 0.0
        self._largest = 0.0
        self._not_finite = [False, False]
        from muniment.registry.comparing import narrow

        self._narrow = narrow.Narrow(old) if old == new and old in narrow.DTYPES else None
        self._row, self._most = narrow.ROW, narrow.BLOCK

    def add(self, old: bytes | bytearray, new: bytes | bytearray) -> None:
        """The next piece of each."""
        import numpy as np

        one, other = (np.frombuffer(raw, _LAYOUT[of]) for raw, of in zip((old, new), self._dtypes, strict=True))
        with np.errstate(all="ignore"):  # what is not finite is told by the flags
            if self._dtypes[0] == self._dtypes[1] and old == new:
                self._add_same(one)
                return
            self.differs = True
            for begin, end in self._blocks(len(one)):
                self._add_block(one[begin:end], other[begin:end])

    def _blocks(self, count: int) -> Iterator[tuple[int, int]]:
        """Where each block begins and ends: whole rows in float32 as far as there are, the rest in float64."""
        rows = count - count % self._row if self._narrow else 0
        for begin in range(0, rows, self._most):
            yield begin, min(begin + self._most, rows)
        for begin in range(rows, count, _BLOCK):
            yield begin, min(begin + _BLOCK, count)

    def _add_same(self, values: NDArray[Any]) -> None:
        for begin, end in self._blocks(len(values)):
            block = values[begin:end]
            square = self._narrow.square(block) if self._narrow and not len(block) % self._row else None
            if square is not None:
                self._squares[0] += square
                self._squares[1] += square
                self._product += square
                continue
            for start in range(0, len(block), _BLOCK):
                self._product += self._square(_doubles(block[start : start + _BLOCK], self._dtypes[0]), 0, 1)

    def _add_block(self, old: NDArray[Any], new: NDArray[Any]) -> None:
        sums = self._narrow.add(old, new) if self._narrow and not len(old) % self._row else None
        if sums is None:
            for start in range(0, len(old), _BLOCK):
                self._add_doubles(old[start : start + _BLOCK], new[start : start + _BLOCK])
            return
        for side, square in enumerate((sums.old, sums.new, sums.change)):
            self._squares[side] += square
        self._product += sums.product
        self._largest = max(self._largest, sums.largest)

    def _add_doubles(self, old: NDArray[Any], new: NDArray[Any]) -> None:
        one, other = _doubles(old, self._dtypes[0]), _doubles(new, self._dtypes[1])
        self._square(one, 0)
        self._square(other, 1)
        self._product += float(one @ other)
        change = _distance(old, new) if self._dtypes in {("I64", "I64"), ("U64", "U64")} else other - one
        self._squares[2] += float(change @ change)
        self._largest = max(self._largest, float(change.max()), -float(change.min()))

    def _square(self, values: Doubles, *sides: int) -> float:
        import numpy as np

        square = float(values @ values)
        finite = math.isfinite(square) or bool(np.isfinite(values).all())
        for side in sides:
            self._squares[side] += square
            self._not_finite[side] |= not finite
        return square

    def figures(self) -> Figures:
        """Of all pieces so far."""
        names = ("from_not_finite", "to_not_finite")
        flags = tuple(name for name, found in zip(names, self._not_finite, strict=True) if found)
        if flags:
            return Figures(flags=flags)
        old, new, change = map(math.sqrt, self._squares)
        values = (change, change / old if old else None, self._cosine(old, new), self._largest)
        beyond = not all(math.isfinite(value) for value in (old, new, *values) if value is not None)
        told = [value if value is not None and math.isfinite(value) else None for value in values]
        return Figures(told[0], told[1], told[2], told[3], ("beyond_float",) if beyond else ())

    def _cosine(self, old: float, new: float) -> float | None:
        if not (old and new and math.isfinite(old) and math.isfinite(new)):
            return None
        return max(-1.0, min(1.0, self._product / old / new))


def _doubles(values: NDArray[Any], dtype: str) -> Doubles:
    """The values as float64. bfloat16 is the upper half of a float32."""
    import numpy as np

    if dtype == "BF16":
        values = np.left_shift(values, 16, dtype=np.uint32).view(np.float32)
    return values.astype(np.float64)


def _distance(old: NDArray[Any], new: NDArray[Any]) -> Doubles:
    """|new - old| of 64-bit integers, exact before it is rounded once: modulo 2**64 it fits an unsigned one."""
    import numpy as np

    less = new < old
    one, other = old.view(np.uint64), new.view(np.uint64)
    return np.where(less, one - other, other - one).astype(np.float64)
