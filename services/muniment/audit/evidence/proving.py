"""Receipts under one checkpoint, for entries in rising order: neighbours share tiles, so few are read twice."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from muniment.audit.note import receipt
from muniment.audit.proofs import hash_of, inclusion_ranges, tiles_of
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
        ranges = inclusion_ranges(index, self.size)
        tiles = {tile: await self._content(tile) for tile in sorted(tiles_of(ranges, self.size))}
        return receipt(index, [hash_of(one, tiles, self.size) for one in ranges], self.note).encode()

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
