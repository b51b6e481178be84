"""Receipts under one checkpoint, for entries in rising order: neighbours share tiles, so few are read twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from muniment.audit.note import receipt
from muniment.audit.proofs import Range, hash_of, inclusion_ranges, ranges_around, tiles_of
from muniment.audit.published import PublishedLog
from muniment.audit.tiles import Tile, nodes_of

_KEPT: Final = 64
"""Tiles in memory, of 16 KiB each."""


@dataclass(slots=True)
class Receipts:
    """Makes receipts for entries of the tree of `size` leaves, whose checkpoint is `note`."""

    log: PublishedLog
    size: int
    note: str
    _tiles: OrderedDict[Tile, bytes] = field(default_factory=OrderedDict)

    async def of(self, index: int) -> bytes:
        """The `.tlog-proof` of the entry at `index`, without the entry."""
        return receipt(index, await self._hashes(inclusion_ranges(index, self.size)), self.note).encode()

    async def around(self, first: int, end: int) -> list[bytes]:
        """The hashes that show whose the leaf hashes of `first` to before `end` are."""
        return await self._hashes(ranges_around(first, end, self.size))

    async def _hashes(self, ranges: Sequence[Range]) -> list[bytes]:
        tiles = {tile: await self._content(tile) for tile in sorted(tiles_of(ranges, self.size))}
        return [hash_of(one, tiles, self.size) for one in ranges]

    async def _content(self, tile: Tile) -> bytes:
        """As `hash_of` takes it: of a full tile all nodes, made once for all the receipts that need it."""
        found = self._tiles.pop(tile, None)
        if found is None:
            hashes = await self.log.tile(tile)
            found = nodes_of(hashes) if tile.full else hashes
            if len(self._tiles) >= _KEPT:
                self._tiles.popitem(last=False)
        self._tiles[tile] = found
        return found
