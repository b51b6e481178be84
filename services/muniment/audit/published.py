"""What is published of the log, for readers: checkpoints, tiles and proofs.

Everything is read from Postgres, in two statements for a proof: of a full tile all hashes of its subtree are one value
of `tile_nodes`, and only open tiles are read from `entry` and `tile_root`. So there is no cache that could be stale,
and no request to the store: the bucket is the second, locked copy, and verifiers compare the two. A proof is tried
before it is handed out: one that does not give the published root is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from muniment.audit.merkle import EMPTY_ROOT, HASH_SIZE, leaf_hash
from muniment.audit.note import receipt
from muniment.audit.proofs import (
    Range,
    consistency_ranges,
    consistency_roots,
    hash_of,
    inclusion_ranges,
    inclusion_root,
    tiles_of,
)
from muniment.audit.store import MAX_INDEX, damaged
from muniment.audit.tiles import WIDTH, Tile, hashes_at, nodes_of, wrap
from muniment.contracts.errors import Conflict, NotFound, Rejected, Transient
from muniment.runtime.sql import load_queries

if TYPE_CHECKING:
    from muniment.runtime.delivery.transaction import Connection

SQL = load_queries("muniment.audit", "publishing")
WITNESSING = load_queries("muniment.audit", "witnessing")


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint: its note as signed, with the cosignatures of witnesses that have come, and what it says."""

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

    async def cosignatures(self, size: int) -> str:
        """The lines that witnesses have added to the checkpoint of that size; a note ends with them."""
        lines: str = await self._pool.fetchval(WITNESSING["cosignatures"], size)
        return lines

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
                _complete(tile, len(rows))
                return b"".join(wrap(row["data"]) for row in rows)
            return (await _contents(connection, [tile]))[0][: tile.width * HASH_SIZE]

    async def receipt(self, index: int, *, with_entry: bool = True) -> str:
        """The receipt (C2SP tlog-proof) for the entry at `index`, under the newest checkpoint.

        `with_entry` puts the entry's data into the extra line. Raises `NotFound` (`audit_entry_not_found`,
        `audit_not_published`) and `Conflict` (`audit_not_yet_published`).
        """
        async with self._pool.acquire(timeout=30) as connection:
            row = await connection.fetchrow(SQL["newest_with_entry"], index if 0 <= index <= MAX_INDEX else None)
            newest, data = _published(row), row and row["data"]
            if data is None:
                raise _no_entry(f"the audit log has no entry {index}", f"0 <= index < {newest.size}", index)
            if index >= newest.size:
                raise Conflict(
                    "audit_not_yet_published",
                    f"entry {index} is not under a checkpoint yet",
                    expected="a checkpoint within a second of the entry",
                    actual=f"the newest is of size {newest.size}",
                    hint="ask again in a second; if that stays so, /readyz tells why",
                )
            hashes = await _read(connection, inclusion_ranges(index, newest.size), newest.size)
        root = inclusion_root(leaf_hash(data), index, newest.size, hashes)
        if root != newest.root:
            raise _no_proof(f"entry {index} cannot be proven in the tree of size {newest.size}", newest.root, root)
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
            rows = await connection.fetch(SQL["roots_at"], [old - 1, end - 1])
            roots = {0: EMPTY_ROOT, **{row["size"]: row["root_hash"] for row in rows}, newest.size: newest.root}
            if not roots.keys() >= {old, end}:
                raise damaged("entries are missing", expected=f"{old - 1} and {end - 1}", actual=f"{len(rows)} of them")
            hashes = await _read(connection, consistency_ranges(old, end), end)
        if hashes and (found := consistency_roots(old, end, roots[old], hashes)) != (roots[old], roots[end]):
            wrong = 0 if found[0] != roots[old] else 1
            raise _no_proof(
                f"the tree of size {end} cannot be proven to begin with that of size {old}",
                roots[(old, end)[wrong]],
                found[wrong],
            )
        return Consistency(old, end, roots[old], roots[end], hashes)


async def _newest(connection: Connection) -> Published:
    return _published(await connection.fetchrow(SQL["newest_checkpoint"]))


def _published(row: asyncpg.Record | None) -> Published:
    if row is None:
        raise NotFound(
            "audit_not_published",
            "the audit log has no checkpoint yet",
            expected="one within a second of the first entry",
            hint="ask again in a second; if that stays so, /readyz tells why",
        )
    return Published(row["size"], row["root"], row["note"] + row["cosignatures"])


async def _read(connection: Connection, ranges: Sequence[Range], size: int) -> list[bytes]:
    """The hashes of these subtrees of the tree of `size` leaves."""
    needed = sorted(tiles_of(ranges, size))
    tiles = dict(zip(needed, await _contents(connection, needed), strict=True))
    return [hash_of(found, tiles, size) for found in ranges]


async def _contents(connection: Connection, tiles: Sequence[Tile]) -> list[bytes]:
    """What proofs need of tiles of hashes: of full ones all nodes below the root, of open ones the hashes."""
    found = await _select(connection, "tile_contents", tiles)
    # Made full by a process that did not keep nodes yet.
    unkept = [place for place, tile in enumerate(tiles) if tile.full and not found[place]]
    hashes = await _select(connection, "tile_hashes", [tiles[place] for place in unkept])
    for place, content in zip(unkept, hashes, strict=True):
        _complete(tiles[place], len(content) // HASH_SIZE)
        found[place] = nodes_of(content)
    for tile, content in zip(tiles, found, strict=True):
        if not tile.full:
            _complete(tile, len(content) // HASH_SIZE)
    return found


async def _select(connection: Connection, statement: str, tiles: Sequence[Tile]) -> list[bytes]:
    if not tiles:
        return []
    rows = await connection.fetch(
        SQL[statement],
        [tile.level for tile in tiles],
        [tile.first for tile in tiles],
        [tile.first + tile.width for tile in tiles],
    )
    return [row[0] or b"" for row in rows]


def _complete(tile: Tile, count: int) -> None:
    if count != tile.width:
        raise damaged(
            f"{tile.path} cannot be read whole", expected=f"{tile.width} of {WIDTH}", actual=f"{count} hashes"
        )


def _no_proof(what: str, published: bytes, actual: bytes) -> Transient:
    return damaged(
        what,
        expected=f"published root {published.hex()}",
        actual=f"from entries and tiles {actual.hex()}",
        hint="muniment audit verify names the first entry that was changed, and where",
    )


def _no_entry(what: str, expected: str, actual: object) -> NotFound:
    return NotFound("audit_entry_not_found", what, expected=expected, actual=actual)
