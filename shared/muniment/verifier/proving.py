"""Proofs built from a log's hash tiles, for those who hold tiles and no proof. They are verified like any other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from muniment.verifier.hashing import node_hash
from muniment.verifier.source import Source
from muniment.verifier.tree import WIDTH
from muniment.verifier.walk import read_tile

_KEPT: Final = 64


@dataclass(slots=True)
class Prover:
    """Reads the tiles of a log of `size` entries; a few of them are kept."""

    source: Source
    size: int
    _tiles: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The hashes from the leaf at `index` to the root of size `size` (RFC 6962 section 2.1.1)."""
        proof: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                proof.append(self._root(middle, end))
                end = middle
            else:
                proof.append(self._root(start, middle))
                start = middle
        return proof[::-1]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The hashes that show that the tree of size `new` begins with that of size `old` (section 2.1.2)."""
        if old in (0, new):
            return []
        proof: list[bytes] = []
        start, end, whole = 0, new, True
        while old != end:
            middle = start + _split(end - start)
            if old <= middle:
                proof.append(self._root(middle, end))
                end = middle
            else:
                proof.append(self._root(start, middle))
                start, whole = middle, False
        if not whole:
            proof.append(self._root(start, end))
        return proof[::-1]

    def _root(self, start: int, end: int) -> bytes:
        count = end - start
        if count & (count - 1):
            middle = start + _split(count)
            return node_hash(self._root(start, middle), self._root(middle, end))
        level, below = divmod(count.bit_length() - 1, 8)
        first = start // WIDTH**level
        row = self._tile(level, first // WIDTH)[first % WIDTH : first % WIDTH + (1 << below)]
        while len(row) > 1:
            row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
        return row[0]

    def _tile(self, level: int, number: int) -> list[bytes]:
        if (level, number) not in self._tiles:
            if len(self._tiles) >= _KEPT:
                self._tiles.clear()
            width = min(WIDTH, self.size // WIDTH**level - number * WIDTH)
            self._tiles[level, number] = read_tile(self.source, level, number, width)
        return self._tiles[level, number]


def _split(count: int) -> int:
    """The largest power of two below a count of two or more."""
    return 1 << ((count - 1).bit_length() - 1)
