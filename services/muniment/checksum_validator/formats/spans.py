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
    """The ranges `[begin, end)` of tensors in a data section, in whatever order they are declared."""

    __slots__ = ("_packed",)

    def __init__(self) -> None:
        self._packed: list[int] = []

    def add(self, begin: int, end: int) -> None:
        """Note a range, `0 <= begin <= end < 2**64`."""
        self._packed.append(begin << _SHIFT | end)

    def close(self, total: int, *, holes: bool) -> int:
        """Check that the ranges lie in `[0, total)` without overlap, and without holes between them unless allowed.

        Returns where the last range ends. Raises `FormatError` with code `tensors_overlap`, `tensors_hole` or
        `tensors_outside`.
        """
        reached = 0
        self._packed.sort()
        for packed in self._packed:
            begin, end = packed >> _SHIFT, packed & _MASK
            if begin < reached:
                raise FormatError(
                    "tensors_overlap", "two tensors share bytes", expected=f"begin >= {reached}", actual=begin
                )
            if begin > reached and not holes:
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
