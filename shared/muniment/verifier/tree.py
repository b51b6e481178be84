"""The tree over leaf hashes as they come, in the memory of its last, unfinished tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Self

from muniment.verifier.hashing import EMPTY_ROOT, node_hash

WIDTH: Final = 256
"""Hashes of a full tile (C2SP tlog-tiles)."""
OnTile = Callable[[int, int, Sequence[bytes]], None]
"""Called with the level, the number and the hashes of each tile as it is complete."""


class TileTree:
    """A growing tree. `pending[L]` are the hashes of the unfinished tile at level L, fewer than 256 of each."""

    def __init__(self, size: int = 0, pending: Sequence[Sequence[bytes]] = ()) -> None:
        """A tree of `size` leaves with its unfinished tiles. Raises `ValueError` if they are not that tree's."""
        self.size = size
        self.pending = [list(level) for level in pending]
        if sum(len(level) * WIDTH**at for at, level in enumerate(self.pending)) != size:
            raise ValueError(f"these tiles are not those of a tree of {size} leaves")
        if any(len(level) >= WIDTH or any(len(one) != 32 for one in level) for level in self.pending):
            raise ValueError("an unfinished tile has fewer than 256 hashes of 32 bytes")

    def copy(self) -> Self:
        """The tree as it is now, to be grown by itself."""
        return type(self)(self.size, self.pending)

    def add(self, leaves: Sequence[bytes], on_tile: OnTile | None = None) -> None:
        """Append leaf hashes."""
        at = 0
        while at < len(leaves):
            level = self._level(0)
            taken = leaves[at : at + WIDTH - len(level)]
            level.extend(taken)
            at += len(taken)
            self.size += len(taken)
            self._finish(0, on_tile)

    def root(self) -> bytes:
        """The root of all leaves so far (RFC 6962 section 2.1)."""
        root: bytes | None = None
        for level in self.pending:  # the smallest subtrees are the rightmost
            for node in reversed(perfect_subtrees(level)):
                root = node if root is None else node_hash(node, root)
        return EMPTY_ROOT if root is None else root

    def _level(self, number: int) -> list[bytes]:
        while len(self.pending) <= number:
            self.pending.append([])
        return self.pending[number]

    def _finish(self, number: int, on_tile: OnTile | None) -> None:
        while len(level := self._level(number)) == WIDTH:
            if on_tile is not None:
                on_tile(number, self.size // WIDTH ** (number + 1) - 1, level)
            self._level(number + 1).append(subtree_root(level))
            level.clear()
            number += 1


def subtree_root(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of hashes."""
    row = hashes
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def perfect_subtrees(hashes: Sequence[bytes]) -> list[bytes]:
    """The roots of the largest complete subtrees over hashes of one level, left to right."""
    roots: list[bytes] = []
    at = 0
    while at < len(hashes):
        count = 1 << ((len(hashes) - at).bit_length() - 1)
        roots.append(subtree_root(hashes[at : at + count]))
        at += count
    return roots
