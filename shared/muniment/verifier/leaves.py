"""The leaf hashes of one layer in a temporary file: 32 bytes of disk for each entry, and no memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

_HASH: Final = 32
_BLOCK: Final = 32 * 1024


class LeafFile:
    """Leaf hashes by index. Written from 0 on; read again to be compared."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # reason: closed by __exit__
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Append leaf hashes."""
        self._file.write(b"".join(leaves))
        self.count += len(leaves)

    def truncate(self, count: int) -> None:
        """Forget all from index `count` on."""
        if count < self.count:
            self._file.seek(count * _HASH)
            self._file.truncate()
            self.count = count

    def at(self, index: int) -> bytes:
        """The leaf hash at `index`, which must be there."""
        self._file.seek(index * _HASH)
        leaf = self._file.read(_HASH)
        self._file.seek(0, 2)
        return leaf

    def block(self, start: int, end: int) -> list[bytes]:
        """The leaf hashes from index `start` to before `end`."""
        data = self._block(start, (end - start) * _HASH)
        self._file.seek(0, 2)
        return [data[at : at + _HASH] for at in range(0, len(data), _HASH)]

    def first_difference(self, other: LeafFile, end: int) -> int | None:
        """The first index below `end`, and below both counts, where the two differ."""
        end = min(end, self.count, other.count)
        found: int | None = None
        for start in range(0, end, _BLOCK):
            size = (min(end, start + _BLOCK) - start) * _HASH
            mine, its = self._block(start, size), other._block(start, size)
            if mine != its:
                found = next(
                    start + at // _HASH for at in range(0, size, _HASH) if mine[at : at + 32] != its[at : at + 32]
                )
                break
        self._file.seek(0, 2)
        other._file.seek(0, 2)
        return found

    def _block(self, start: int, size: int) -> bytes:
        self._file.seek(start * _HASH)
        return self._file.read(size)
