"""What is published of the log, for readers: checkpoints, tiles and proofs.

Everything is read from Postgres, where a tile is a range of one index: leaf hashes from `entry`, those above from
`tile_root`. A proof costs a read of at most 256 hashes for each level (three at a million entries), without a cache
that could be stale or a request to the store. The bucket is the second, locked copy, and verifiers compare the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from muniment.audit.merkle import EMPTY_ROOT
from muniment.audit.note import receipt
from muniment.audit.proofs import Range, consistency_ranges, hash_of, inclusion_ranges, tiles_of
from muniment.audit.store import MAX_INDEX, damaged
from muniment.audit.tiles import WIDTH, Tile, hashes_at, wrap
from muniment.contracts.errors import Conflict, NotFound, Rejected
from muniment.runtime.sql import load_queries

if TYPE_CHECKING:
    from muniment.runtime.delivery.transaction import Connection

SQL = load_queries("muniment.audit", "publishing")


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint: its note as signed, and what it says."""

    size: int
    root: bytes
    note: str


@dataclass(frozen=True, slots=True)
class Consistency:
    """That the tree of `new` entries begins with that of `old`: the two roots, and the proof's hashes."""

    old: int
    new: int
    old_root: bytes
    new_root: bytes
    hashes: Sequence[bytes]


class PublishedLog:
    """The published log for readers."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def checkpoint(self) -> Published:
        """The newest checkpoint. Raises `NotFound` (`audit_not_published`)."""
        async with self._pool.acquire(timeout=30) as connection:
            return await _newest(connection)

    async def tile(self, tile: Tile) -> bytes:
        """A tile's or bundle's bytes, of any width that the newest checkpoint covers.

        Raises `NotFound` (`audit_not_published`, `audit_tile_not_found`).
        """
        async with self._pool.acquire(timeout=30) as connection:
            size = (await _newest(connection)).size
            held = hashes_at(tile.level or 0, size)
            if tile.first + tile.width > held:
                raise NotFound(
                    "audit_tile_not_found",
                    f"the log has no {tile.path}",
                    expected=f"hashes up to {held - 1} of that level, at size {size}",
                    actual=f"up to {tile.first + tile.width - 1}",
                    hint="the last tile of a level is partial and named with its width",
                )
            if tile.level is None:
                rows = await connection.fetch(SQL["entries_between"], tile.first, tile.first + tile.width)
                _complete(tile, rows)
                return b"".join(wrap(row["data"]) for row in rows)
            return b"".join(await _hashes(connection, tile))

    async def receipt(self, index: int, *, with_entry: bool = True) -> str:
        """The receipt (C2SP tlog-proof) for the entry at `index`, under the newest checkpoint.

        `with_entry` puts the entry's data into the extra line. Raises `NotFound` (`audit_entry_not_found`,
        `audit_not_published`) and `Conflict` (`audit_not_yet_published`).
        """
        async with self._pool.acquire(timeout=30) as connection:
            newest = await _newest(connection)
            data = await connection.fetchval(SQL["entry_data"], index) if 0 <= index <= MAX_INDEX else None
            if data is None:
                raise _no_entry(f"the audit log has no entry {index}", f"0 <= index < {newest.size}", index)
            if index >= newest.size:
                raise Conflict(
                    "audit_not_yet_published",
                    f"entry {index} is not under a checkpoint yet",
                    expected="a checkpoint within a second of the entry",
                    actual=f"the newest is of size {newest.size}",
                    hint="ask again in a second; if that stays so, the log of the audit service tells why",
                )
            hashes = await _read(connection, inclusion_ranges(index, newest.size), newest.size)
        return receipt(index, hashes, newest.note, data if with_entry else None)

    async def index_of(self, event_id: str) -> int:
        """The index of the entry of an audit request's event id. Raises `NotFound` (`audit_entry_not_found`)."""
        index: int | None = await self._pool.fetchval(SQL["index_of_event"], event_id)
        if index is None:
            raise _no_entry(
                "no entry has this event id", "the event_id of an entry: muniment audit ls --json", event_id
            )
        return index

    async def consistency(self, old: int, new: int | None = None) -> Consistency:
        """The proof that nothing before size `old` has changed at size `new` (None: the newest checkpoint's).

        Raises `NotFound` (`audit_not_published`) and `Rejected` (`audit_range_invalid`).
        """
        async with self._pool.acquire(timeout=30) as connection:
            newest = await _newest(connection)
            end = newest.size if new is None else new
            if not 0 <= old <= end <= newest.size:
                raise Rejected(
                    "audit_range_invalid",
                    "there is no such pair of trees",
                    expected=f"0 <= from <= to <= {newest.size}",
                    actual=f"from {old} to {end}",
                )
            roots = [await connection.fetchval(SQL["root_at"], size) if size else EMPTY_ROOT for size in (old, end)]
            hashes = await _read(connection, consistency_ranges(old, end), end)
        return Consistency(old, end, roots[0], roots[1], hashes)


async def _newest(connection: Connection) -> Published:
    row = await connection.fetchrow(SQL["newest_checkpoint"])
    if row is None:
        raise NotFound(
            "audit_not_published",
            "the audit log has no checkpoint yet",
            expected="one within a second of the first entry",
            hint="ask again in a second; if that stays so, the log of the audit service tells why",
        )
    return Published(row["size"], row["root"], row["note"])


async def _read(connection: Connection, ranges: Sequence[Range], size: int) -> list[bytes]:
    """The hashes of these subtrees of the tree of `size` leaves."""
    tiles = {tile: await _hashes(connection, tile) for tile in sorted(tiles_of(ranges, size))}
    return [hash_of(found, tiles, size) for found in ranges]


async def _hashes(connection: Connection, tile: Tile) -> list[bytes]:
    first, end = tile.first, tile.first + tile.width
    if tile.level is None:
        raise ValueError("a bundle has no hashes")
    if tile.level == 0:
        rows = await connection.fetch(SQL["leaf_hashes"], first, end)
    else:
        rows = await connection.fetch(SQL["tile_roots"], tile.level - 1, first, end)
    _complete(tile, rows)
    return [row[0] for row in rows]


def _complete(tile: Tile, rows: Sequence[asyncpg.Record]) -> None:
    if len(rows) != tile.width:
        raise damaged(
            f"{tile.path} cannot be read whole", expected=f"{tile.width} of {WIDTH}", actual=f"{len(rows)} rows"
        )


def _no_entry(what: str, expected: str, actual: object) -> NotFound:
    return NotFound("audit_entry_not_found", what, expected=expected, actual=actual)
