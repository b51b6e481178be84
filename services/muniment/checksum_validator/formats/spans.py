"""Byte ranges and names of a file's parts, held in little memory however many the file declares."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from muniment.checksum_validator.formats.spec import FormatError

_SHIFT: Final = 64
_MASK: Final = (1 << _SHIFT) - 1


class Names:
    """A set of names, 16 bytes each however long they are."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def add(self, name: bytes, code: str) -> None:
        """Note a name. Raises `FormatError` with `code` when it was there already."""
        key = name if len(name) < 16 else blake2b(name, digest_size=16).digest()
        if key in self._seen:
            raise FormatError(code, "two parts have one name: readers disagree on which counts", actual=repr(name[:96]))
        self._seen.add(key)

    def __len__(self) -> int:
        return len(self._seen)


class Spans:
    """The ranges `[begin, end)` of tensors in a data section. Ranges that come in order cost nothing."""

    __slots__ = ("_loose", "_next")

    def __init__(self) -> None:
        self._next = 0
        self._loose: list[int] = []

    def add(self, begin: int, end: int) -> None:
        """Note a range, `0 <= begin <= end < 2**64`."""
        if begin == self._next and not self._loose:
            self._next = end
        else:
            self._loose.append(begin << _SHIFT | end)

    def close(self, total: int, *, gap: int) -> int:
        """Check that the ranges lie in `[0, total)` without overlap and with holes below `gap` bytes (0: none at all).

        Returns where the last range ends. Raises `FormatError` with code `tensors_overlap`, `tensors_hole` or
        `tensors_outside`.
        """
        reached = self._next
        self._loose.sort()
        for packed in self._loose:
            begin, end = packed >> _SHIFT, packed & _MASK
            if begin < reached:
                raise FormatError(
                    "tensors_overlap", "two tensors share bytes", expected=f"begin >= {reached}", actual=begin
                )
            if begin - reached > max(gap - 1, 0):
                raise FormatError(
                    "tensors_hole",
                    "bytes between the tensors belong to none of them",
                    expected=f"a tensor at byte {reached} of the data",
                    actual=begin,
                )
            reached = end
        if reached > total:
            raise FormatError(
                "tensors_outside",
                "the tensors reach beyond the end of the file",
                expected=f"<= {total} B of data",
                actual=f"{reached} B",
                hint="the file is cut off, or its header is wrong",
            )
        return reached
